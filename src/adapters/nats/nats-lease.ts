import { isRecord, numberIn, recordIn, type NatsLink } from './nats-link.ts'
import type { NatsNames } from './nats-names.ts'
import { isWrongSequence, type NatsPublisher } from './nats-publisher.ts'

const NO_MESSAGE = 10_037

/** Who owns a lane, and what the next owner has to know. */
export interface Lease {
  /** The owner's name: unique for each time that a process takes part. */
  readonly owner: string
  /** True where the owner gave it up in order: nothing of its deliveries had begun without an outcome. */
  readonly isReleased: boolean
  /** Stream sequence up to which all was acked when the owner last renewed it; where a consumer that is gone starts again. */
  readonly floorSeq: number
  /** Up to here messages had been delivered to an earlier owner that vanished. */
  readonly suspectSeq: number
  /** Up to here messages had been delivered to this owner when it last renewed. */
  readonly deliveredSeq: number
}

/** A lease as stored. */
export interface StoredLease {
  /** Sequence of the record in the state stream; 0 where there is none. It grows with every renewal. */
  readonly revision: number
  readonly lease: Lease | undefined
}

/** Records of the state stream that are only ever written by compare-and-set. */
export class NatsLeases {
  readonly #link: NatsLink
  readonly #names: NatsNames
  readonly #publisher: NatsPublisher

  constructor(link: NatsLink, names: NatsNames, publisher: NatsPublisher) {
    this.#link = link
    this.#names = names
    this.#publisher = publisher
  }

  /** The lease of a lane; undefined where it could not be read. */
  async read(group: string, lane: number): Promise<StoredLease | undefined> {
    const found = await this.readJson(this.#names.lease(group, lane))
    if (found === undefined) return undefined
    const { revision, value } = found
    return { revision, lease: value === undefined ? undefined : leaseOf(value) }
  }

  /**
   * Writes a lease if the record is still the one with `revision`. Resolves with the new revision, with `taken` where somebody
   * else wrote first, with undefined where the outcome is unknown.
   */
  async write(group: string, lane: number, lease: Lease, revision: number, timeoutMs: number): Promise<number | 'taken' | undefined> {
    const written = await this.writeJson(this.#names.lease(group, lane), lease, revision, timeoutMs)
    if (written !== 'taken') return written
    // An earlier write of ours whose ack was lost looks like somebody else's.
    const found = await this.read(group, lane)
    if (found === undefined) return undefined
    if (found.lease?.owner !== lease.owner || found.lease.isReleased || found.revision === revision) return 'taken'
    return await this.writeJson(this.#names.lease(group, lane), lease, found.revision, timeoutMs)
  }

  /** Any record of the state stream; undefined where it could not be read. */
  async readJson(subject: string): Promise<{ readonly revision: number; readonly value: Record<string, unknown> | undefined } | undefined> {
    const answer = await this.#link.api(`STREAM.MSG.GET.${this.#names.streams.state}`, { last_by_subj: subject }) // N-28
    if (!answer.ok) return answer.code === NO_MESSAGE ? { revision: 0, value: undefined } : undefined
    const message = recordIn(answer.body, 'message')
    return { revision: numberIn(message, 'seq'), value: jsonOf(message['data']) }
  }

  /** Compare-and-set of any record; see `write`. */
  async writeJson(subject: string, value: object, revision: number, timeoutMs: number): Promise<number | 'taken' | undefined> {
    const giveUp = new AbortController()
    const storing = this.#publisher.store(
      {
        stream: this.#names.streams.state,
        subject,
        lines: `Nats-Expected-Last-Subject-Sequence: ${revision}\r\n`,
        storageId: undefined,
        body: Buffer.from(JSON.stringify(value)),
        type: 'lease',
        id: subject,
      },
      giveUp.signal,
    )
    try {
      const stored = await this.#link.within(storing, timeoutMs)
      return stored?.seq
    } catch (error) {
      return isWrongSequence(error) ? 'taken' : undefined
    } finally {
      giveUp.abort()
      storing.catch(() => undefined)
    }
  }
}

function leaseOf(value: Record<string, unknown>): Lease {
  const { owner } = value
  return {
    owner: typeof owner === 'string' ? owner : '',
    isReleased: value['isReleased'] === true,
    floorSeq: numberIn(value, 'floorSeq'),
    suspectSeq: numberIn(value, 'suspectSeq'),
    deliveredSeq: numberIn(value, 'deliveredSeq'),
  }
}

function jsonOf(data: unknown): Record<string, unknown> {
  try {
    const value: unknown = JSON.parse(Buffer.from(typeof data === 'string' ? data : '', 'base64').toString())
    return isRecord(value) ? value : {}
  } catch {
    return {}
  }
}
