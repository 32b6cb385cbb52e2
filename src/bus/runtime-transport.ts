import type { Clock } from '../core/clock.ts'
import { TrunklineError, errorText, isTrunklineError } from '../core/errors.ts'
import { PUBLISH_PENDING_MAX } from '../core/limits.ts'
import { DeadlineSweep, type Expiring } from './deadline-sweep.ts'
import type { DeliverySink, Outbound, PublishSignal, Subscription, Transport, TransportHost, TransportState, TransportSubscription } from './port.ts'

/** A publish that waits for its confirm; at the same time the signal that it was given up. */
class PendingPublish implements Expiring, PublishSignal {
  readonly expiresAtMs: number
  aborted = false
  #listener: (() => void) | undefined
  readonly #outbound: Outbound
  readonly #timeoutMs: number
  /** Set once somebody waits. */
  reject: ((error: unknown) => void) | undefined

  constructor(outbound: Outbound, timeoutMs: number, nowMs: number) {
    this.#outbound = outbound
    this.#timeoutMs = timeoutMs
    this.expiresAtMs = nowMs + timeoutMs
  }

  addEventListener(_type: 'abort', listener: () => void): void {
    this.#listener = listener
  }

  removeEventListener(): void {
    this.#listener = undefined
  }

  expire(): void {
    this.aborted = true
    this.#listener?.()
    const { type, id } = this.#outbound.message
    this.reject?.(new TrunklineError('bus.publish_timeout', { type, id, timeoutMs: this.#timeoutMs }))
  }
}

/** Only while a bus stops with publishes that wait, so looking again is cheaper than a list of waiters in every publish. */
const FLUSH_POLL_MS = 5

/** What the wrapper tells the bus. */
export interface TransportWatcher {
  stateChanged(transport: Transport, state: TransportState, reason: string): void
}

/**
 * The wrapper round every adapter: it owns what is the same everywhere, so that adapters stay thin.
 * Opens once, closes once, bounds every publish in time and all of them in number, translates what
 * an adapter lets slip, and remembers the state of the link.
 */
export class RuntimeTransport {
  readonly inner: Transport
  readonly #clock: Clock
  readonly #watcher: TransportWatcher
  readonly #pending: DeadlineSweep
  #phase: 'idle' | 'open' | 'closed' = 'idle'
  #state: TransportState = 'down'
  #reason = 'not connected yet'
  #closing: Promise<void> | undefined

  constructor(inner: Transport, clock: Clock, watcher: TransportWatcher) {
    this.inner = inner
    this.#clock = clock
    this.#watcher = watcher
    this.#pending = new DeadlineSweep(clock)
  }

  /** State of the link, and why. */
  get state(): { readonly state: TransportState; readonly reason: string } {
    return { state: this.#state, reason: this.#reason }
  }

  /** Publishes that wait for their confirm. */
  get pendingCount(): number {
    return this.#pending.size
  }

  /** @throws `bus.connection_lost` when the adapter cannot connect. */
  async open(host: Omit<TransportHost, 'report'>): Promise<void> {
    this.#phase = 'open'
    try {
      await this.inner.open({ ...host, report: (state, reason) => this.#report(state, reason) })
    } catch (error) {
      this.#phase = 'closed'
      throw translated(this.inner.name, error)
    }
    if (this.#state === 'down' && this.#reason === 'not connected yet') this.#report('up', '')
  }

  #report(state: TransportState, reason: string): void {
    if (this.#phase !== 'open' || (state === this.#state && reason === this.#reason)) return
    this.#state = state
    this.#reason = reason
    this.#watcher.stateChanged(this.inner, state, reason)
  }

  /**
   * Resolves, or returns undefined, when the message is stored.
   *
   * @throws `bus.publish_timeout`, `bus.publish_refused`, `bus.connection_lost`, `bus.overloaded`,
   *   `bus.not_running` after closing.
   */
  publish(outbound: Outbound, timeoutMs: number): Promise<void> | undefined {
    if (this.#pending.size >= PUBLISH_PENDING_MAX) {
      throw new TrunklineError('bus.overloaded', { what: 'publishes that wait for storage', limit: PUBLISH_PENDING_MAX })
    }
    if (this.#phase !== 'open') throw new TrunklineError('bus.not_running', { operation: 'publish', state: this.#phase })
    const pending = new PendingPublish(outbound, timeoutMs, this.#clock.monotonicMs())
    const stored = this.#handOver(outbound, pending)
    if (stored === undefined) return undefined
    this.#pending.add(pending)
    return new Promise((resolve, reject) => {
      pending.reject = reject
      stored.then(
        () => {
          this.#pending.remove(pending)
          resolve()
        },
        (error: unknown) => {
          this.#pending.remove(pending)
          // In a later turn of the event loop: who publishes again at once must not keep the loop from what would let it succeed.
          this.#clock.defer(() => reject(translated(this.inner.name, error)))
        },
      )
    })
  }

  #handOver(outbound: Outbound, pending: PendingPublish): Promise<void> | undefined {
    try {
      return this.inner.publish(outbound, pending)
    } catch (error) {
      throw translated(this.inner.name, error)
    }
  }

  /** Resolves when no publish waits any more. */
  async flushed(): Promise<void> {
    while (this.#pending.size > 0) await new Promise<void>((resolve) => this.#clock.setTimer(FLUSH_POLL_MS, resolve))
  }

  async subscribe(subscription: Subscription, sink: DeliverySink): Promise<TransportSubscription> {
    try {
      return await this.inner.subscribe(subscription, sink)
    } catch (error) {
      throw translated(this.inner.name, error)
    }
  }

  /** Closes the adapter once; publishes that still wait are given up with `bus.publish_timeout`. */
  close(): Promise<void> {
    this.#closing ??= this.#close()
    return this.#closing
  }

  async #close(): Promise<void> {
    if (this.#phase !== 'open') return
    this.#pending.expireAll()
    this.#phase = 'closed'
    await this.inner.close()
  }
}

/** An adapter's error as one of ours; a client's error that slipped through is a lost link. */
export function translated(adapter: string, error: unknown): TrunklineError {
  if (isTrunklineError(error)) return error
  return new TrunklineError('bus.connection_lost', { adapter, problem: errorText(error).slice(0, 500) }, { cause: error })
}
