import { decodeDeadLetterRecord } from '../../bus/protocol/dead-letter-record.ts'
import type { DeadLetter, DeadLetterFilter, DeadLetterPage, DeadLetterPlane } from '../../bus/port.ts'
import { isTypeName } from '../../contract/names.ts'
import { unescapeHeader } from '../../contract/wire.ts'
import { originalLines, parseHeaders, type Headers } from './nats-headers.ts'
import type { NatsHold } from './nats-hold.ts'
import { connectionLost, numberIn, recordIn, type NatsLink } from './nats-link.ts'
import { messageFrom } from './nats-message.ts'
import { groupToken, type NatsNames } from './nats-names.ts'
import type { NatsPublisher } from './nats-publisher.ts'

const NO_MESSAGE = 10_037
const STREAM_MISSING = 10_059
const DELETE_FAILED = 10_057
const SEQUENCE_MISSING = 10_043

/** A dead letter with what is needed to give it back. */
interface StoredDeadLetter {
  readonly seq: number
  readonly letter: DeadLetter
  /** The message's own header lines. */
  readonly lines: string
  readonly headers: Headers
  /** End of its subject. */
  readonly type: string
}

/** Dead letters in a stream that nobody consumes: read by sequence, so that reading changes nothing. */
export class NatsDeadLetters implements DeadLetterPlane {
  readonly #link: NatsLink
  readonly #names: NatsNames
  readonly #publisher: NatsPublisher
  readonly #hold: NatsHold

  constructor(link: NatsLink, names: NatsNames, publisher: NatsPublisher, hold: NatsHold) {
    this.#link = link
    this.#names = names
    this.#publisher = publisher
    this.#hold = hold
  }

  async list(filter: DeadLetterFilter, options: { readonly limit: number; readonly after?: string | undefined }): Promise<DeadLetterPage> {
    const { limit, after } = options
    const items: DeadLetter[] = []
    let seq = sequenceOf(after ?? '0') ?? 0
    for (const subject of this.#filters(filter)) {
      // Kinds share no subjects, so with a group's filter only one of the two has anything.
      if (items.length > 0) break
      let next = seq
      while (items.length <= limit) {
        const found = await this.#get({ seq: next + 1, next_by_subj: subject })
        if (found === undefined) break
        next = found.seq
        if (filter.reason === undefined || found.letter.record.reason === filter.reason) items.push(found.letter)
      }
    }
    if (items.length <= limit) return { items, next: undefined }
    items.length = limit
    seq = Number(items.at(-1)?.id ?? seq)
    return { items, next: `${seq}` }
  }

  async read(id: string): Promise<DeadLetter | undefined> {
    return (await this.#find(id))?.letter
  }

  async redrive(id: string): Promise<boolean> {
    const found = await this.#find(id)
    if (found === undefined) return false
    if (found.letter.holdsKey) await this.#tellOwner(found, 'redrive')
    else await this.#giveBack(found)
    return await this.#delete(found.seq)
  }

  async remove(id: string): Promise<boolean> {
    const found = await this.#find(id)
    if (found === undefined) return false
    if (found.letter.holdsKey) await this.#tellOwner(found, 'remove')
    return await this.#delete(found.seq)
  }

  #filters({ group, type }: DeadLetterFilter): readonly string[] {
    if (type !== undefined && !isTypeName(type)) return [] // N-20: never a filter made of free text
    if (group === undefined) return [this.#names.deadFilter(undefined, type)]
    return (['event', 'command'] as const).map((kind) => this.#names.deadFilter(groupToken(kind, group), type))
  }

  /** Stored first, deleted then: a crash in between leaves both, and the copy's id makes a second redrive harmless. */
  async #giveBack({ seq, letter, lines, headers, type }: StoredDeadLetter): Promise<void> {
    const names = this.#names
    await this.#publisher.store({
      stream: names.streams.retry,
      subject: names.retry(groupToken(letter.kind, letter.group), type),
      lines: `${lines}trunkline-attempts: 0\r\ntrunkline-due: 0\r\ntrunkline-redriven: true\r\n`,
      storageId: `redrive/${seq}/${headers.others.get('nats-msg-id') ?? ''}`,
      body: letter.message.body,
      type: letter.message.type,
      id: letter.message.id,
    })
  }

  /** The key is held in a lane: its owner acts on the wish, whenever there is one. */
  async #tellOwner({ headers, letter }: StoredDeadLetter, control: 'redrive' | 'remove'): Promise<void> {
    const target = headers.others.get('trunkline-lane-id') ?? ''
    const lane = Number(headers.others.get('trunkline-lane'))
    await this.#hold.control(groupToken(letter.kind, letter.group), lane, { role: 'control', id: `${control}-${target}`, target, control })
  }

  async #find(id: string): Promise<StoredDeadLetter | undefined> {
    const seq = sequenceOf(id)
    return seq === undefined ? undefined : await this.#get({ seq })
  }

  async #delete(seq: number): Promise<boolean> {
    const answer = await this.#link.api(`STREAM.MSG.DELETE.${this.#names.streams.dead}`, { seq, no_erase: true })
    if (answer.ok) return true
    if ([NO_MESSAGE, DELETE_FAILED, SEQUENCE_MISSING].includes(answer.code)) return false
    throw connectionLost(answer.problem)
  }

  async #get(request: { readonly seq: number; readonly next_by_subj?: string }): Promise<StoredDeadLetter | undefined> {
    const answer = await this.#link.api(`STREAM.MSG.GET.${this.#names.streams.dead}`, request)
    if (answer.ok) return this.#read(recordIn(answer.body, 'message'))
    if (answer.code === NO_MESSAGE || answer.code === STREAM_MISSING) return undefined
    throw connectionLost(answer.problem)
  }

  #read(stored: Record<string, unknown>): StoredDeadLetter {
    const text = decoded(stored['hdrs']).toString()
    const headers = parseHeaders(text)
    const seq = numberIn(stored, 'seq')
    const subject = typeof stored['subject'] === 'string' ? stored['subject'] : ''
    const kind = headers.others.get('trunkline-kind') === 'command' ? 'command' : 'event'
    return {
      seq,
      lines: originalLines(text),
      headers,
      type: subject.split('.').slice(-3, -1).join('.'),
      letter: {
        id: `${seq}`,
        group: unescapeHeader(headers.others.get('trunkline-group') ?? '') ?? '',
        kind,
        message: messageFrom(headers, decoded(stored['data']), `${this.#names.streams.dead}:${seq}`),
        record: decodeDeadLetterRecord(headers.others.get('trunkline-record')),
        holdsKey: headers.others.has('trunkline-lane'),
      },
    }
  }
}

function decoded(value: unknown): Buffer {
  return Buffer.from(typeof value === 'string' ? value : '', 'base64')
}

function sequenceOf(id: string): number | undefined {
  return /^\d{1,15}$/.test(id) ? Number(id) : undefined
}
