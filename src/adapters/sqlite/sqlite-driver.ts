import { TrunklineError } from '../../core/errors.ts'

/** What a statement takes and gives back. Booleans travel as 0 and 1. */
export type SqliteValue = null | number | bigint | string | Uint8Array

/** One row by column name. */
export type SqliteRow = Readonly<Record<string, unknown>>

/** The slice of a prepared statement that the adapter uses; those of `node:sqlite` and `better-sqlite3` satisfy it. */
export interface SqliteStatement {
  run(...values: SqliteValue[]): { readonly changes: number | bigint; readonly lastInsertRowid: number | bigint }
  get(...values: SqliteValue[]): unknown
  all(...values: SqliteValue[]): unknown[]
}

/** The slice of an open database that the adapter uses; `DatabaseSync` and a `better-sqlite3` database satisfy it. */
export interface SqliteDatabase {
  exec(sql: string): unknown
  prepare(sql: string): SqliteStatement
  close(): unknown
  /** True inside a transaction, as newer versions of `node:sqlite` tell it. */
  readonly isTransaction?: boolean
  /** The same, as `better-sqlite3` tells it. */
  readonly inTransaction?: boolean
}

/** Opens a database by its path: `DatabaseSync` of `node:sqlite`, or the class that `better-sqlite3` exports. */
export type SqliteDriver = new (file: string) => SqliteDatabase

/**
 * The driver that Node brings along, loaded at the first call, so that importing the adapter costs nothing.
 *
 * @throws `core.peer_missing` where this Node was built without SQLite.
 */
export function builtinDriver(): SqliteDriver {
  const sqlite: { readonly Database?: SqliteDriver; readonly DatabaseSync: SqliteDriver } | undefined =
    process.getBuiltinModule('node:sqlite')
  if (sqlite === undefined) {
    throw new TrunklineError('core.peer_missing', {
      package: 'node:sqlite',
      install: 'a Node with SQLite, or better-sqlite3 and give its class as `driver`',
    })
  }
  // Newer versions of Node rename the class and keep the old name as an alias.
  return sqlite.Database ?? sqlite.DatabaseSync
}

/**
 * What a failed statement means. `busy`: another connection holds the lock, try again soon. `down`: the
 * file cannot be used now (disk full, read-only, I/O error; L-11). `refused`: these values can never be stored.
 */
export type SqliteFailure = 'busy' | 'down' | 'refused'

const RESULT_CODES: ReadonlyMap<string, number> = new Map([
  ['BUSY', 5], ['LOCKED', 6], ['CORRUPT', 11], ['TOOBIG', 18], ['CONSTRAINT', 19], ['MISMATCH', 20], ['RANGE', 25], ['NOTADB', 26],
])
const NO_DATABASE: ReadonlySet<number> = new Set([11, 26])
const BUSY: ReadonlySet<number> = new Set([5, 6])
const REFUSED: ReadonlySet<number> = new Set([18, 19, 20, 25])

/** True where the file holds something else than a database, or a broken one: waiting does not help. */
export function isNoDatabase(thrown: unknown): boolean {
  return NO_DATABASE.has(resultCode(thrown) ?? 0)
}

/** Sorts what a driver threw. Whatever is not known counts as `down`: no message is given up for it. */
export function failureOf(thrown: unknown): SqliteFailure {
  const code = resultCode(thrown)
  if (code === undefined) return thrown instanceof TypeError || thrown instanceof RangeError ? 'refused' : 'down'
  if (BUSY.has(code)) return 'busy'
  if (REFUSED.has(code)) return 'refused'
  // On a connection that the caller shares with us, the caller's own transaction is open right now.
  return thrown instanceof Error && thrown.message.includes('within a transaction') ? 'busy' : 'down'
}

/** True for what a driver throws about a statement, and for nothing else. */
export function isDriverError(thrown: unknown): boolean {
  return resultCode(thrown) !== undefined
}

/** The primary SQLite result code; the two drivers tell it in different ways. */
function resultCode(thrown: unknown): number | undefined {
  if (typeof thrown !== 'object' || thrown === null) return undefined
  if ('errcode' in thrown && typeof thrown.errcode === 'number') return thrown.errcode & 0xff
  if (!('code' in thrown) || typeof thrown.code !== 'string') return undefined
  const name = /^SQLITE_([A-Z]+)/.exec(thrown.code)?.[1]
  return name === undefined ? undefined : (RESULT_CODES.get(name) ?? 1)
}
