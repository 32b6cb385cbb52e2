import { TrunklineError } from '../../core/errors.ts'
import { type OptionNames, optionNames, refuseUnknown } from '../../core/option-names.ts'
import type { SqliteSynchronous } from './sqlite-connection.ts'
import type { SqliteDatabase, SqliteDriver } from './sqlite-driver.ts'

/** What both ways to use the adapter have in common. Everything left out has a safe default. */
interface SqliteCommonOptions {
  /**
   * `full` (default): a publish resolves when it survives a power cut. `normal`: it survives the death of
   * every process, but the last commits may be missing after a power cut; several times faster on slow disks.
   */
  readonly synchronous?: SqliteSynchronous
  /** Time that another process may keep the file locked before an operation fails, in milliseconds. Default 5,000. */
  readonly lockWaitMs?: number
  /** Time that `open` may take, in milliseconds. Default 10,000. */
  readonly openTimeoutMs?: number
  /**
   * An instance that shows no heartbeat for this long loses what it has claimed, in milliseconds. Default
   * 15,000, at least 1,000. Keep it above the longest time that a handler may block the event loop. A process
   * that has ended is noticed at the next poll, long before.
   */
  readonly leaseMs?: number
  /**
   * Time between two looks at the file where no wake-up came, in milliseconds. Default 500 (a third of `leaseMs`
   * where that is less), at least 250: an idle instance wakes at most 4 times a second. Where the wake-ups of other
   * processes cannot be watched, it looks every 10 ms while messages come, and this rarely when none do.
   */
  readonly pollMs?: number
  /**
   * Time that one unit of work may keep the file to itself while it waits for something else, in milliseconds. Default 1,000, at most a
   * quarter of `lockWaitMs`. Nobody can write meanwhile: slow work belongs before the transaction.
   */
  readonly unitHoldMsMax?: number
  /** Watch a file beside the database for wake-ups by other processes. Default true; without it, they are found by polling. */
  readonly watch?: boolean
}

/** A file that the adapter opens and closes. */
export interface SqliteFileOptions extends SqliteCommonOptions {
  /** Path of the database. It is made with mode 0600 where it is missing; `-wal`, `-shm` and `-wake` files appear beside it. */
  readonly file: string
  readonly database?: undefined
  /**
   * What opens it: the class that `better-sqlite3` exports, for example. Default: `node:sqlite`. One process
   * opens one file with one of them only: two copies of SQLite in a process undo each other's file locks.
   */
  readonly driver?: SqliteDriver
  /**
   * `many` (default): any number of processes of one machine. `one`: this one alone, through a single
   * connection that locks all others out, which also works with a SQLite too old for several connections.
   */
  readonly processes?: 'many' | 'one'
  /** What to do about a file on a network file system, where the shared memory of SQLite breaks. Default `refuse`. */
  readonly networkFile?: 'refuse' | 'allow'
}

/**
 * A database that the caller has opened and closes. Its pragmas are set as for a file that the adapter
 * opens. While the caller has a transaction open on it, the adapter waits.
 */
export interface SqliteDatabaseOptions extends SqliteCommonOptions {
  /** An open `DatabaseSync` of `node:sqlite`, or a `better-sqlite3` database. */
  readonly database: SqliteDatabase
  readonly file?: undefined
}

/** How to reach the database. */
export type SqliteOptions = SqliteFileOptions | SqliteDatabaseOptions

/** The options with every default in place. */
export interface SqliteSettings {
  readonly source:
    | { readonly database: SqliteDatabase }
    | { readonly file: string; readonly driver: SqliteDriver | undefined; readonly isExclusive: boolean; readonly isNetworkAllowed: boolean }
  readonly synchronous: SqliteSynchronous
  readonly lockWaitMs: number
  readonly openTimeoutMs: number
  readonly unitHoldMsMax: number
  readonly leaseMs: number
  readonly pollMs: number
  readonly isWatching: boolean
}

/** Twice a second leaves room under four wake-ups a second for heartbeats and for the platform's own threads. */
const POLL_MS = 500
const COMMON = { synchronous: true, lockWaitMs: true, openTimeoutMs: true, unitHoldMsMax: true, leaseMs: true, pollMs: true, watch: true, file: true, database: true } as const
const FILE: OptionNames = optionNames<SqliteFileOptions>({ ...COMMON, driver: true, processes: true, networkFile: true })
const DATABASE: OptionNames = optionNames<SqliteDatabaseOptions>(COMMON)

const UNIT_HOLD_MS = 1_000
/** Others wait through several units before they give up. */
const HOLDS_PER_LOCK_WAIT = 4
const POLL_MIN_MS = 250
const LEASE_MIN_MS = 1_000
const TIME_MAX_MS = 3_600_000

/**
 * Fills in the defaults.
 *
 * @throws `core.option_invalid` for a value out of its range, or options that exclude each other; `core.option_unknown`.
 */
export function settingsFrom(options: SqliteOptions): SqliteSettings {
  refuseUnknown('sqlite()', options, options?.database === undefined ? FILE : DATABASE, "an object such as { file: './app.db' }")
  const leaseMs = checkedMs('leaseMs', options.leaseMs ?? 15_000, LEASE_MIN_MS)
  const pollMs = checkedMs('pollMs', options.pollMs ?? Math.min(POLL_MS, leaseMs / 3), POLL_MIN_MS)
  if (leaseMs < 3 * pollMs) throw invalid('leaseMs', 'at least three times pollMs, so that one late heartbeat costs nothing', leaseMs)
  const lockWaitMs = checkedMs('lockWaitMs', options.lockWaitMs ?? 5_000, 1)
  return {
    source: sourceFrom(options),
    synchronous: oneOf('synchronous', options.synchronous ?? 'full', ['full', 'normal']),
    lockWaitMs,
    unitHoldMsMax: holdMs(options.unitHoldMsMax, lockWaitMs / HOLDS_PER_LOCK_WAIT),
    openTimeoutMs: checkedMs('openTimeoutMs', options.openTimeoutMs ?? 10_000, 1),
    leaseMs,
    pollMs,
    isWatching: options.watch ?? true,
  }
}

function sourceFrom(options: SqliteOptions): SqliteSettings['source'] {
  const { file, database } = options
  if (database !== undefined) {
    if (file !== undefined) throw invalid('file', 'either file or database', file)
    return { database }
  }
  if (typeof file !== 'string' || file === '' || file.startsWith(':memory:') || file.startsWith('file:')) {
    throw invalid('file', 'the path of a database file; for a bus in memory use trunkline/memory', file)
  }
  return {
    file,
    driver: options.driver,
    isExclusive: oneOf('processes', options.processes ?? 'many', ['many', 'one']) === 'one',
    isNetworkAllowed: oneOf('networkFile', options.networkFile ?? 'refuse', ['refuse', 'allow']) === 'allow',
  }
}

function holdMs(given: number | undefined, mostMs: number): number {
  if (given === undefined) return Math.min(UNIT_HOLD_MS, mostMs)
  if (Number.isFinite(given) && given > 0 && given <= mostMs) return given
  throw invalid('unitHoldMsMax', `milliseconds up to a quarter of lockWaitMs, which is ${mostMs}`, given)
}

function checkedMs(option: string, value: number, least: number): number {
  if (Number.isFinite(value) && value >= least && value <= TIME_MAX_MS) return value
  throw invalid(option, `milliseconds from ${least} to ${TIME_MAX_MS}`, value)
}

function oneOf<T extends string>(option: string, value: T, allowed: readonly T[]): T {
  if (allowed.includes(value)) return value
  throw invalid(option, `one of ${allowed.join(', ')}`, value)
}

function invalid(option: string, expected: string, actual: unknown): TrunklineError {
  return new TrunklineError('core.option_invalid', { option, expected, actual: JSON.stringify(actual) ?? 'undefined' })
}
