import type { BalanceName, BalanceOptions, EarlyEnd } from '../bus/balancer.ts'
import type { CallPolicy, PolicyHost } from '../bus/call-policy.ts'
import { linkedController, neverAborted } from '../core/abort.ts'
import type { Clock } from '../core/clock.ts'
import { TrunklineError, errorText } from '../core/errors.ts'
import { balanceOf } from './balance-options.ts'
import type { CallEnd } from './call-book.ts'
import type { Reachable } from './choice.ts'
import type { DirectoryBalancer } from './directory-balancer.ts'
import type { Instance } from './directory-state.ts'

/** How an instance of a service is picked. */
export interface PickOptions {
  /** Which of its addresses is meant. Default `http`. */
  readonly protocol?: string
  readonly balance?: BalanceName | BalanceOptions
}

/** An instance, for a call that is made without the bus. */
export interface Picked {
  readonly instance: Instance
  /** Its address for the protocol, as its service gave it. */
  readonly address: string
  /**
   * Tells how the call went, once, so that later choices know; until then it counts as unanswered. `abandoned` says nothing about the instance.
   */
  readonly done: (outcome: CallEnd) => void
}

function nameOf(service: string, { protocol = 'http' }: PickOptions): string {
  return `${protocol} ${service}`
}

/** What `Directory.fetch` takes beside what `fetch` takes. */
export interface FetchOptions extends RequestInit, PickOptions {
  /** Time for all attempts, in milliseconds. Default 5,000. */
  readonly timeoutMs?: number
  /** True where the request may be made twice although its method says otherwise, such as a POST with an `Idempotency-Key`. Default: by the method. */
  readonly isIdempotent?: boolean
  /**
   * What runs round the call, such as `compose(retry(), circuitBreaker())`. A response of 500 or more is a failure for it (`discovery.response_failed`), and is given to the
   * caller as it is where nothing else stands in. Keep the value: it holds the breaker.
   */
  readonly policy?: CallPolicy<Response>
  /** Default: the platform's. */
  readonly fetch?: typeof fetch
}

const TIMEOUT_MS = 5_000
const ATTEMPTS_MAX = 3
const IDEMPOTENT: ReadonlySet<string> = new Set(['GET', 'HEAD', 'OPTIONS', 'PUT', 'DELETE'])
/** Answers of an instance, or of what stands before it, that another instance may not give. */
const ELSEWHERE: ReadonlySet<number> = new Set([502, 503, 504])
const FAILED = 500
const UNAVAILABLE = 503
const TOO_MANY = 429
/** Failures before anything was sent: safe to repeat whatever the method. */
const UNSENT: ReadonlySet<string> = new Set(['ECONNREFUSED', 'EHOSTUNREACH', 'ENETUNREACH', 'ENOTFOUND'])

/** Calls services over HTTP with the same choice, failover and memory of outcomes as asks over the bus. */
export class DirectoryFetch {
  readonly #balancer: DirectoryBalancer
  readonly #host: PolicyHost
  readonly #clock: Clock

  constructor(balancer: DirectoryBalancer, host: PolicyHost) {
    this.#balancer = balancer
    this.#host = host
    this.#clock = host.clock
  }

  /** @throws `discovery.no_instance`. */
  pick(service: string, options: PickOptions): Picked {
    const { protocol = 'http' } = options
    const target = this.#target(service, options, new Set())
    if (target === undefined) throw noInstance(service, protocol)
    const end = this.#balancer.begin(target)
    let isDone = false
    const done = (outcome: CallEnd): void => {
      if (isDone) return
      isDone = true
      end(outcome)
    }
    return { ...target, done }
  }

  #target(service: string, { protocol = 'http', balance = {} }: PickOptions, tried: ReadonlySet<string>): Reachable | undefined {
    return this.#balancer.choose(nameOf(service, { protocol }), balanceOf(balance), tried, (instance) => (instance.service === service ? instance.addresses[protocol] : undefined))
  }

  async fetch(service: string, path: string, options: FetchOptions): Promise<Response> {
    const { timeoutMs = TIMEOUT_MS, policy, signal } = options
    const expiresAtMs = this.#clock.monotonicMs() + timeoutMs
    if (policy === undefined) return await this.#attempts({ service, path, options, expiresAtMs, signals: signalsOf(signal) })
    const { controller, release } = linkedController(signal ?? neverAborted)
    const late = new TrunklineError('discovery.fetch_timeout', { address: service, timeoutMs: Math.round(timeoutMs) })
    const timer = this.#clock.setTimer(timeoutMs, () => controller.abort(late), { background: true })
    const failed = new FailedResponse()
    try {
      const run = { signal: controller.signal, host: this.#host, name: service, kind: isRepeatable(options) ? 'query' : 'command', expiresAtMs } as const
      return await policy.run(async (attemptSignal, call) => {
        const until = Math.min(expiresAtMs, call.expiresAtMs)
        return await failed.checked(service, await this.#attempts({ service, path, options, expiresAtMs: until, signals: signalsOf(signal, attemptSignal) }))
      }, run)
    } catch (error) {
      const response = failed.of(error)
      if (response !== undefined) return response
      throw controller.signal.reason === late ? late : error
    } finally {
      timer.cancel()
      release()
    }
  }

  async #attempts(asked: Asked): Promise<Response> {
    const { service, options, expiresAtMs } = asked
    const { protocol = 'http', balance = {} } = options
    const { attemptsMax = ATTEMPTS_MAX, attemptTimeoutMs } = balanceOf(balance)
    const tried = new Set<string>()
    let target = this.#target(service, options, tried)
    if (target === undefined) throw noInstance(service, protocol)
    this.#balancer.deposit()
    for (let count = 1; ; count++) {
      tried.add(target.address)
      const hasNext = count < attemptsMax && mayRepeat(options) && this.#balancer.isThereAnother(nameOf(service, options), tried)
      const leftMs = Math.max(1, expiresAtMs - this.#clock.monotonicMs())
      // Who takes too long is left only for another one that may be asked: a late answer is better than none.
      let next: Reachable | undefined
      const mayEnd = (): boolean => (next ??= this.#paidTarget(service, options, tried)) !== undefined
      const outcome = await this.#once(target, asked, leftMs, hasNext && isRepeatable(options) ? { afterMs: attemptTimeoutMs ?? Math.max(1, leftMs / 2), mayEnd } : undefined)
      const isLast = asked.signals.some(({ aborted }) => aborted) || this.#clock.monotonicMs() >= expiresAtMs
      const again = isLast || !hasNext || !goesElsewhere(outcome, options) ? undefined : (next ?? this.#paidTarget(service, options, tried))
      if (again === undefined) {
        if (outcome.kind === 'response') return outcome.response
        throw outcome.error
      }
      // What is not read would keep its connection.
      if (outcome.kind === 'response') await unread(outcome.response)
      target = again
    }
  }

  #paidTarget(service: string, options: FetchOptions, tried: ReadonlySet<string>): Reachable | undefined {
    const target = this.#target(service, options, tried)
    return target !== undefined && this.#balancer.mayTryAgain() ? target : undefined
  }

  async #once(target: Reachable, { path, options, signals }: Asked, timeoutMs: number, early: EarlyEnd | undefined): Promise<FetchOutcome> {
    const { fetch: fetching = fetch, timeoutMs: _timeoutMs, protocol: _protocol, balance: _balance, isIdempotent: _isIdempotent, policy: _policy, ...init } = options
    const { address } = target
    const controller = new AbortController()
    let late: TrunklineError | undefined
    const expire = (afterMs: number): void => {
      late = new TrunklineError('discovery.fetch_timeout', { address, timeoutMs: Math.round(afterMs) })
      controller.abort(late)
    }
    const timers = [this.#clock.setTimer(timeoutMs, () => expire(timeoutMs), { background: true })]
    if (early !== undefined && early.afterMs < timeoutMs) timers.push(this.#clock.setTimer(early.afterMs, () => early.mayEnd() && expire(early.afterMs), { background: true }))
    const end = this.#balancer.begin(target)
    try {
      // The caller's signal goes on to hold for the body; the time limit ends with the head.
      const response = await fetching(urlOf(address, path), { ...init, signal: AbortSignal.any([...signals, controller.signal]) })
      end(endOf(response), retryAfterMs(response))
      return { kind: 'response', response }
    } catch (error) {
      end(options.signal?.aborted === true ? 'abandoned' : 'failed')
      return { kind: 'error', error: late ?? error, isUnsent: isUnsent(error) }
    } finally {
      for (const timer of timers) timer.cancel()
    }
  }
}

/** One call with everything that its attempts need. */
interface Asked {
  readonly service: string
  readonly path: string
  readonly options: FetchOptions
  /** Monotonic milliseconds. */
  readonly expiresAtMs: number
  /** What ends it, beside the time. */
  readonly signals: readonly AbortSignal[]
}

/** A response that is a failure for a policy, and for the caller the response that it is. */
class FailedResponse {
  #last: { readonly error: TrunklineError; readonly response: Response } | undefined

  /** @throws `discovery.response_failed`. */
  async checked(service: string, response: Response): Promise<Response> {
    if (this.#last !== undefined) await unread(this.#last.response)
    this.#last = undefined
    if (response.status < FAILED) return response
    const error = new TrunklineError('discovery.response_failed', { service, status: response.status })
    this.#last = { error, response }
    throw error
  }

  /** The response behind an error, where it is still wanted. */
  of(error: unknown): Response | undefined {
    return this.#last !== undefined && this.#last.error === error ? this.#last.response : undefined
  }
}

async function unread(response: Response): Promise<void> {
  await response.body?.cancel().catch(() => undefined)
}

function signalsOf(...signals: readonly (AbortSignal | null | undefined)[]): readonly AbortSignal[] {
  return signals.filter((signal) => signal !== null && signal !== undefined)
}

/** Who says that it is asked too much is not ill. */
function endOf({ status }: Response): CallEnd {
  if (status === TOO_MANY) return 'abandoned'
  return status >= FAILED ? 'failed' : 'ok'
}

/** What an instance that is overloaded says about when it wants to be asked again; dates are not read. */
function retryAfterMs({ status, headers }: Response): number | undefined {
  const text = status === TOO_MANY || status === UNAVAILABLE ? headers.get('retry-after') : null
  return text !== null && /^\d{1,6}$/.test(text) ? Number(text) * 1_000 : undefined
}

type FetchOutcome = { readonly kind: 'response'; readonly response: Response } | { readonly kind: 'error'; readonly error: unknown; readonly isUnsent: boolean }

function mayRepeat({ body }: FetchOptions): boolean {
  // A stream is gone once it was read.
  return !(body instanceof ReadableStream)
}

function goesElsewhere(outcome: FetchOutcome, options: FetchOptions): boolean {
  if (!mayRepeat(options)) return false
  if (outcome.kind === 'error' && outcome.isUnsent) return true
  return isRepeatable(options) && (outcome.kind === 'error' || ELSEWHERE.has(outcome.response.status))
}

function isRepeatable({ isIdempotent, method = 'GET' }: FetchOptions): boolean {
  return isIdempotent ?? IDEMPOTENT.has(method.toUpperCase())
}

/** `fetch` hides what happened in the cause. */
function isUnsent(error: unknown): boolean {
  const cause: unknown = error instanceof Error ? error.cause : undefined
  const code: unknown = typeof cause === 'object' && cause !== null ? Reflect.get(cause, 'code') : undefined
  return typeof code === 'string' && UNSENT.has(code)
}

/** The path below the address. An announced address is data of another process: only HTTP is dialled, and the path cannot leave it. */
function urlOf(address: string, path: string): URL {
  try {
    const base = new URL(address.endsWith('/') ? address : `${address}/`)
    const url = new URL(path.replace(/^\/+/, ''), base)
    if (/^https?:$/.test(base.protocol) && url.origin === base.origin) return url
  } catch (error) {
    throw new TrunklineError('discovery.no_instance', { wanted: address.slice(0, 200), problem: errorText(error).slice(0, 200) }, { cause: error })
  }
  throw new TrunklineError('discovery.no_instance', { wanted: address.slice(0, 200), problem: 'it is no HTTP address, or the path leads away from it' })
}

function noInstance(service: string, protocol: string): TrunklineError {
  return new TrunklineError('discovery.no_instance', { wanted: service, problem: `no instance that is up and fits has an address for ${protocol}` })
}
