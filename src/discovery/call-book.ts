import type { CircuitState } from '../bus/call-policy.ts'

/** Numbers of the outlier ejection. */
export interface OutlierSettings {
  /** Failures in a row after which an instance gets no calls for a while. */
  readonly failuresMax: number
  /** First pause, in milliseconds; the n-th is n times as long. */
  readonly pauseMs: number
  readonly pauseMsMax: number
  /** Time over which an instance that comes back gets more and more of its share, in milliseconds. */
  readonly returnMs: number
  /** Largest share of the instances that may be out at the same time. */
  readonly outShareMax: number
}

/** The defaults. */
export const OUTLIERS: OutlierSettings = { failuresMax: 5, pauseMs: 10_000, pauseMsMax: 300_000, returnMs: 10_000, outShareMax: 0.5 }

/** Time after which a latency counts for about a third, so that a slow instance is tried again. */
const LATENCY_MEMORY_MS = 10_000
/** Addresses that are remembered; the one that was used longest ago goes first. */
const ADDRESSES_MAX = 10_000

/** What is known of the calls to one address. */
interface Page {
  pending: number
  /** Moving average, or undefined before the first answer. */
  latencyMs: number | undefined
  latencyAtMs: number
  failures: number
  ejections: number
  ejectedUntilMs: number
  /** It wants no calls until then. */
  sparedUntilMs: number
  circuit: CircuitState
}

/** How a call ended. `failed` where the instance is to blame, `abandoned` where nothing is known of it. */
export type CallEnd = 'ok' | 'failed' | 'abandoned'

/** The same, or `outrun`: this side had its answer elsewhere before this one came, so all that is known is that it takes at least so long. */
export type AttemptEnd = CallEnd | 'outrun'

/** What a choice looks at. */
export interface Standing {
  readonly pending: number
  readonly latencyMs: number | undefined
  /** Share of its calls that it should get now, 0 to 1: 0 while it is out, growing while it comes back. */
  readonly share: number
}

const UNUSED: Standing = { pending: 0, latencyMs: undefined, share: 1 }

/** Remembers how calls to each address went: its own calls only, which are the ones that matter to this caller. */
export class CallBook {
  readonly #settings: OutlierSettings
  readonly #pages = new Map<string, Page>()

  constructor(settings: OutlierSettings = OUTLIERS) {
    this.#settings = settings
  }

  /** How an address stands. */
  standing(address: string, nowMs: number): Standing {
    const page = this.#pages.get(address)
    if (page === undefined) return UNUSED
    const age = Math.exp(-Math.max(0, nowMs - page.latencyAtMs) / LATENCY_MEMORY_MS)
    return { pending: page.pending, latencyMs: page.latencyMs === undefined ? undefined : page.latencyMs * age, share: this.#shareOf(page, nowMs) }
  }

  #shareOf({ ejectedUntilMs, ejections, sparedUntilMs }: Page, nowMs: number): number {
    if (nowMs < ejectedUntilMs || nowMs < sparedUntilMs) return 0
    if (ejections === 0) return 1
    return Math.min(1, 0.1 + (0.9 * (nowMs - ejectedUntilMs)) / this.#settings.returnMs)
  }

  /** A call begins. @returns what the address's circuit has become by it, where it has changed. */
  begin(address: string, nowMs: number): CircuitState | undefined {
    const page = this.#pageOf(address)
    page.pending++
    return page.circuit === 'open' && nowMs >= page.ejectedUntilMs ? (page.circuit = 'half-open') : undefined
  }

  /** A call has ended; a refusal that belongs to the contract is no failure. @returns what the address's circuit has become by it, where it has changed. */
  end(address: string, outcome: AttemptEnd, tookMs: number, nowMs: number): CircuitState | undefined {
    const page = this.#pageOf(address)
    const before = page.circuit
    page.pending = Math.max(0, page.pending - 1)
    if (outcome === 'outrun') this.#took(page, Math.max(tookMs, this.standing(address, nowMs).latencyMs ?? 0), nowMs)
    else if (outcome !== 'abandoned') this.#ended(page, outcome, tookMs, nowMs)
    return page.circuit === before ? undefined : page.circuit
  }

  /** It asks to be left alone for a time; without having failed it comes back with its whole share. */
  spare(address: string, forMs: number, nowMs: number): void {
    const page = this.#pageOf(address)
    page.sparedUntilMs = Math.max(page.sparedUntilMs, nowMs + Math.min(forMs, this.#settings.pauseMs))
  }

  /** Milliseconds until an address that is out gets its next call; 0 for one that is not. */
  outForMs(address: string, nowMs: number): number {
    return Math.max(0, (this.#pages.get(address)?.ejectedUntilMs ?? 0) - nowMs)
  }

  #ended(page: Page, outcome: 'ok' | 'failed', tookMs: number, nowMs: number): void {
    if (outcome === 'failed') this.#failed(page, nowMs)
    else {
      page.failures = 0
      if (page.ejections > 0 && nowMs > page.ejectedUntilMs + this.#settings.returnMs) {
        page.ejections = 0
        page.circuit = 'closed'
      }
    }
    this.#took(page, tookMs, nowMs)
  }

  #took(page: Page, tookMs: number, nowMs: number): void {
    const age = Math.exp(-Math.max(0, nowMs - page.latencyAtMs) / LATENCY_MEMORY_MS)
    const keep = page.latencyMs === undefined ? 0 : Math.min(0.9, age)
    // A peak counts at once, so that a queue that builds up is seen before it is long; recovery is believed slowly.
    const before = page.latencyMs ?? tookMs
    page.latencyMs = tookMs > before ? tookMs : before * keep + tookMs * (1 - keep)
    page.latencyAtMs = nowMs
  }

  #failed(page: Page, nowMs: number): void {
    const { failuresMax, pauseMs, pauseMsMax } = this.#settings
    if (++page.failures < failuresMax && page.ejections === 0) return
    // One that has just come back is out again with its first failure.
    if (nowMs < page.ejectedUntilMs) return
    page.failures = 0
    page.ejections++
    page.circuit = 'open'
    page.ejectedUntilMs = nowMs + Math.min(pauseMsMax, pauseMs * page.ejections)
  }

  /**
   * Those of the addresses that are out, at most the allowed share of them: where most are out, it is not them.
   */
  out(addresses: readonly string[], nowMs: number): ReadonlySet<string> {
    const out = addresses.filter((address) => this.standing(address, nowMs).share === 0)
    const most = Math.floor(addresses.length * this.#settings.outShareMax)
    // Those that were ejected first are the first to be tried again.
    const ranked = out.toSorted((left, right) => this.#outUntilMs(right) - this.#outUntilMs(left))
    return new Set(ranked.slice(0, most))
  }

  #outUntilMs(address: string): number {
    const page = this.#pages.get(address)
    return page === undefined ? 0 : Math.max(page.ejectedUntilMs, page.sparedUntilMs)
  }

  #pageOf(address: string): Page {
    let page = this.#pages.get(address)
    if (page !== undefined) return page
    if (this.#pages.size >= ADDRESSES_MAX) this.#forgetOne()
    page = { pending: 0, latencyMs: undefined, latencyAtMs: 0, failures: 0, ejections: 0, ejectedUntilMs: 0, sparedUntilMs: 0, circuit: 'closed' }
    this.#pages.set(address, page)
    return page
  }

  #forgetOne(): void {
    for (const [address, { pending }] of this.#pages) {
      if (pending > 0) continue
      this.#pages.delete(address)
      return
    }
  }
}
