import { readHoldEntry, writeHoldEntry } from '../../bus/protocol/hold-entry.ts'
import type { ControlEntry, HeadEntry, FollowerEntry, HoldEntry } from '../../bus/protocol/lane-port.ts'
import type { WireMessage } from '../../core/envelope.ts'
import { originalLines, parseHeaders } from './nats-headers.ts'
import { connectionLost, numberIn, recordIn, type NatsLink } from './nats-link.ts'
import { headerLines, messageFrom } from './nats-message.ts'
import type { NatsNames } from './nats-names.ts'
import type { NatsPublisher } from './nats-publisher.ts'

const NO_MESSAGE = 10_037
const DELETE_FAILED = 10_057
const SEQUENCE_MISSING = 10_043

/** Entry of a hold list with the sequence that it is stored under. */
export interface StoredEntry {
  readonly seq: number
  /** Undefined for what this version cannot read; it stays where it is. */
  readonly entry: HoldEntry | undefined
}

/**
 * Header blocks of messages as they came. A message with a defect cannot be written from its attributes, and its copies
 * must be what was received.
 */
export class OriginalHeaders {
  readonly #texts = new WeakMap<WireMessage, string>()

  keep(message: WireMessage, text: string): void {
    this.#texts.set(message, text)
  }

  /** Header lines for a copy of the message. */
  linesOf(message: WireMessage): string {
    const text = this.#texts.get(message)
    return text === undefined ? headerLines(message) : originalLines(text)
  }
}

/** Reads and writes hold lists in their stream. */
export class NatsHold {
  readonly #link: NatsLink
  readonly #names: NatsNames
  readonly #publisher: NatsPublisher
  readonly originals: OriginalHeaders = new OriginalHeaders()

  constructor(link: NatsLink, names: NatsNames, publisher: NatsPublisher) {
    this.#link = link
    this.#names = names
    this.#publisher = publisher
  }

  /** Stores an entry of a lane's owner and resolves with its sequence. @throws `bus.publish_refused`, `bus.connection_lost`. */
  async append(group: string, lane: number, entry: HeadEntry | FollowerEntry, signal: AbortSignal): Promise<number> {
    const { message } = entry
    const lines = this.originals.linesOf(message) + entryLines(entry)
    return await this.#store(this.#names.hold(group, lane, 'e'), lines, entry.id, message, signal)
  }

  /** Stores an operator's wish. @throws as `append`. */
  async control(group: string, lane: number, entry: ControlEntry): Promise<void> {
    await this.#store(this.#names.hold(group, lane, 'c'), entryLines(entry), entry.id, undefined, undefined)
  }

  /** Takes an entry out; one that is gone counts as taken out. @throws `bus.connection_lost`. */
  async remove(seq: number): Promise<void> {
    const answer = await this.#link.api(`STREAM.MSG.DELETE.${this.#names.streams.hold}`, { seq, no_erase: true })
    if (answer.ok || [NO_MESSAGE, DELETE_FAILED, SEQUENCE_MISSING].includes(answer.code)) return
    throw connectionLost(answer.problem)
  }

  /** The first entry behind `afterSeq`, or undefined. @throws `bus.connection_lost`. */
  async next(group: string, lane: number, part: 'e' | 'c' | '*', afterSeq: number): Promise<StoredEntry | undefined> {
    const answer = await this.#link.api(`STREAM.MSG.GET.${this.#names.streams.hold}`, {
      seq: afterSeq + 1,
      next_by_subj: this.#names.hold(group, lane, part),
    })
    if (!answer.ok) {
      if (answer.code === NO_MESSAGE) return undefined
      throw connectionLost(answer.problem)
    }
    const stored = recordIn(answer.body, 'message')
    const text = decoded(stored['hdrs']).toString()
    const headers = parseHeaders(text)
    const seq = numberIn(stored, 'seq')
    const message = messageFrom(headers, decoded(stored['data']), `${this.#names.streams.hold}:${seq}`)
    this.originals.keep(message, text)
    return { seq, entry: readHoldEntry((name) => headers.others.get(name), message) }
  }

  async #store(subject: string, lines: string, id: string, message: WireMessage | undefined, signal: AbortSignal | undefined): Promise<number> {
    const stored = await this.#publisher.store(
      { stream: this.#names.streams.hold, subject, lines, storageId: id, body: message?.body ?? new Uint8Array(0), type: message?.type ?? 'control', id },
      signal,
    )
    return stored.seq
  }
}

function entryLines(entry: HoldEntry): string {
  let lines = ''
  writeHoldEntry(entry, (name, value) => {
    lines += `${name}: ${value}\r\n`
  })
  return lines
}

function decoded(value: unknown): Buffer {
  return Buffer.from(typeof value === 'string' ? value : '', 'base64')
}
