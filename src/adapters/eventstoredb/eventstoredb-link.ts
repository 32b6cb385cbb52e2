import { TrunklineError } from '../../core/errors.ts'
import type { Clock, Timer } from '../../core/clock.ts'
import type { Logger } from '../../core/logger.ts'
import type { EsdbCallOptions, EsdbClient, EsdbConnect, EsdbCredentials, EsdbReading } from './eventstoredb-client.ts'
import { storedOf, type EsdbEvent } from './eventstoredb-event.ts'
import { failureOf, type EsdbFailure } from './eventstoredb-failure.ts'

/** What the link tells, and works with. */
export interface LinkHost {
  readonly clock: Clock
  readonly logger: Logger
  readonly report: (state: 'up' | 'degraded' | 'down', reason: string) => void
}

/** How a call ended. */
export type CallResult<T> = { readonly kind: 'done'; readonly value: T } | { readonly kind: 'failed'; readonly failure: EsdbFailure }

/** What a read gave. */
export interface EsdbPage {
  readonly events: readonly EsdbEvent[]
  /** It was ended before it was complete, because its events are large. */
  readonly isCut: boolean
}

/** Calls in a row without an answer after which the client is replaced: a batch stream that ended in silence never answers again (guard 3). */
const LATE_MAX = 2
/** A page of a read holds no more than this, whatever the number of its events. */
const PAGE_BYTES_MAX = 8_388_608

/**
 * The one client of this process, and a time limit round every call: the client's own limits hold for few of them (guards 3 and 14, E-01). A
 * client that cannot go on is replaced (guard 1).
 */
export class EsdbLink {
  readonly host: LinkHost
  readonly callTimeoutMs: number
  readonly #connect: EsdbConnect
  readonly #credentials: EsdbCredentials | undefined
  readonly #closed = new AbortController()
  #client: EsdbClient | undefined
  readonly #troubles = new Map<string, string>()
  #late = 0
  #generation = 0

  constructor(host: LinkHost, connect: EsdbConnect, options: { readonly callTimeoutMs: number; readonly credentials: EsdbCredentials | undefined }) {
    this.host = host
    this.callTimeoutMs = options.callTimeoutMs
    this.#connect = connect
    this.#credentials = options.credentials
  }

  /** Aborts when the link is closed. */
  get closed(): AbortSignal {
    return this.#closed.signal
  }

  /** What each call is given. */
  get callOptions(): EsdbCallOptions {
    return this.#credentials === undefined ? {} : { credentials: this.#credentials }
  }

  /** The client of now, for subscriptions. @throws `bus.not_running` after `close`. */
  get client(): EsdbClient {
    if (this.#closed.signal.aborted) throw new TrunklineError('bus.not_running', { operation: 'use of EventStoreDB', state: 'closed' })
    this.#client ??= this.#connect()
    return this.#client
  }

  /** Runs a call. It never rejects, and ends at the latest after `timeoutMs`; then its outcome is unknown. */
  async call<T>(work: (client: EsdbClient) => Promise<T>, timeoutMs: number = this.callTimeoutMs): Promise<CallResult<T>> {
    const generation = this.#generation
    const limit = new CallLimit(this.host.clock, timeoutMs, this.#closed.signal)
    try {
      const value = await Promise.race([started(() => work(this.client)), limit.over])
      if (value === LATE) return this.#failed(generation, { kind: 'unknown', problem: `no answer within ${timeoutMs} ms`, cause: undefined, actual: undefined }, true)
      this.#late = 0
      this.#well()
      return { kind: 'done', value }
    } catch (error) {
      return this.#failed(generation, failureOf(error), false)
    } finally {
      limit.end()
    }
  }

  /** Collects a read; see `call`. It is ended in any case (guard 10). */
  async read(start: (client: EsdbClient) => EsdbReading, timeoutMs: number = this.callTimeoutMs): Promise<CallResult<EsdbPage>> {
    let reading: EsdbReading | undefined
    const result = await this.call(async (client) => {
      reading = start(client)
      return await collected(reading)
    }, timeoutMs)
    if (reading !== undefined && result.kind === 'failed') quietly(reading)
    return result
  }

  /** A subscription failed with this, or ended: the client is replaced where it has to be. */
  notice(thrown: unknown): EsdbFailure {
    const failure = failureOf(thrown)
    if (failure.kind === 'poisoned') this.replace(failure.problem)
    if (failure.kind === 'poisoned' || failure.kind === 'unknown') this.host.report('down', failure.problem)
    return failure
  }

  /** Something works less well than it should, until it is called with undefined. */
  trouble(name: string, reason: string | undefined): void {
    if (reason === undefined) this.#troubles.delete(name)
    else this.#troubles.set(name, reason)
  }

  /** The server has answered. */
  #well(): void {
    const [reason] = this.#troubles.values()
    if (reason === undefined) this.host.report('up', '')
    else this.host.report('degraded', reason)
  }

  /** Makes the next call use a new client. */
  replace(reason: string): void {
    const old = this.#client
    if (old === undefined) return
    this.#client = undefined
    this.#late = 0
    this.#generation++
    this.host.logger.warn({ problem: reason }, 'the client of EventStoreDB is replaced')
    old.dispose().catch(() => undefined)
  }

  async close(): Promise<void> {
    const old = this.#client
    this.#closed.abort()
    this.#client = undefined
    if (old === undefined) return
    // Without it the process would not end (guard 15).
    await Promise.race([old.dispose().catch(() => undefined), new CallLimit(this.host.clock, this.callTimeoutMs, undefined).over])
  }

  #failed(generation: number, failure: EsdbFailure, isLate: boolean): CallResult<never> {
    if (generation === this.#generation && !this.#closed.signal.aborted) {
      this.#late = isLate ? this.#late + 1 : this.#late
      if (failure.kind === 'poisoned' || this.#late >= LATE_MAX) this.replace(failure.problem)
    }
    if (failure.kind === 'unknown' || failure.kind === 'poisoned') this.host.report('down', failure.problem)
    return { kind: 'failed', failure }
  }
}

const LATE = Symbol('late')

/** A time limit that leaves nothing behind when the call ends before it. */
class CallLimit {
  readonly #over = Promise.withResolvers<typeof LATE>()
  readonly #timer: Timer
  readonly #signal: AbortSignal | undefined
  readonly #finish = (): void => {
    this.#over.resolve(LATE)
  }

  constructor(clock: Clock, timeoutMs: number, signal: AbortSignal | undefined) {
    this.#timer = clock.setTimer(timeoutMs, this.#finish)
    this.#signal = signal
    if (signal?.aborted === true) this.#finish()
    signal?.addEventListener('abort', this.#finish, { once: true })
  }

  get over(): Promise<typeof LATE> {
    return this.#over.promise
  }

  end(): void {
    this.#timer.cancel()
    this.#signal?.removeEventListener('abort', this.#finish)
  }
}

async function started<T>(work: () => Promise<T>): Promise<T> {
  return await work()
}

async function collected(reading: EsdbReading): Promise<EsdbPage> {
  const events: EsdbEvent[] = []
  let bytes = 0
  reading.on('error', () => undefined) // guard 9
  for await (const one of reading) {
    const event = storedOf(one)
    if (event === undefined) continue
    events.push(event)
    bytes += event.body.length
    if (bytes < PAGE_BYTES_MAX) continue
    reading.cancel().catch(() => undefined)
    return { events, isCut: true }
  }
  return { events, isCut: false }
}

function quietly(reading: EsdbReading): void {
  reading.cancel().catch(() => undefined)
  reading.destroy()
}
