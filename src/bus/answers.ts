import type { ContractTypes, DefinedContract } from '../contract/contract.ts'
import { instantMs, instantText } from '../core/clock.ts'
import type { WireMessage } from '../core/envelope.ts'
import { TrunklineError, isTrunklineError } from '../core/errors.ts'
import { HOPS_MAX } from '../core/limits.ts'
import { callerOf } from './admitted-deliveries.ts'
import type { Admission, AdmissionRequest } from './call-policy.ts'
import { type ContextSource, LazyContext } from './context.ts'
import { type AnswerOutcome, type HandlerEntry, type RunnerHost, isThenable } from './delivery-runner.ts'
import { messageOf, scopeOf } from './envelopes.ts'
import type { LightDelivery } from './port.ts'
import { codeOf } from './retry-policy.ts'
import { type Scope, runInScope } from './scope.ts'

/** Requests that wait for a free handler, per in-flight slot; more are answered `bus.overloaded`. */
const WAITING_PER_SLOT = 4
/** When a command that found no room may be tried again. */
const FULL_RETRY_MS = 100

/** Limits of one light handler. */
export interface LightOptions {
  readonly inFlightMax: number
  readonly handlerTimeoutMs: number
}

/**
 * Handles what comes on the light plane for one subscription: requests of one type, or broadcast events.
 * Bounded: what finds no free slot waits, and what finds no room to wait is refused (requests) or dropped
 * and counted (broadcasts).
 */
export class LightRunner {
  readonly #host: RunnerHost
  readonly #entries: ReadonlyMap<string, HandlerEntry>
  readonly #options: LightOptions
  readonly #reply: (replyTo: string, contract: DefinedContract<string, ContractTypes>, outcome: AnswerOutcome) => Promise<void> | undefined
  readonly #waiting: LightDelivery[] = []
  readonly #idle: (() => void)[] = []
  readonly #sources = new Map<string, ContextSource>()
  readonly #running = new Set<LazyContext>()
  readonly #admission: Admission | undefined
  /** Handled now; with an admission also those that wait in it. */
  #inFlight = 0

  constructor(
    host: RunnerHost,
    entries: ReadonlyMap<string, HandlerEntry>,
    options: LightOptions,
    reply: (replyTo: string, contract: DefinedContract<string, ContractTypes>, outcome: AnswerOutcome) => Promise<void> | undefined,
    admission?: Admission,
  ) {
    this.#admission = admission
    this.#host = host
    this.#entries = entries
    this.#options = options
    this.#reply = reply
  }

  /** The sink given to the adapter. */
  readonly take = (delivery: LightDelivery): void => {
    if (this.#admission !== undefined) this.#offer(this.#admission, delivery)
    else if (this.#inFlight < this.#options.inFlightMax) this.#start(delivery)
    else if (this.#waiting.length < this.#options.inFlightMax * WAITING_PER_SLOT) this.#waiting.push(delivery)
    else this.#refuse(delivery)
  }

  /** Messages whose handlers run. */
  get inFlight(): number {
    return this.#inFlight
  }

  /** Resolves when everything taken so far has been handled. */
  async drain(): Promise<void> {
    if (this.#inFlight > 0) await new Promise<void>((resolve) => this.#idle.push(resolve))
  }

  /** True while a handler runs in this scope. */
  isHandling(scope: Scope): boolean {
    for (const context of this.#running) if (context.isOf(scope)) return true
    return false
  }

  /** Tells the handlers that still run to stop. */
  abort(reason: unknown): void {
    for (const context of this.#running) context.abort(reason)
  }

  #offer(admission: Admission, delivery: LightDelivery): void {
    this.#inFlight++
    const ended = (): void => {
      if (--this.#inFlight === 0) this.#tellIdle()
    }
    const request: AdmissionRequest = {
      caller: callerOf(delivery.message),
      start: () => {
        const over = (): void => {
          admission.ended(request)
          ended()
        }
        const handled = this.#run(delivery)
        // In a later turn, as below.
        if (handled === undefined) queueMicrotask(over)
        else handled.then(over, over)
      },
      refuse: (error) => {
        this.#refuseWith(delivery, error)
        ended()
      },
    }
    admission.offer(request)
  }

  #tellIdle(): void {
    for (const resolve of this.#idle.splice(0)) resolve()
  }

  #start(delivery: LightDelivery): void {
    this.#inFlight++
    this.#serve(delivery)
  }

  #serve(delivery: LightDelivery): void {
    const handled = this.#run(delivery)
    if (handled === undefined) this.#ended()
    else handled.then(this.#ended, this.#ended)
  }

  readonly #ended = (): void => {
    const next = this.#waiting.shift()
    // The slot goes on to the next one; in a later turn, so that a row of handlers that end at once does not grow the stack.
    if (next !== undefined) queueMicrotask(() => this.#serve(next))
    else if (--this.#inFlight === 0 && this.#idle.length > 0) this.#tellIdle()
  }

  #refuse(delivery: LightDelivery): void {
    const { type } = delivery.message
    // Who asked for a command has to know that it was not begun.
    const isCommand = this.#entries.get(type)?.contract.kind === 'command'
    const problem = `${this.#waiting.length} requests wait already`
    this.#refuseWith(delivery, isCommand
      ? new TrunklineError('bus.callee_overloaded', { type, problem, retryAfterMs: FULL_RETRY_MS })
      : new TrunklineError('bus.overloaded', { what: `handlers of ${type}`, limit: this.#options.inFlightMax }))
  }

  #refuseWith(delivery: LightDelivery, error: TrunklineError): void {
    const entry = this.#entries.get(delivery.message.type)
    if (delivery.replyTo === undefined || entry === undefined) this.#lost(delivery.message, error)
    else void this.#reply(delivery.replyTo, entry.contract, { kind: 'error', error, isRefusal: true })
  }

  /** Undefined where everything was done at once. */
  #run(delivery: LightDelivery): Promise<void> | undefined {
    const { message } = delivery
    const deadlineAtMs = instantMs(message.deadline)
    if (deadlineAtMs !== undefined && deadlineAtMs <= this.#host.clock.nowMs()) {
      this.#expired(message)
      return undefined
    }
    const entry = this.#entries.get(message.type)
    let result: unknown
    try {
      result = this.#handle(delivery, entry, deadlineAtMs)
    } catch (error) {
      return this.#finish(delivery, entry, { kind: 'error', error })
    }
    if (!isThenable(result)) return this.#finish(delivery, entry, { kind: 'value', value: result })
    return Promise.resolve(result).then(
      (value) => this.#finish(delivery, entry, { kind: 'value', value }),
      (error: unknown) => this.#finish(delivery, entry, { kind: 'error', error }),
    )
  }

  #finish(delivery: LightDelivery, entry: HandlerEntry | undefined, outcome: AnswerOutcome): Promise<void> | undefined {
    const { message, replyTo } = delivery
    if (replyTo !== undefined && entry !== undefined) {
      if (outcome.kind === 'error' && isTrunklineError(outcome.error, 'bus.deadline_passed')) {
        // The asker has given up at the same instant; an answer now would only race with its own time limit.
        this.#expired(message)
        return undefined
      }
      if (outcome.kind === 'error' && !isTrunklineError(outcome.error, 'contract.declared_error')) {
        this.#host.logger.warn({ err: outcome.error, type: message.type, messageId: message.id }, 'a request could not be answered; the asker is told')
      }
      this.#host.counters.answered++
      return this.#reply(replyTo, entry.contract, outcome)
    }
    if (outcome.kind === 'error') this.#lost(message, outcome.error)
    else this.#host.counters.broadcast++
    return undefined
  }

  #expired(message: WireMessage): void {
    this.#host.counters.expiredRequests++
    this.#host.emit({ kind: 'request-expired', type: message.type, id: message.id })
  }

  #handle({ message: wire, replyTo }: LightDelivery, entry: HandlerEntry | undefined, deadlineAtMs: number | undefined): unknown {
    if (wire.defect !== undefined) throw new TrunklineError('contract.message_foreign', { problem: wire.defect })
    if (entry === undefined) throw new TrunklineError('bus.type_unhandled', { type: wire.type.slice(0, 200), group: '' })
    if (wire.hops > HOPS_MAX) throw new TrunklineError('bus.hops_exceeded', { type: wire.type, hops: `${wire.hops}`, hopsMax: HOPS_MAX })
    const data = entry.contract.decode(wire.version, wire.body, this.#host.bodyBytesMax)
    const scope = scopeOf(wire)
    const message = messageOf(wire, data, scope)
    const context = new LazyContext(this.#source(wire.type), { message: wire, isRedriven: false, isAsked: replyTo !== undefined }, 1, scope)
    const { around } = this.#host
    const result =
      around === undefined
        ? runInScope(scope, entry.handle, message, context)
        : runInScope(scope, around, { contract: entry.contract, message, context }, () => entry.handle(message, context))
    return isThenable(result) ? this.#limited(Promise.resolve(result), wire.type, deadlineAtMs, context) : result
  }

  #source(type: string): ContextSource {
    let source = this.#sources.get(type)
    if (source === undefined) {
      source = { group: type, attemptsMax: 1, logger: this.#host.logger }
      if (this.#entries.has(type)) this.#sources.set(type, source)
    }
    return source
  }

  #limited(result: Promise<unknown>, type: string, deadlineAtMs: number | undefined, context: LazyContext): Promise<unknown> {
    const { clock, deadlines } = this.#host
    const untilDeadlineMs = deadlineAtMs === undefined ? Infinity : Math.max(0, deadlineAtMs - clock.nowMs())
    const timeoutMs = Math.min(this.#options.handlerTimeoutMs, untilDeadlineMs)
    return new Promise((resolve, reject) => {
      const limit = {
        expiresAtMs: clock.monotonicMs() + timeoutMs,
        expire: (): void => {
          const error =
            deadlineAtMs !== undefined && untilDeadlineMs <= this.#options.handlerTimeoutMs
              ? new TrunklineError('bus.deadline_passed', { type, deadline: instantText(deadlineAtMs) })
              : new TrunklineError('bus.handler_timeout', { type, group: type, timeoutMs })
          context.abort(error)
          reject(error)
        },
      }
      deadlines.add(limit)
      this.#running.add(context)
      result.then(resolve, reject).finally(() => {
        deadlines.remove(limit)
        this.#running.delete(context)
      })
    })
  }

  /** A light message without an asker that could not be handled: nothing will bring it back. */
  #lost(message: WireMessage, error: unknown): void {
    this.#host.counters.broadcastFailed++
    this.#host.emit({ kind: 'broadcast-failed', type: message.type, id: message.id, code: codeOf(error) })
    this.#host.logger.warn({ err: error, type: message.type, messageId: message.id }, 'a broadcast could not be handled')
  }
}
