import { TrunklineError } from '../../core/errors.ts'
import type { SqliteConnection } from './sqlite-connection.ts'
import type { SqliteRow, SqliteValue } from './sqlite-driver.ts'
import { transactionWord } from './sqlite-sql-text.ts'

/** A value for a question mark, or an object with those of named parameters. */
export type SqliteParameter = SqliteValue | Readonly<Record<string, SqliteValue>>

/** What a statement has changed. */
export interface SqliteChangeCount {
  readonly changes: number | bigint
  readonly lastInsertRowid: number | bigint
}

/** A prepared statement of a unit of work, called as one of `node:sqlite` or `better-sqlite3`. */
export interface SqliteHandleStatement {
  run(...parameters: SqliteParameter[]): SqliteChangeCount
  /** The first row, or undefined. */
  get(...parameters: SqliteParameter[]): SqliteRow | undefined
  all(...parameters: SqliteParameter[]): SqliteRow[]
  /** Row by row. It ends with the unit. */
  iterate(...parameters: SqliteParameter[]): IterableIterator<SqliteRow>
  /** Whether whole numbers come as bigint from now on. */
  setReadBigInts(isEnabled: boolean): void
}

/**
 * The connection of a unit of work, for the caller's own statements. It ends with the unit: what comes later is refused with
 * `outbox.unit_over`. `BEGIN`, `COMMIT`, `ROLLBACK`, `SAVEPOINT` and `RELEASE` are refused with `store.refused`.
 */
export interface SqliteHandle {
  prepare(sql: string): SqliteHandleStatement
  exec(sql: string): void
}

/** A statement as either driver has it. Nothing of it is promised to the adapter's own code, which uses `SqliteStatement`. */
interface RawStatement {
  run(...parameters: SqliteParameter[]): SqliteChangeCount
  get(...parameters: SqliteParameter[]): SqliteRow | undefined
  all(...parameters: SqliteParameter[]): SqliteRow[]
  iterate(...parameters: SqliteParameter[]): IterableIterator<SqliteRow>
  setReadBigInts?(isEnabled: boolean): unknown
  safeIntegers?(isEnabled: boolean): unknown
}

/** Statements that are kept prepared for the next unit. */
const KEPT_MAX = 200

const kept = new WeakMap<SqliteConnection, Map<string, RawStatement>>()

/** A handle that is valid for one run of one unit. */
export class SqliteUnitHandle implements SqliteHandle {
  readonly #connection: SqliteConnection
  readonly #iterators = new Set<IterableIterator<SqliteRow>>()
  #isOver = false
  #broken: { readonly thrown: unknown } | undefined

  constructor(connection: SqliteConnection) {
    this.#connection = connection
  }

  /** Set once the transaction was ended by a statement, such as `INSERT OR ROLLBACK`: nothing of the unit can be kept. */
  get broken(): { readonly thrown: unknown } | undefined {
    return this.#broken
  }

  prepare(sql: string): SqliteHandleStatement {
    this.checkOpen('a statement')
    return new UnitStatement(this, this.#kept(sql), () => this.#prepare(sql))
  }

  exec(sql: string): void {
    this.#check(sql)
    this.call(() => this.#connection.database.exec(sql))
  }

  #check(sql: string): void {
    this.checkOpen('a statement')
    const word = transactionWord(sql)
    if (word === undefined) return
    throw new TrunklineError('store.refused', { store: 'sqlite', problem: `${word} in a unit of work, which begins and ends its transaction itself` })
  }

  /** @throws `outbox.unit_over`; what has ended the transaction. */
  checkOpen(operation: string): void {
    if (this.#isOver) throw new TrunklineError('outbox.unit_over', { operation })
    if (this.#broken !== undefined) throw this.#broken.thrown
  }

  /** Runs something of the caller's, within the transaction and nowhere else. */
  call<T>(work: () => T): T {
    this.checkOpen('a statement')
    try {
      return work()
    } catch (thrown) {
      // After INSERT OR ROLLBACK, RAISE(ROLLBACK) or a full disk the next statement would commit by itself.
      if (!this.#connection.isInTransaction) this.#broken = { thrown }
      throw thrown
    }
  }

  #kept(sql: string): RawStatement {
    let statements = kept.get(this.#connection)
    if (statements === undefined) {
      statements = new Map()
      kept.set(this.#connection, statements)
    }
    let statement = statements.get(sql)
    if (statement === undefined) {
      this.#check(sql)
      statement = this.#prepare(sql)
      if (statements.size >= KEPT_MAX) statements.clear()
      statements.set(sql, statement)
    }
    return statement
  }

  #prepare(sql: string): RawStatement {
    const statement: unknown = this.call(() => this.#connection.database.prepare(sql))
    // The port of the driver names the part of a statement that the adapter uses; the caller may use all of it.
    return statement as RawStatement
  }

  /** Notes an iterator, which must not hold the connection beyond the unit. */
  opened(iterator: IterableIterator<SqliteRow>): void {
    this.#iterators.add(iterator)
  }

  closed(iterator: IterableIterator<SqliteRow>): void {
    this.#iterators.delete(iterator)
  }

  /** Takes no more statements. */
  end(): void {
    this.#isOver = true
    for (const iterator of this.#iterators) {
      try {
        iterator.return?.()
      } catch {
        // It has ended with the transaction.
      }
    }
    this.#iterators.clear()
  }
}

class UnitStatement implements SqliteHandleStatement {
  readonly #handle: SqliteUnitHandle
  readonly #prepare: () => RawStatement
  /** Shared with other units until something is set on it. */
  #statement: RawStatement
  #isOwn = false

  constructor(handle: SqliteUnitHandle, shared: RawStatement, prepare: () => RawStatement) {
    this.#handle = handle
    this.#statement = shared
    this.#prepare = prepare
  }

  run(...parameters: SqliteParameter[]): SqliteChangeCount {
    return this.#handle.call(() => this.#statement.run(...parameters))
  }

  get(...parameters: SqliteParameter[]): SqliteRow | undefined {
    return this.#handle.call(() => this.#statement.get(...parameters))
  }

  all(...parameters: SqliteParameter[]): SqliteRow[] {
    return this.#handle.call(() => this.#statement.all(...parameters))
  }

  *iterate(...parameters: SqliteParameter[]): IterableIterator<SqliteRow> {
    // A statement can be walked over once at a time.
    const statement = this.#own()
    const rows = this.#handle.call(() => statement.iterate(...parameters))
    this.#handle.opened(rows)
    try {
      for (;;) {
        const next = this.#handle.call(() => rows.next())
        if (next.done === true) return
        yield next.value
      }
    } finally {
      this.#handle.closed(rows)
      rows.return?.()
    }
  }

  setReadBigInts(isEnabled: boolean): void {
    const statement = this.#own()
    this.#statement = statement
    this.#isOwn = true
    if (statement.setReadBigInts !== undefined) statement.setReadBigInts(isEnabled)
    else statement.safeIntegers?.(isEnabled)
  }

  #own(): RawStatement {
    return this.#isOwn ? this.#statement : this.#prepare()
  }
}
