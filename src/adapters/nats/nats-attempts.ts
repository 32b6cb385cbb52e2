import { isRecord, recordIn, type NatsLink } from './nats-link.ts'
import type { NatsNames } from './nats-names.ts'
import type { NatsPublisher } from './nats-publisher.ts'

const NO_MESSAGE = 10_037
const STREAM_MISSING = 10_059

/**
 * How many attempts at a suspect have begun, kept outside the message: one record per stored message and group in the state
 * stream, whose subjects keep only their last message. A message that kills its process therefore raises its own count,
 * stays where it is, and comes again by the ack wait alone.
 */
export class NatsAttempts {
  readonly #link: NatsLink
  readonly #names: NatsNames
  readonly #publisher: NatsPublisher

  constructor(link: NatsLink, names: NatsNames, publisher: NatsPublisher) {
    this.#link = link
    this.#names = names
    this.#publisher = publisher
  }

  /** Resolves when it is stored that attempt number `attempt` began. */
  async record(group: string, stream: string, seq: number, attempt: number): Promise<void> {
    const subject = this.#names.begun(group, stream, seq)
    await this.#publisher.store({
      stream: this.#names.streams.state,
      subject,
      lines: '',
      storageId: undefined,
      body: Buffer.from(`${attempt}`),
      type: 'attempt',
      id: subject,
    })
  }

  /** Attempts recorded; 0 where there is no record, undefined where that could not be found out. */
  async read(group: string, stream: string, seq: number): Promise<number | undefined> {
    // Read at the stream's leader: a follower may not have it yet (N-28).
    const answer = await this.#link.api(`STREAM.MSG.GET.${this.#names.streams.state}`, { last_by_subj: this.#names.begun(group, stream, seq) })
    if (!answer.ok) return answer.code === NO_MESSAGE || answer.code === STREAM_MISSING ? 0 : undefined
    const data = recordIn(answer.body, 'message')['data']
    const attempts = typeof data === 'string' ? Number(Buffer.from(data, 'base64').toString()) : 0
    return Number.isSafeInteger(attempts) && attempts > 0 ? attempts : 0
  }

  /** Removes the record. One that stays because of a crash is small and harmless: its place in the stream never comes again. */
  forget(group: string, stream: string, seq: number): void {
    void this.#link.api(`STREAM.PURGE.${this.#names.streams.state}`, { filter: this.#names.begun(group, stream, seq) }).then((answer) => {
      if (!answer.ok || !isRecord(answer.body)) this.#link.host.logger.debug({ group, seq }, 'the record of an attempt could not be removed')
    })
  }
}
