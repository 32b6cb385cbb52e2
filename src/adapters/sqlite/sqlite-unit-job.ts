import { AsyncResource } from 'node:async_hooks'
import type { Clock, Timer } from '../../core/clock.ts'
import { TrunklineError } from '../../core/errors.ts'
import type { TransactOptions } from '../../outbox/port.ts'
import type { SqliteFailure } from './sqlite-driver.ts'
import { storeLost } from './sqlite-store-errors.ts'
import type { SqliteStoreUnit } from './sqlite-store-unit.ts'
import type { SqliteTurn, SqliteUnit, SqliteUnitEnd } from './sqlite-turn.ts'

/** How a unit is run. */
export interface SqliteUnitJobParts<T> extends TransactOptions {
  readonly clock: Clock
  /** Time for which a locked file keeps it waiting. */
  readonly lockWaitMs: number
  readonly work: (unit: SqliteStoreUnit) => Promise<T>
  readonly unitOf: (turn: SqliteTurn) => SqliteStoreUnit
}

/** Longest wait for its turn where its caller named none. */
const TURN_WAIT_MS = 30_000

const NOTHING = (): void => {}

/** A user's function that commits with what it wrote. */
export class SqliteUnitJob<T> implements SqliteUnit {
  readonly isUnit = true
  readonly bytes = 1024
  isAlone = false
  readonly #parts: SqliteUnitJobParts<T>
  // The context of the caller; a snapshot would cost several times as much.
  readonly #caller = new AsyncResource('trunkline.unit')
  readonly #settle: { readonly resolve: (value: T) => void; readonly reject: (error: unknown) => void }
  readonly #beganMs: number
  readonly #timer: Timer | undefined
  #isSettled = false
  #given: { readonly error: unknown } | undefined
  #end: ((end: SqliteUnitEnd) => void) | undefined
  /** Set by a run that has ended well; `NOTHING` before. */
  #finish: () => void = NOTHING

  constructor(parts: SqliteUnitJobParts<T>, resolve: (value: T) => void, reject: (error: unknown) => void) {
    this.#parts = parts
    this.#settle = { resolve, reject }
    const { clock, timeoutMs, signal } = parts
    this.#beganMs = clock.monotonicMs()
    this.#timer = timeoutMs === undefined ? undefined : clock.setTimer(timeoutMs, () => this.#tooLong(timeoutMs))
    signal?.addEventListener('abort', this.#onAbort, { once: true })
  }

  get isCancelled(): boolean {
    return this.#isSettled
  }

  readonly #onAbort = (): void => this.stop(this.#parts.signal?.reason)

  #tooLong(timeoutMs: number): void {
    const problem = `the units of work before it did not end within ${timeoutMs} ms`
    this.stop(
      this.#end === undefined ? new TrunklineError('store.conflict', { store: 'sqlite', problem }) : new TrunklineError('outbox.unit_too_long', { store: 'sqlite', limitMs: timeoutMs }),
    )
  }

  /** Ends its run, or sees to it that there is none. What waits for its commit already is left to it. */
  stop(error: unknown): void {
    this.#given ??= { error }
    if (this.#end !== undefined) this.#end({ kind: 'failed', error })
    else if (this.#finish === NOTHING) this.failWith(error)
  }

  run(turn: SqliteTurn): Promise<SqliteUnitEnd> {
    this.#finish = NOTHING
    if (this.#given !== undefined) return Promise.resolve({ kind: 'failed', error: this.#given.error })
    const unit = this.#parts.unitOf(turn)
    return new Promise((resolve) => {
      this.#end = (end) => {
        if (this.#end === undefined) return
        this.#end = undefined
        unit.end()
        resolve(end)
      }
      void this.#caller.runInAsyncScope(() => this.#call(unit))
    })
  }

  async #call(unit: SqliteStoreUnit): Promise<void> {
    try {
      const value = await this.#parts.work(unit)
      if (this.#end === undefined) return
      this.#finish = () => this.#settle.resolve(value)
      this.#end(unit.broken === undefined ? { kind: 'returned' } : { kind: 'failed', error: unit.broken.thrown })
    } catch (error) {
      this.#end?.({ kind: 'failed', error })
    }
  }

  done(): void {
    this.#over()
    this.#finish()
  }

  isLate(nowMs: number): boolean {
    return nowMs - this.#beganMs >= (this.#parts.timeoutMs ?? TURN_WAIT_MS)
  }

  isExpired(nowMs: number): boolean {
    return nowMs - this.#beganMs >= this.#parts.lockWaitMs
  }

  fail(failure: SqliteFailure, thrown: unknown): void {
    this.failWith(storeLost(failure, thrown))
  }

  failWith(error: unknown): void {
    if (this.#isSettled) return
    this.#over()
    this.#settle.reject(error)
  }

  #over(): void {
    this.#isSettled = true
    this.#timer?.cancel()
    this.#parts.signal?.removeEventListener('abort', this.#onAbort)
  }
}
