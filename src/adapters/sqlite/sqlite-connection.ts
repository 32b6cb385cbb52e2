import { TrunklineError } from '../../core/errors.ts'
import type { SqliteDatabase, SqliteRow, SqliteStatement, SqliteValue } from './sqlite-driver.ts'

/** How surely a commit is on the disk: `full` survives power loss, `normal` the death of every process. */
export type SqliteSynchronous = 'full' | 'normal'

/** Longest time that a statement may block the event loop for another process' lock (L-05). */
const BUSY_TIMEOUT_MS = 25

/** One connection with its prepared statements. Every call runs to its end before it returns. */
export class SqliteConnection {
  readonly #database: SqliteDatabase
  readonly #statements = new Map<string, SqliteStatement>()

  constructor(database: SqliteDatabase) {
    this.#database = database
  }

  /** Runs text that returns nothing, such as a schema. */
  exec(sql: string): void {
    this.#database.exec(sql)
  }

  /** Runs a statement and gives the number of rows it changed. */
  run(sql: string, ...values: SqliteValue[]): number {
    return Number(this.#statement(sql).run(...values).changes)
  }

  /** Inserts a row and gives its row id. */
  insert(sql: string, ...values: SqliteValue[]): number {
    return Number(this.#statement(sql).run(...values).lastInsertRowid)
  }

  /** The first row, or undefined. */
  row(sql: string, ...values: SqliteValue[]): SqliteRow | undefined {
    const row = this.#statement(sql).get(...values)
    return isRow(row) ? row : undefined
  }

  /** Every row. Give the statement a LIMIT. */
  rows(sql: string, ...values: SqliteValue[]): readonly SqliteRow[] {
    return this.#statement(sql).all(...values).filter(isRow)
  }

  /** True where the statement gives at least one row. */
  has(sql: string, ...values: SqliteValue[]): boolean {
    return this.#statement(sql).get(...values) !== undefined
  }

  /**
   * Runs `work` in one transaction.
   *
   * @throws what `work` throws, and what the driver throws; then nothing of it was done.
   */
  transaction<T>(work: () => T): T {
    this.begin()
    try {
      const result = work()
      this.commit()
      return result
    } catch (thrown) {
      this.rollback()
      throw thrown
    }
  }

  /**
   * Begins a transaction. It takes the write lock first: a transaction that reads and then
   * writes would fail at once with a stale snapshot, whatever the busy timeout says (L-04).
   */
  begin(): void {
    this.#statement('BEGIN IMMEDIATE').run()
  }

  commit(): void {
    this.#statement('COMMIT').run()
  }

  /** Ends the transaction where there still is one. */
  rollback(): void {
    try {
      this.#statement('ROLLBACK').run()
    } catch {
      // After a full disk or an I/O error SQLite has rolled back by itself already.
    }
  }

  /** Begins a part of the transaction that can be undone alone. One at a time. */
  savepoint(): void {
    this.#statement('SAVEPOINT trunkline_unit').run()
  }

  /** Keeps the part. @throws what the driver throws where the whole transaction is gone. */
  release(): void {
    this.#statement('RELEASE trunkline_unit').run()
  }

  /** Undoes the part. @throws as `release` does. */
  undo(): void {
    this.#statement('ROLLBACK TO trunkline_unit').run()
    this.release()
  }

  /** True inside a transaction. */
  get isInTransaction(): boolean {
    const { isTransaction, inTransaction } = this.#database
    const known = isTransaction ?? inTransaction
    if (known !== undefined) return known
    // Node before 22.16 does not tell. A transaction within one is refused and changes nothing.
    try {
      this.#database.exec('BEGIN')
    } catch {
      return true
    }
    this.rollback()
    return false
  }

  /** Runs `work`, which reads only, where no transaction is open on this connection: it would show what nobody has committed yet. */
  outside<T>(work: () => T): T {
    this.#statement('BEGIN').run()
    try {
      return work()
    } finally {
      this.rollback()
    }
  }

  /** Sets how long a statement may block the thread for another process' lock. Default `BUSY_TIMEOUT_MS`. */
  blockFor(timeoutMs: number = BUSY_TIMEOUT_MS): void {
    this.#database.exec(`PRAGMA busy_timeout = ${timeoutMs}`)
  }

  /** The database itself, for statements of others. */
  get database(): SqliteDatabase {
    return this.#database
  }

  /** Path of the file; empty for a database in memory. */
  get file(): string {
    const file = this.row("SELECT file FROM pragma_database_list WHERE name = 'main'")?.['file']
    return typeof file === 'string' ? file : ''
  }

  #statement(sql: string): SqliteStatement {
    let statement = this.#statements.get(sql)
    if (statement === undefined) {
      statement = this.#database.prepare(sql)
      this.#statements.set(sql, statement)
    }
    return statement
  }

  /** Sets a pragma and reads it back; drivers differ in their defaults, so none is trusted (L-02). */
  pragma(name: string, value: string | number, expected: string | number = value): void {
    this.#database.exec(`PRAGMA ${name} = ${value}`)
    const row = this.#database.prepare(`PRAGMA ${name}`).get()
    const actual = isRow(row) ? Object.values(row)[0] : undefined
    if (actual !== expected) {
      throw new TrunklineError('core.option_invalid', { option: `PRAGMA ${name}`, expected: `${expected}`, actual: String(actual) })
    }
  }

  close(): void {
    this.#statements.clear()
    this.#database.close()
  }
}

function isRow(value: unknown): value is SqliteRow {
  return typeof value === 'object' && value !== null
}

/** A whole number of a row. */
export function integer(row: SqliteRow, column: string): number {
  const value = row[column]
  if (typeof value === 'number') return value
  if (typeof value === 'bigint') return Number(value)
  throw broken(column, 'a number')
}

/** A text of a row. */
export function text(row: SqliteRow, column: string): string {
  const value = row[column]
  if (typeof value === 'string') return value
  throw broken(column, 'a text')
}

/** A text of a row, or undefined for NULL. */
export function textOrNull(row: SqliteRow, column: string): string | undefined {
  const value = row[column]
  return typeof value === 'string' ? value : undefined
}

/** A whole number of a row that was read with `CAST(… AS TEXT)`, because it may be beyond what a number can hold. */
export function bigInteger(row: SqliteRow, column: string): bigint {
  return BigInt(text(row, column))
}

/** Bytes of a row, or undefined for NULL. */
export function bytesOrNull(row: SqliteRow, column: string): Uint8Array | undefined {
  const value = row[column]
  return value instanceof Uint8Array ? value : undefined
}

/** Bytes of a row. The memory belongs to the caller. */
export function bytes(row: SqliteRow, column: string): Uint8Array {
  const value = row[column]
  if (value instanceof Uint8Array) return value
  throw broken(column, 'bytes')
}

function broken(column: string, kind: string): TrunklineError {
  return new TrunklineError('core.invariant_broken', { expected: `column ${column} holds ${kind}` })
}

/** Pages in the WAL after which a commit moves them to the database. */
const WAL_AUTOCHECKPOINT_PAGES = 1000
/** The WAL file is cut to this after a checkpoint; one that stays larger cannot be emptied. */
export const JOURNAL_SIZE_LIMIT_BYTES: number = 67_108_864

/**
 * Sets every pragma that the adapter relies on, and reads each one back.
 *
 * @throws `core.option_invalid` where a pragma does not take, as WAL does not in a database in memory.
 */
export function configure(connection: SqliteConnection, synchronous: SqliteSynchronous, isExclusive: boolean): void {
  connection.pragma('busy_timeout', BUSY_TIMEOUT_MS)
  if (isExclusive) connection.pragma('locking_mode', 'exclusive')
  connection.pragma('journal_mode', 'wal')
  connection.pragma('synchronous', synchronous === 'full' ? 2 : 1)
  // L-03: elsewhere than on a Mac these two change nothing.
  connection.pragma('fullfsync', process.platform === 'darwin' ? 1 : 0)
  connection.pragma('checkpoint_fullfsync', process.platform === 'darwin' ? 1 : 0)
  connection.pragma('foreign_keys', 1)
  connection.pragma('trusted_schema', 0)
  connection.pragma('wal_autocheckpoint', WAL_AUTOCHECKPOINT_PAGES)
  connection.pragma('journal_size_limit', JOURNAL_SIZE_LIMIT_BYTES)
  // L-09: memory mapping turns a stray write of one process into corruption for all.
  connection.exec('PRAGMA mmap_size = 0')
}
