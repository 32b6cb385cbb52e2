import type { Clock } from '../../core/clock.ts'
import type { SqliteConnection } from './sqlite-connection.ts'
import { JOURNAL_SIZE_LIMIT_BYTES } from './sqlite-connection.ts'
import type { SqliteFileGuard } from './sqlite-file-guard.ts'
import type { SqliteHealth } from './sqlite-health.ts'

/** Time between two checkpoints that this instance asks for, so that the log does not wait for a busy writer. */
const CHECKPOINT_EVERY_MS = 30_000
/** Time between two tries to empty a log that is too large. */
const EMPTY_EVERY_MS = 5_000
const MEBIBYTE = 1_048_576

/** Keeps the write-ahead log small (L-07). A reader that does not end lets it grow without bound. */
export class SqliteLog {
  readonly #connection: SqliteConnection
  readonly #guard: SqliteFileGuard
  readonly #health: SqliteHealth
  readonly #clock: Clock
  #hasChanged = false
  #checkpointAtMs: number
  #emptyAtMs = 0
  #bytes = 0

  constructor(connection: SqliteConnection, parts: { readonly guard: SqliteFileGuard; readonly health: SqliteHealth; readonly clock: Clock }) {
    this.#connection = connection
    this.#guard = parts.guard
    this.#health = parts.health
    this.#clock = parts.clock
    this.#checkpointAtMs = parts.clock.monotonicMs() + CHECKPOINT_EVERY_MS
  }

  /** Size at the last look. */
  get bytes(): number {
    return this.#bytes
  }

  /** The database has been written to. */
  grow(): void {
    this.#hasChanged = true
  }

  /** Call it now and then. It blocks for no longer than the busy timeout and the copying of pages. */
  tend(): void {
    const nowMs = this.#clock.monotonicMs()
    this.#bytes = this.#guard.logBytes()
    if (this.#bytes > JOURNAL_SIZE_LIMIT_BYTES && nowMs >= this.#emptyAtMs) {
      this.#emptyAtMs = nowMs + EMPTY_EVERY_MS
      // A passive checkpoint never waits for readers, so with one always there it would never start the log anew.
      this.#connection.row('PRAGMA wal_checkpoint(TRUNCATE)')
      this.#bytes = this.#guard.logBytes()
      this.#report()
    } else if (this.#hasChanged && nowMs >= this.#checkpointAtMs) {
      this.#hasChanged = false
      this.#checkpointAtMs = nowMs + CHECKPOINT_EVERY_MS
      this.#connection.row('PRAGMA wal_checkpoint(PASSIVE)')
    }
    if (this.#bytes <= JOURNAL_SIZE_LIMIT_BYTES) this.#health.set('log', 'up', '')
  }

  #report(): void {
    if (this.#bytes <= JOURNAL_SIZE_LIMIT_BYTES) return
    const reason = `the write-ahead log has more than ${Math.floor(JOURNAL_SIZE_LIMIT_BYTES / MEBIBYTE)} MiB: some connection keeps a read transaction open`
    this.#health.set('log', 'degraded', reason)
  }
}
