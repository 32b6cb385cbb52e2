import { readHoldEntry, writeHoldEntry } from '../../bus/protocol/hold-entry.ts'
import type { FollowerEntry, HeadEntry, HoldEntry } from '../../bus/protocol/lane-port.ts'
import { sleep } from '../../core/clock.ts'
import type { WireMessage } from '../../core/envelope.ts'
import { TrunklineError } from '../../core/errors.ts'
import { derivedId } from '../../core/random.ts'
import type { EsdbProposed } from './eventstoredb-client.ts'
import { copyOf, eventOf, markOf, messageOf, recordOf, type EsdbEvent } from './eventstoredb-event.ts'
import { EsdbLedger } from './eventstoredb-ledger.ts'
import type { EsdbLink } from './eventstoredb-link.ts'

const AGAIN_MS = 100
const BATCH_MAX = 64
const BATCH_BYTES_MAX = 524_288
const PREFIX = 'trunkline-'
/** Type of the event with which an owner takes a hold list over. */
const TAKEN = '-taken'

/**
 * Events that messages were read from. A message with a defect cannot be written from its attributes, and its copies must be what was
 * received.
 */
export class Originals {
  readonly #events = new WeakMap<WireMessage, EsdbEvent>()

  /** The message of an event. */
  read(event: EsdbEvent): WireMessage {
    const message = messageOf(event)
    this.#events.set(message, event)
    return message
  }

  /** An event with the message in it. */
  copy(id: string, message: WireMessage, marks: Readonly<Record<string, string>>): EsdbProposed {
    const original = this.#events.get(message)
    return original === undefined ? eventOf(id, message, marks) : copyOf(id, original, marks)
  }
}

interface Write {
  /** Undefined for a removal. */
  readonly event: EsdbProposed | undefined
  readonly bytes: number
  /** Revision to remove; -1n for an entry. */
  readonly removed: bigint
  readonly done: (revision: bigint) => void
  readonly failed: (error: TrunklineError) => void
}

/**
 * The hold list of one lane. Its owner appends at exactly the revision that it knows, so that a predecessor who does not know yet that it has lost
 * the lane is refused by the server (P-15).
 */
export class EsdbHold {
  readonly #link: EsdbLink
  readonly #ledger: EsdbLedger
  readonly #originals: Originals
  readonly #signal: AbortSignal
  readonly #found = new Map<bigint, HoldEntry>()
  readonly #waiting: Write[] = []
  #isWriting = false
  #count = 0

  /** @param signal aborts when the lane is lost: nothing is written any more. */
  constructor(link: EsdbLink, stream: string, originals: Originals, signal: AbortSignal) {
    this.#link = link
    this.#originals = originals
    this.#signal = signal
    this.#ledger = new EsdbLedger(link, stream, {
      onEntry: (event) => this.#read(event),
      onRemoved: (revision) => this.#found.delete(revision),
    })
  }

  /** Shuts predecessors out, then reads what is there. @throws `bus.connection_lost`. */
  async takeOver(owner: string): Promise<readonly (readonly [bigint, HoldEntry])[]> {
    for (;;) {
      if (this.#signal.aborted) throw lost('the lane was lost')
      const failure = await this.#ledger.refresh()
      if (failure !== undefined) throw lost(failure.problem)
      const { last } = this.#ledger
      const event = recordOf(derivedId(this.#ledger.stream, owner, `${last}`), TAKEN, { owner })
      const result = await this.#ledger.append([event], last < 0n ? 'no_stream' : last)
      if (result.kind === 'done') {
        this.#ledger.own(result.value, [], [])
        return [...this.#found]
      }
      if (result.failure.kind !== 'wrong-revision') await sleep(this.#link.host.clock, AGAIN_MS, this.#signal)
    }
  }

  /** Stores an entry and resolves with its revision. @throws `bus.connection_lost`, `bus.publish_refused`. */
  append(entry: HeadEntry | FollowerEntry): Promise<bigint> {
    const marks: Record<string, string> = {}
    writeHoldEntry(entry, (name, value) => {
      marks[name.slice(PREFIX.length)] = value
    })
    const event = this.#originals.copy(derivedId(this.#ledger.stream, entry.id), entry.message, marks)
    return this.#write(event, entry.message.body.length + (marks['hold-record']?.length ?? 0), -1n)
  }

  /** Takes an entry out. @throws as `append`. */
  async remove(revision: bigint): Promise<void> {
    await this.#write(undefined, 0, revision)
  }

  #read(event: EsdbEvent): void {
    if (event.type === TAKEN) return
    const entry = readHoldEntry((name) => markOf(event, name.slice(PREFIX.length)), this.#originals.read(event))
    if (entry !== undefined) this.#found.set(event.revision, entry)
    else this.#link.host.logger.warn({ stream: event.stream, revision: `${event.revision}` }, 'an entry of a hold list cannot be read')
  }

  #write(event: EsdbProposed | undefined, bytes: number, removed: bigint): Promise<bigint> {
    return new Promise((done, failed) => {
      this.#waiting.push({ event, bytes: bytes + 1_024, removed, done, failed })
      if (this.#isWriting) return
      this.#isWriting = true
      void this.#drain()
    })
  }

  /** One append at a time: a later entry never stays stored where an earlier one does not. */
  async #drain(): Promise<void> {
    await Promise.resolve()
    while (this.#waiting.length > 0) {
      const batch = this.#taken()
      const error = await this.#store(batch)
      if (error === undefined) continue
      for (const { failed } of [...batch, ...this.#waiting.splice(0)]) failed(error)
    }
    this.#isWriting = false
    await this.#ledger.truncate()
  }

  #taken(): readonly Write[] {
    let bytes = 0
    let count = 0
    for (const write of this.#waiting) {
      bytes += write.bytes
      if (count > 0 && (count >= BATCH_MAX || bytes > BATCH_BYTES_MAX)) break
      count++
    }
    return this.#waiting.splice(0, count)
  }

  /** The same events at the same revision again and again, until the server has answered: a repetition is recognised. */
  async #store(batch: readonly Write[]): Promise<TrunklineError | undefined> {
    const entries = batch.flatMap(({ event }) => (event === undefined ? [] : [event]))
    const removed = batch.flatMap(({ event, removed: revision }) => (event === undefined ? [revision] : []))
    const events = [...entries]
    if (removed.length > 0) events.push(this.#ledger.removal(derivedId(this.#ledger.stream, 'removal', `${this.#ledger.last}`, `${++this.#count}`), removed))
    for (;;) {
      if (this.#signal.aborted || this.#link.closed.aborted) return lost('the lane was lost')
      const result = await this.#ledger.append(events, this.#ledger.last < 0n ? 'no_stream' : this.#ledger.last)
      if (result.kind === 'done') {
        this.#settle(batch, result.value - BigInt(events.length) + 1n, result.value, removed)
        return undefined
      }
      const { kind, problem } = result.failure
      if (kind === 'wrong-revision') return lost('another instance has taken the lane over')
      if (!['unknown', 'poisoned', 'not-leader'].includes(kind)) return lost(problem)
      await sleep(this.#link.host.clock, AGAIN_MS, this.#signal)
    }
  }

  #settle(batch: readonly Write[], first: bigint, last: bigint, removed: readonly bigint[]): void {
    let next = first
    const added: bigint[] = []
    for (const { event, done } of batch) {
      if (event !== undefined) added.push(next)
      done(event === undefined ? -1n : next++)
    }
    this.#ledger.own(last, added, removed)
  }
}

function lost(problem: string): TrunklineError {
  return new TrunklineError('bus.connection_lost', { adapter: 'eventstoredb', problem })
}
