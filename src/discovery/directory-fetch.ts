import type { BalanceName, BalanceOptions } from '../bus/balancer.ts'
import type { Clock } from '../core/clock.ts'
import { TrunklineError, errorText } from '../core/errors.ts'
import { balanceOf } from './balance-options.ts'
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
  readonly done: (outcome: 'ok' | 'failed' | 'abandoned') => void
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
  /** Default: the platform's. */
  readonly fetch?: typeof fetch
}

const TIMEOUT_MS = 5_000
const ATTEMPTS_MAX = 3
const IDEMPOTENT: ReadonlySet<string> = new Set(['GET', 'HEAD', 'OPTIONS', 'PUT', 'DELETE'])
/** Answers of an instance, or of what stands before it, that another instance may not give. */
const ELSEWHERE: ReadonlySet<number> = new Set([502, 503, 504])
/** Failures before anything was sent: safe to repeat whatever the method. */
const UNSENT: ReadonlySet<string> = new Set(['ECONNREFUSED', 'EHOSTUNREACH', 'ENETUNREACH', 'ENOTFOUND'])

/** Calls services over HTTP with the same choice, failover and memory of outcomes as asks over the bus. */
export class DirectoryFetch {
  readonly #balancer: DirectoryBalancer
  readonly #clock: Clock

  constructor(balancer: DirectoryBalancer, clock: Clock) {
    this.#balancer = balancer
    this.#clock = clock
  }

  /** @throws `discovery.no_instance`. */
  pick(service: string, options: PickOptions): Picked {
    const { protocol = 'http' } = options
    const target = this.#target(service, options, new Set())
    if (target === undefined) throw noInstance(service, protocol)
    const startedAtMs = this.#clock.monotonicMs()
    let isDone = false
    this.#balancer.book.begin(target.address)
    const done = (outcome: 'ok' | 'failed' | 'abandoned'): void => {
      if (isDone) return
      isDone = true
      this.#balancer.book.end(target.address, outcome, this.#clock.monotonicMs() - startedAtMs, this.#clock.monotonicMs())
    }
    return { ...target, done }
  }

  #target(service: string, { protocol = 'http', balance = {} }: PickOptions, tried: ReadonlySet<string>): Reachable | undefined {
    return this.#balancer.choose(nameOf(service, { protocol }), balanceOf(balance), tried, (instance) => (instance.service === service ? instance.addresses[protocol] : undefined))
  }

  async fetch(service: string, path: string, options: FetchOptions): Promise<Response> {
    const { timeoutMs = TIMEOUT_MS, protocol = 'http', balance = {} } = options
    const { attemptsMax = ATTEMPTS_MAX, attemptTimeoutMs } = balanceOf(balance)
    const expiresAtMs = this.#clock.monotonicMs() + timeoutMs
    const tried = new Set<string>()
    let target = this.#target(service, options, tried)
    if (target === undefined) throw noInstance(service, protocol)
    this.#balancer.deposit()
    for (let count = 1; ; count++) {
      tried.add(target.address)
      const hasNext = count < attemptsMax && mayRepeat(options) && this.#balancer.isThereAnother(nameOf(service, options), tried)
      const leftMs = Math.max(1, expiresAtMs - this.#clock.monotonicMs())
      const outcome = await this.#once(target, path, options, !hasNext ? leftMs : Math.min(leftMs, attemptTimeoutMs ?? Math.max(1, leftMs / 2)))
      const isLast = options.signal?.aborted === true || this.#clock.monotonicMs() >= expiresAtMs
      const again = isLast || !hasNext || !goesElsewhere(outcome, options) ? undefined : this.#target(service, options, tried)
      if (again === undefined || !this.#balancer.mayTryAgain()) {
        if (outcome.kind === 'response') return outcome.response
        throw outcome.error
      }
      // What is not read would keep its connection.
      if (outcome.kind === 'response') await outcome.response.body?.cancel().catch(() => undefined)
      target = again
    }
  }

  async #once({ address }: Reachable, path: string, options: FetchOptions, timeoutMs: number): Promise<FetchOutcome> {
    const { fetch: fetching = fetch, signal, timeoutMs: _timeoutMs, protocol: _protocol, balance: _balance, isIdempotent: _isIdempotent, ...init } = options
    const controller = new AbortController()
    const { book } = this.#balancer
    const startedAtMs = this.#clock.monotonicMs()
    const end = (outcome: 'ok' | 'failed' | 'abandoned'): void => book.end(address, outcome, this.#clock.monotonicMs() - startedAtMs, this.#clock.monotonicMs())
    const late = new TrunklineError('discovery.fetch_timeout', { address, timeoutMs: Math.round(timeoutMs) })
    const timer = this.#clock.setTimer(timeoutMs, () => controller.abort(late), { background: true })
    book.begin(address)
    try {
      // The caller's signal goes on to hold for the body; the time limit ends with the head.
      const both = signal === undefined || signal === null ? controller.signal : AbortSignal.any([signal, controller.signal])
      const response = await fetching(urlOf(address, path), { ...init, signal: both })
      end(response.status >= 500 ? 'failed' : 'ok')
      return { kind: 'response', response }
    } catch (error) {
      end(signal?.aborted === true ? 'abandoned' : 'failed')
      return { kind: 'error', error: controller.signal.reason === late ? late : error, isUnsent: isUnsent(error) }
    } finally {
      timer.cancel()
    }
  }
}

type FetchOutcome = { readonly kind: 'response'; readonly response: Response } | { readonly kind: 'error'; readonly error: unknown; readonly isUnsent: boolean }

function mayRepeat({ body }: FetchOptions): boolean {
  // A stream is gone once it was read.
  return !(body instanceof ReadableStream)
}

function goesElsewhere(outcome: FetchOutcome, options: FetchOptions): boolean {
  if (!mayRepeat(options)) return false
  if (outcome.kind === 'error' && outcome.isUnsent) return true
  const isIdempotent = options.isIdempotent ?? IDEMPOTENT.has((options.method ?? 'GET').toUpperCase())
  return isIdempotent && (outcome.kind === 'error' || ELSEWHERE.has(outcome.response.status))
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
