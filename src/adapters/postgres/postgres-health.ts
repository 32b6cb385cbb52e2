import { backoffMs } from '../../core/backoff.ts'
import type { Clock, Timer } from '../../core/clock.ts'
import type { Random } from '../../core/random.ts'

/** What the state of the link needs. */
export interface PgHealthOptions {
  readonly clock: Clock
  readonly random: Random
  /** Rejects while the database cannot be used. */
  readonly probe: () => Promise<void>
  readonly report: (state: 'up' | 'degraded' | 'down', reason: string) => void
}

const PROBE = { initialMs: 250, factor: 2, maxMs: 5_000 }

/** How the link is: down after a failure, up again after the next success, which it looks for itself. */
export class PgHealth {
  readonly #options: PgHealthOptions
  #warning: string | undefined
  #isDown = false
  #isClosed = false
  #timer: Timer | undefined
  #tries = 0

  constructor(options: PgHealthOptions) {
    this.#options = options
  }

  /** Sets what makes the database less than good while it works; undefined: nothing. */
  warn(warning: string | undefined): void {
    this.#warning = warning
  }

  /** Something was answered. */
  works(): void {
    if (!this.#isDown || this.#isClosed) return
    this.#isDown = false
    this.#tries = 0
    this.#timer?.cancel()
    this.#timer = undefined
    this.#options.report(this.#warning === undefined ? 'up' : 'degraded', this.#warning ?? 'connected again')
  }

  /** It could not be reached. */
  failed(problem: string): void {
    if (this.#isClosed) return
    if (!this.#isDown) this.#options.report('down', problem)
    this.#isDown = true
    if (this.#timer === undefined) this.#probeLater()
  }

  /** Ends the looking. */
  close(): void {
    this.#isClosed = true
    this.#timer?.cancel()
  }

  #probeLater(): void {
    const { clock, random, probe } = this.#options
    this.#tries += 1
    this.#timer = clock.setTimer(backoffMs(PROBE, this.#tries, random), () => {
      probe().then(
        () => {
          this.#timer = undefined
          this.works()
        },
        () => {
          this.#timer = undefined
          if (this.#isDown && !this.#isClosed) this.#probeLater()
        },
      )
    }, { background: true })
  }
}
