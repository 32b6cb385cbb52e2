import type { ContractTypes, DefinedContract } from '../contract/contract.ts'
import { decodeBody } from '../contract/body.ts'
import type { Clock } from '../core/clock.ts'
import type { WireMessage } from '../core/envelope.ts'
import { TrunklineError, errorText, escapeControls, isTrunklineError } from '../core/errors.ts'
import { ASK_PENDING_MAX, ERROR_TEXT_MAX, RETRY_DELAY_LIMIT_MS } from '../core/limits.ts'
import type { EarlyEnd } from './balancer.ts'
import type { BusCounters, BusEvent } from './bus-events.ts'
import { DeadlineSweep, type Expiring } from './deadline-sweep.ts'
import type { LightReply } from './port.ts'

/** Prefix of the outcome attribute of a declared error. */
export const DECLARED_OUTCOME = 'error.'

/** What the calls of one bus need from it. */
export interface CallsHost {
  readonly clock: Clock
  readonly counters: BusCounters
  readonly bodyBytesMax: number
  readonly emit: (event: BusEvent) => void
}

/** How long an ask waits, and what else ends it. */
export interface CallLimits {
  readonly timeoutMs: number
  readonly signal: AbortSignal | undefined
  readonly early?: EarlyEnd | undefined
}

/** One ask that waits for its answer. */
class PendingCall implements Expiring {
  readonly contract: DefinedContract<string, ContractTypes>
  readonly token: string
  readonly resolve: (value: unknown) => void
  readonly reject: (error: unknown) => void
  readonly #calls: Calls
  readonly #timeoutMs: number
  readonly #endsAtMs: number
  #early: EarlyEnd | undefined
  #cancellation: Cancellation | undefined

  constructor(calls: Calls, contract: DefinedContract<string, ContractTypes>, token: string, limits: CallLimits, nowMs: number, resolve: (value: unknown) => void, reject: (error: unknown) => void) {
    this.#calls = calls
    this.contract = contract
    this.token = token
    this.#timeoutMs = limits.timeoutMs
    this.#early = limits.early
    this.#endsAtMs = nowMs + limits.timeoutMs
    this.resolve = resolve
    this.reject = reject
    if (limits.signal !== undefined) this.#cancellation = new Cancellation(calls, this, limits.signal)
  }

  get expiresAtMs(): number {
    return this.#early === undefined ? this.#endsAtMs : Math.min(this.#endsAtMs, this.#endsAtMs - this.#timeoutMs + this.#early.afterMs)
  }

  expire(): void {
    const early = this.#early
    this.#early = undefined
    if (early !== undefined && early.afterMs < this.#timeoutMs && !early.mayEnd()) return this.#calls.wait(this)
    this.#calls.fail(this, new TrunklineError('bus.ask_timeout', { type: this.contract.type, timeoutMs: Math.min(this.#timeoutMs, early?.afterMs ?? Infinity) }))
  }

  /** Lets go of the caller's signal. */
  release(): void {
    this.#cancellation?.release()
    this.#cancellation = undefined
  }
}

/** A caller's signal that ends an ask; most asks have none. */
class Cancellation {
  readonly #calls: Calls
  readonly #call: PendingCall
  readonly #signal: AbortSignal

  constructor(calls: Calls, call: PendingCall, signal: AbortSignal) {
    this.#calls = calls
    this.#call = call
    this.#signal = signal
    signal.addEventListener('abort', this.#cancelled)
  }

  release(): void {
    this.#signal.removeEventListener('abort', this.#cancelled)
  }

  readonly #cancelled = (): void => {
    this.#calls.fail(this.#call, new TrunklineError('bus.ask_cancelled', { type: this.#call.contract.type }, { cause: this.#signal.reason }))
  }
}

/**
 * Matches answers to questions: one map and one timer for all asks of a bus. Answers that come after
 * their ask has ended are dropped and counted.
 */
export class Calls {
  readonly #host: CallsHost
  readonly #pending = new Map<string, PendingCall>()
  readonly #sweep: DeadlineSweep
  #counter = 0

  constructor(host: CallsHost) {
    this.#host = host
    this.#sweep = new DeadlineSweep(host.clock)
  }

  /** Asks that wait. */
  get size(): number {
    return this.#pending.size
  }

  /**
   * Opens a call, sends it with `send` and resolves with the decoded answer. `send` returns undefined where it was sent at once.
   *
   * @throws `bus.ask_timeout`, `bus.ask_cancelled`, `bus.no_responder`, `bus.answer_failed`,
   *   `contract.declared_error`, `contract.payload_invalid` for an answer that does not fit,
   *   `bus.overloaded`, and whatever `send` rejects with.
   */
  open(contract: DefinedContract<string, ContractTypes>, limits: CallLimits, send: (token: string) => Promise<void> | undefined): Promise<unknown> {
    if (limits.signal?.aborted) return Promise.reject(new TrunklineError('bus.ask_cancelled', { type: contract.type }, { cause: limits.signal.reason }))
    if (this.#pending.size >= ASK_PENDING_MAX) return Promise.reject(new TrunklineError('bus.overloaded', { what: 'asks that wait for an answer', limit: ASK_PENDING_MAX }))
    return new Promise((resolve, reject) => {
      const token = (++this.#counter).toString(36)
      const call = new PendingCall(this, contract, token, limits, this.#host.clock.monotonicMs(), resolve, reject)
      this.#pending.set(token, call)
      this.#sweep.add(call)
      try {
        send(token)?.catch((error: unknown) => this.#unsent(call, error))
      } catch (error) {
        this.fail(call, error)
      }
    })
  }

  /** In a later turn of the event loop: who asks again at once must not keep the loop from what brings the link back. */
  #unsent(call: PendingCall, error: unknown): void {
    this.#host.clock.defer(() => this.fail(call, error))
  }

  /** Ends a call that still waits; does nothing for one that has ended. */
  fail(call: PendingCall, error: unknown): void {
    if (this.#pending.get(call.token) !== call) return
    this.#forget(call)
    call.reject(error)
  }

  /** Waits for a call that could have ended before its time until that is over. */
  wait(call: PendingCall): void {
    if (this.#pending.get(call.token) === call) this.#sweep.add(call)
  }

  #forget(call: PendingCall): void {
    this.#pending.delete(call.token)
    this.#sweep.remove(call)
    call.release()
  }

  /** The sink for everything that comes back. */
  readonly onReply = (token: string, reply: LightReply): void => {
    const call = this.#pending.get(token)
    if (call === undefined) {
      if (reply.kind === 'no-responder') return
      this.#host.counters.lateReplies++
      this.#host.emit({ kind: 'reply-late', token: escapeControls(token.slice(0, 40)) })
      return
    }
    this.#forget(call)
    if (reply.kind === 'no-responder') {
      call.reject(new TrunklineError('bus.no_responder', { type: call.contract.type }))
      return
    }
    try {
      call.resolve(this.#read(call.contract, reply.message))
    } catch (error) {
      call.reject(error)
    }
  }

  #read(contract: DefinedContract<string, ContractTypes>, message: WireMessage): unknown {
    if (message.defect !== undefined) throw new TrunklineError('contract.message_foreign', { problem: message.defect })
    const { outcome } = message
    if (outcome === undefined || outcome === 'ok') return contract.decodeReply(message.body, this.#host.bodyBytesMax)
    const data = decodeBody(contract.type, message.body, this.#host.bodyBytesMax)
    const name = outcome.startsWith(DECLARED_OUTCOME) ? outcome.slice(DECLARED_OUTCOME.length) : undefined
    if (name !== undefined && contract.declaresError(name)) throw contract.error(name, data)
    throw failedAnswer(contract.type, data)
  }

  /** Gives up every ask: the bus has stopped. */
  close(): void {
    for (const call of this.#pending.values()) this.fail(call, new TrunklineError('bus.ask_cancelled', { type: call.contract.type }))
    this.#sweep.close()
  }
}

function failedAnswer(type: string, data: unknown): TrunklineError {
  const field = (name: string): string => {
    const value: unknown = typeof data === 'object' && data !== null ? Reflect.get(data, name) : undefined
    return typeof value === 'string' ? escapeControls(value).slice(0, ERROR_TEXT_MAX) : ''
  }
  const code = field('code')
  const retryAfterMs: unknown = code === OVERLOADED && typeof data === 'object' && data !== null ? Reflect.get(data, 'retryAfterMs') : undefined
  if (typeof retryAfterMs !== 'number' || !(retryAfterMs >= 0)) return new TrunklineError('bus.answer_failed', { type, code, problem: field('problem') })
  const hasBegun = Reflect.get(Object(data), 'hasBegun') === true ? { hasBegun: true } : {}
  return new TrunklineError('bus.callee_overloaded', { type, problem: field('problem'), retryAfterMs: Math.min(retryAfterMs, RETRY_DELAY_LIMIT_MS), ...hasBegun })
}

const OVERLOADED = 'bus.callee_overloaded'

/** An error as an answer carries it. */
export interface AnsweredFailure {
  readonly code: string
  readonly problem: string
  /** Only of an overload: when the service wants to be asked again. */
  readonly retryAfterMs?: number
  /** Only of an overload: the handler ran, and was told so by a service that it asked. */
  readonly hasBegun?: boolean
}

/**
 * Code and text of an error as an answer carries it. The text may come from a handler; it is capped.
 *
 * @param isRefusal true where no handler was called.
 */
export function failureOf(error: unknown, isRefusal: boolean): AnsweredFailure {
  if (isTrunklineError(error, OVERLOADED)) {
    // What it was told by a service of its own is not what it is itself.
    const { problem, retryAfterMs } = error.details
    return { code: error.code, problem, retryAfterMs, ...(isRefusal ? {} : { hasBegun: true }) }
  }
  const code = isTrunklineError(error) ? error.code : 'bus.handler_failed'
  return { code, problem: errorText(error).slice(0, ERROR_TEXT_MAX).toWellFormed() }
}
