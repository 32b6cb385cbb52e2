import { TrunklineError, errorText } from '../../core/errors.ts'
import type { SqliteFailure } from './sqlite-driver.ts'
import type { SqliteJob, SqliteTurn } from './sqlite-turn.ts'

/** Any work whose caller waits for its result. */
export class SqliteCallJob<T> implements SqliteJob {
  readonly isUnit = false
  readonly bytes = 1024
  readonly isCancelled = false
  readonly #work: (turn: SqliteTurn) => T
  readonly #giveUpAtMs: number
  readonly #resolve: (result: T) => void
  readonly #reject: (error: unknown) => void
  #finish: () => void = () => {}

  constructor(work: (turn: SqliteTurn) => T, giveUpAtMs: number, resolve: (result: T) => void, reject: (error: unknown) => void) {
    this.#work = work
    this.#giveUpAtMs = giveUpAtMs
    this.#resolve = resolve
    this.#reject = reject
  }

  run(turn: SqliteTurn): void {
    const result = this.#work(turn)
    this.#finish = () => this.#resolve(result)
  }

  done(): void {
    this.#finish()
  }

  isExpired(nowMs: number): boolean {
    return nowMs >= this.#giveUpAtMs
  }

  fail(failure: SqliteFailure, thrown: unknown): void {
    this.#reject(lost(failure, thrown))
  }
}

/** The error for an operation that could not be done in time. */
export function lost(failure: SqliteFailure, thrown: unknown): TrunklineError {
  if (thrown instanceof TrunklineError) return thrown
  const problem =
    thrown === undefined ? 'the transport was closed' : failure === 'busy' ? 'another process keeps the file locked' : errorText(thrown)
  return new TrunklineError('bus.connection_lost', { adapter: 'sqlite', problem }, { cause: thrown })
}
