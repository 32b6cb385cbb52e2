import { backoffMs } from '../../core/backoff.ts'
import type { Timer } from '../../core/clock.ts'
import { errorText, TrunklineError } from '../../core/errors.ts'
import type { NatsMessage } from './nats-client.ts'
import { HeaderBlock } from './nats-headers.ts'
import { connectionLost, isRecord, numberIn, type LinkListener, type NatsLink } from './nats-link.ts'

/** How often waiting messages are looked at, and after how many looks without an ack one is sent again. */
const SWEEP_MS = 1_000
const SWEEPS_BEFORE_RESEND = 5
const RESEND = { initialMs: 250, factor: 2, maxMs: 5_000 }
/** Answers of JetStream that say "not now": no leader, no peers, not yet enabled. */
const TRANSIENT_CODES: ReadonlySet<number> = new Set([10_005, 10_008, 10_039, 10_076])
/** The stream's last sequence, or that of the subject, is not the one that was expected. */
const WRONG_SEQUENCE_CODES: ReadonlySet<number> = new Set([10_070, 10_071, 10_164])

/** What is to be stored. */
export interface Store {
  readonly stream: string
  readonly subject: string
  /** Header lines, each with CR LF; the stream is added, and the id where it is given apart. */
  readonly lines: string
  /** Id under which the stream drops repeats; without one every send is stored. */
  readonly storageId: string | undefined
  readonly body: Uint8Array
  /** For errors. */
  readonly type: string
  readonly id: string
}

/** What the stream said. */
export interface Stored {
  readonly seq: number
  /** It had the message already: an earlier send of it counts (N-10: as told by the server, believed). */
  readonly isDuplicate: boolean
}

class PendingStore {
  readonly store: Store
  readonly headers: HeaderBlock
  readonly signal: AbortSignal | undefined
  readonly resolve: (seq: number, isDuplicate: boolean) => void
  readonly reject: (error: TrunklineError) => void
  sweeps = 0

  constructor(
    store: Store,
    signal: AbortSignal | undefined,
    resolve: (seq: number, isDuplicate: boolean) => void,
    reject: (error: TrunklineError) => void,
  ) {
    const id = store.storageId === undefined ? '' : `Nats-Msg-Id: ${store.storageId}\r\n`
    this.store = store
    this.headers = new HeaderBlock(`${id}Nats-Expected-Stream: ${store.stream}\r\n${store.lines}`)
    this.signal = signal
    this.resolve = resolve
    this.reject = reject
  }
}

/**
 * Stores messages and knows when they are stored.
 *
 * The acks of all messages come to one subscription and are matched by number: no timer, no error object and no
 * promise chain per message. What is not acknowledged is sent again, with the same id and in the same order, after a
 * reconnect, after "no responders" and after five seconds of silence (N-04, N-05).
 */
export class NatsPublisher implements LinkListener {
  readonly #link: NatsLink
  readonly #prefix: string
  readonly #pending = new Map<number, PendingStore>()
  /** First bytes of a good ack, per stream. */
  readonly #ackHeads = new Map<string, Uint8Array>()
  readonly #onStreamMissing: (stream: string) => void
  #next = 0
  #sweepTimer: Timer | undefined
  #resendTimer: Timer | undefined
  #resends = 0
  #isClosed = false

  /** @param onStreamMissing called when nobody answers for a stream, before it is tried again. */
  constructor(link: NatsLink, onStreamMissing: (stream: string) => void) {
    this.#link = link
    this.#prefix = `${link.inbox}.p.`
    this.#onStreamMissing = onStreamMissing
    link.subscribe(`${this.#prefix}*`, undefined, (message) => this.#onAck(message))
    link.listen(this)
  }

  /**
   * Resolves when the stream has stored the message. It waits through lost links until `signal` aborts; it looks
   * at `signal` only from time to time, because whoever aborts does not wait for this any more.
   *
   * @throws `bus.publish_refused`, `bus.connection_lost`.
   */
  store(store: Store, signal?: AbortSignal): Promise<Stored> {
    return new Promise((resolve, reject) => {
      this.#add(new PendingStore(store, signal, (seq, isDuplicate) => resolve({ seq, isDuplicate }), reject))
    })
  }

  /** As `store`, where only the fact counts. */
  keep(store: Store, signal: AbortSignal | undefined): Promise<void> {
    return new Promise((resolve, reject) => {
      this.#add(new PendingStore(store, signal, () => resolve(), reject))
    })
  }

  #add(pending: PendingStore): void {
    const { store, reject, headers } = pending
    const bytes = headers.byteLength + store.body.length
    if (this.#isClosed) reject(connectionLost('the transport is closed'))
    else if (bytes > this.#link.payloadBytesMax) reject(refused(store, `it takes ${bytes} bytes; the server accepts ${this.#link.payloadBytesMax}`)) // N-23
    else {
      const number = this.#next++
      this.#pending.set(number, pending)
      this.#sweepTimer ??= this.#link.host.clock.setTimer(SWEEP_MS, () => this.#sweep(), { background: true })
      if (this.#canSend()) this.#send(number, pending)
    }
  }

  onLinkUp(): void {
    this.#resendAll()
  }

  onLinkDown(): void {
    this.#resendTimer?.cancel()
    this.#resendTimer = undefined
  }

  /** Gives up what is not stored yet. */
  close(): void {
    this.#isClosed = true
    this.#sweepTimer?.cancel()
    this.#resendTimer?.cancel()
    this.#link.unlisten(this)
    for (const pending of this.#pending.values()) pending.reject(connectionLost('the transport was closed'))
    this.#pending.clear()
  }

  /** While a resend is due, newer messages wait for it: sent at once they would overtake those of their key. */
  #canSend(): boolean {
    return this.#link.isUp && this.#resendTimer === undefined
  }

  #send(number: number, { store, headers, reject }: PendingStore): void {
    try {
      this.#link.publish(store.subject, store.body, this.#prefix + number, headers)
    } catch (error) {
      this.#pending.delete(number)
      const { type, id } = store
      const problem = errorText(error)
      // A connection that was given to us can be closed under us.
      reject(this.#link.isClosed ? connectionLost(problem, error) : new TrunklineError('bus.publish_refused', { type, id, problem }, { cause: error }))
    }
  }

  #resendAll(): void {
    this.#resendTimer = undefined
    if (!this.#link.isUp) return
    for (const [number, pending] of this.#pending) {
      if (this.#dropAborted(number, pending)) continue
      pending.sweeps = 0
      this.#send(number, pending)
    }
  }

  #dropAborted(number: number, pending: PendingStore): boolean {
    if (pending.signal?.aborted !== true) return false
    this.#pending.delete(number)
    pending.reject(connectionLost('it was not stored in time'))
    return true
  }

  #sweep(): void {
    this.#sweepTimer = undefined
    if (this.#pending.size === 0) return
    this.#sweepTimer = this.#link.host.clock.setTimer(SWEEP_MS, () => this.#sweep(), { background: true })
    for (const [number, pending] of this.#pending) {
      if (this.#dropAborted(number, pending) || !this.#canSend()) continue
      pending.sweeps += 1
      if (pending.sweeps < SWEEPS_BEFORE_RESEND) continue
      pending.sweeps = 0
      this.#send(number, pending)
    }
  }

  #onAck(message: NatsMessage): void {
    const number = Number(message.subject.slice(this.#prefix.length))
    const pending = this.#pending.get(number)
    if (pending === undefined) return // the ack of an earlier send of it
    const { data } = message
    const head = this.#ackHead(pending.store.stream)
    const seq = digitsAfter(data, head)
    if (seq === 0) {
      this.#onOtherAck(number, pending, data)
      return
    }
    this.#resends = 0
    this.#pending.delete(number)
    pending.resolve(seq, !endsWithNumber(data) && text(data).includes('"duplicate"'))
  }

  #onOtherAck(number: number, pending: PendingStore, data: Uint8Array): void {
    if (data.length === 0) {
      this.#onStreamMissing(pending.store.stream)
      this.#resendLater()
      return
    }
    const ack = parsed(data)
    const { error } = ack
    if (isRecord(error)) {
      if (TRANSIENT_CODES.has(numberIn(error, 'err_code'))) {
        this.#resendLater()
        return
      }
      this.#pending.delete(number)
      pending.reject(refused(pending.store, errorText(error['description']), numberIn(error, 'err_code')))
      return
    }
    // N-21: what does not come from the stream, somebody else's answer on our subject, proves nothing; the ack still comes.
    if (ack['stream'] !== pending.store.stream || numberIn(ack, 'seq') === 0) return
    this.#pending.delete(number)
    pending.resolve(numberIn(ack, 'seq'), ack['duplicate'] === true)
  }

  #resendLater(): void {
    if (this.#resendTimer !== undefined || !this.#link.isUp) return
    this.#resends += 1
    const { clock, random } = this.#link.host
    this.#resendTimer = clock.setTimer(backoffMs(RESEND, this.#resends, random), () => this.#resendAll(), { background: true })
  }

  #ackHead(stream: string): Uint8Array {
    let head = this.#ackHeads.get(stream)
    if (head === undefined) {
      head = Buffer.from(`{"stream":"${stream}", "seq":`)
      this.#ackHeads.set(stream, head)
    }
    return head
  }
}

/** The number that follows `head` in an ack, or 0 where the ack begins otherwise. */
function digitsAfter(data: Uint8Array, head: Uint8Array): number {
  if (data.length <= head.length) return 0
  for (let at = 0; at < head.length; at++) if (data[at] !== head[at]) return 0
  let number = 0
  for (let at = head.length; at < data.length; at++) {
    const digit = (data[at] ?? 0) - 0x30
    if (digit < 0 || digit > 9) break
    number = number * 10 + digit
  }
  return number
}

/** True where nothing follows the number, as in the ack of a message that was new. */
function endsWithNumber(data: Uint8Array): boolean {
  const last = data[data.length - 2] ?? 0
  return last >= 0x30 && last <= 0x39
}

function text(data: Uint8Array): string {
  return Buffer.from(data.buffer, data.byteOffset, data.length).toString()
}

function parsed(data: Uint8Array): Record<string, unknown> {
  try {
    const body: unknown = JSON.parse(text(data))
    return isRecord(body) ? body : {}
  } catch {
    return {}
  }
}

function refused(store: Store, problem: string, code = 0): TrunklineError {
  const cause = WRONG_SEQUENCE_CODES.has(code) ? new WrongSequence() : undefined
  return new TrunklineError('bus.publish_refused', { type: store.type, id: store.id, problem }, cause === undefined ? undefined : { cause })
}

/** Cause of a refusal where a compare-and-set came too late. */
class WrongSequence {}

/** True where a store was refused because somebody else wrote first. */
export function isWrongSequence(error: unknown): boolean {
  return error instanceof TrunklineError && error.cause instanceof WrongSequence
}
