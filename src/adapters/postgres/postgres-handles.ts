import { type ForeignObject, foreignField, foreignMethod, hasForeignMethods, isForeignObject } from '../../outbox/protocol/foreign-handle.ts'
import { PgUnitHandle } from './postgres-handle.ts'
import { arrayText, questioned } from './postgres-handles-text.ts'
import { sqlState } from './postgres-errors.ts'

/**
 * What can be known of a handle without asking the database. `none`: it belongs to no transaction. `over`: its transaction has ended.
 * `failed`: a statement of it has. `unknown`: only the database can tell.
 */
export type SqlHandleState = 'open' | 'none' | 'over' | 'failed' | 'unknown'

/** A connection of some library, inside a transaction that its owner will commit. */
export interface SqlHandle {
  /** The library's name, for errors. */
  readonly library: string
  /** What of this library to give, for errors. */
  readonly wanted: string
  readonly state: SqlHandleState
  /** Runs a statement with `$1` parameters, prepared under `name` where there is one and the library can; resolves with its rows. Numbers too large for a double come as text or bigint, bytea as bytes. */
  run(text: string, values: readonly unknown[], name?: string): Promise<readonly unknown[]>
  /** What the database said, found under what the library made of it. */
  reason(thrown: unknown): unknown
}

/** Recognises the handles of one library by their members. */
type SqlHandleReader = (handle: unknown) => SqlHandle | undefined

/** For what libraries say of themselves: what PostgreSQL would say. */
const ENDED = { code: '25P01', severity: 'ERROR', message: 'the transaction has ended' }

/** What was recognised once. */
const readers = new WeakMap<ForeignObject, SqlHandleReader>()

/** Causes of causes that are looked at. */
const CAUSES_MAX = 5

/** The handle of a library that is known; undefined for any other value. */
export function sqlHandle(handle: unknown): SqlHandle | undefined {
  if (!isForeignObject(handle)) return undefined
  // A connection of a pool comes again and again; what it is stays, and what state it is in does not.
  const known = readers.get(handle)
  if (known !== undefined) return known(handle)
  for (const read of [prismaHandle, kyselyHandle, drizzleHandle, knexHandle, postgresJsHandle, pgHandle]) {
    const found = read(handle)
    if (found === undefined) continue
    readers.set(handle, read)
    return found
  }
  return undefined
}

/** A `Client` of `pg`, or one lent by a pool; a handle that this store gave out, too. */
const pgHandle: SqlHandleReader = (handle) => {
  const query = foreignMethod(handle, 'query')
  const isPool = foreignField(handle, 'totalCount') !== undefined && foreignField(handle, 'idleCount') !== undefined
  if (query === undefined || !(isPool || handle instanceof PgUnitHandle || hasForeignMethods(handle, 'escapeLiteral'))) return undefined
  return {
    library: 'pg',
    wanted: 'a client that `BEGIN` was sent on, not the pool',
    state: isPool ? 'none' : pgState(handle),
    run: async (text, values, name) => rowsIn(await (name === undefined ? query(text, [...values]) : query({ text, values: [...values], name }))),
    reason: causeWithState,
  }
}

/** What the server said last, which holds where nothing is on its way to it. */
function pgState(handle: unknown): SqlHandleState {
  if (foreignField(handle, 'readyForQuery') !== true) return 'unknown'
  const status = foreignMethod(handle, 'getTransactionStatus')?.()
  if (status === 'T') return 'open'
  if (status === 'E') return 'failed'
  return status === 'I' ? 'none' : 'unknown'
}

/** The `sql` of `sql.begin` or `sql.savepoint` of postgres.js, or a reserved one that `begin` was sent on. */
const postgresJsHandle: SqlHandleReader = (handle) => {
  const unsafe = foreignMethod(handle, 'unsafe')
  const isOneConnection = hasForeignMethods(handle, 'savepoint') || hasForeignMethods(handle, 'release')
  if (unsafe === undefined || typeof handle !== 'function' || !(isOneConnection || hasForeignMethods(handle, 'begin'))) return undefined
  return {
    library: 'postgres.js',
    wanted: 'the `sql` that `sql.begin(async (sql) => { … })` gives',
    state: isOneConnection ? 'unknown' : 'none',
    run: async (text, values) => rowsIn(await unsafe(text, values.map(arrayText))),
    reason: causeWithState,
  }
}

/** The `trx` of Kysely, over any driver of PostgreSQL. */
const kyselyHandle: SqlHandleReader = (handle) => {
  const isTransaction = foreignField(handle, 'isTransaction')
  if (typeof isTransaction !== 'boolean' || !hasForeignMethods(handle, 'executeQuery', 'getExecutor', 'withoutPlugins')) return undefined
  const isOver = foreignField(handle, 'isCommitted') === true || foreignField(handle, 'isRolledBack') === true
  return {
    library: 'kysely',
    wanted: 'the `trx` of `db.transaction().execute(async (trx) => { … })`',
    state: !isTransaction ? 'none' : isOver ? 'over' : 'unknown',
    run: async (text, values) => {
      const query = { kind: 'RawNode', sqlFragments: [text], parameters: [] }
      const plain = foreignMethod(handle, 'withoutPlugins')?.()
      return rowsIn(await foreignMethod(plain, 'executeQuery')?.({ sql: text, parameters: values.map(arrayText), query, queryId: { queryId: 'trunkline' } }))
    },
    reason: (thrown) => (String(foreignField(thrown, 'message')).startsWith('Transaction is already ') ? ENDED : causeWithState(thrown)),
  }
}

/** The `tx` of Drizzle: its statements go to the client under it, so that no logger of Drizzle's shows what is published. */
const drizzleHandle: SqlHandleReader = (handle) => {
  const session = foreignField(handle, 'session')
  if (!isForeignObject(session) || !isForeignObject(foreignField(handle, 'dialect')) || !hasForeignMethods(handle, 'transaction')) return undefined
  const client = foreignField(session, 'client')
  const under = pgHandle(client) ?? postgresJsHandle(client)
  return under === undefined ? undefined : { ...under, library: 'drizzle', wanted: 'the `tx` of `db.transaction(async (tx) => { … })`' }
}

/** The `trx` of Knex. */
const knexHandle: SqlHandleReader = (handle) => {
  if (!hasForeignMethods(handle, 'raw', 'transaction') || !isForeignObject(foreignField(handle, 'client'))) return undefined
  const isTransaction = foreignField(handle, 'isTransaction') === true
  return {
    library: 'knex',
    wanted: 'the `trx` of `knex.transaction(async (trx) => { … })`',
    state: !isTransaction ? 'none' : foreignMethod(handle, 'isCompleted')?.() === true ? 'over' : 'unknown',
    run: async (text, values) => {
      const question = questioned(text, values.map(arrayText))
      return rowsIn(await foreignMethod(handle, 'raw')?.(question.text, question.values))
    },
    // It writes the statement with its values before the text of an error.
    reason: (thrown) => withText(causeWithState(thrown), (text) => text.slice(text.lastIndexOf(' - ') + 1).replace(/^- /, '')),
  }
}

/** The `tx` of an interactive transaction of Prisma. */
const prismaHandle: SqlHandleReader = (handle) => {
  if (!hasForeignMethods(handle, '$queryRawUnsafe', '$executeRawUnsafe')) return undefined
  return {
    library: 'prisma',
    wanted: 'the `tx` of `prisma.$transaction(async (tx) => { … })`',
    state: hasForeignMethods(handle, '$connect') ? 'none' : 'unknown',
    run: async (text, values) => rowsIn(await foreignMethod(handle, '$queryRawUnsafe')?.(text, ...values)),
    reason: prismaReason,
  }
}

/** Prisma tells the SQLSTATE in its own words, and codes of its own where it thinks to know what happened. */
function prismaReason(thrown: unknown): unknown {
  const code = foreignField(thrown, 'code')
  if (code === 'P2034') return { code: '40001', severity: 'ERROR', message: 'a write conflict or a deadlock' }
  // Also for one that took longer than Prisma lets it take.
  if (code === 'P2028') return ENDED
  const meta = foreignField(thrown, 'meta')
  const cause = foreignField(foreignField(meta, 'driverAdapterError'), 'cause') ?? meta
  const state = foreignField(cause, 'originalCode') ?? foreignField(cause, 'code')
  const message = foreignField(cause, 'originalMessage') ?? foreignField(cause, 'message')
  return typeof state === 'string' ? { code: state, severity: 'ERROR', message } : thrown
}

/** The error itself, or the first of its causes that carries what PostgreSQL said. */
function causeWithState(thrown: unknown): unknown {
  let cause = thrown
  for (let depth = 0; depth < CAUSES_MAX && isForeignObject(cause); depth++) {
    if (sqlState(cause) !== undefined) return cause
    cause = foreignField(cause, 'cause')
  }
  return thrown
}

/** The same error with another text. */
function withText(thrown: unknown, change: (text: string) => string): unknown {
  const message = foreignField(thrown, 'message')
  if (typeof message !== 'string') return thrown
  const place = ['schema', 'table', 'column', 'constraint'].map((name) => [name, foreignField(thrown, name)] as const)
  return { ...Object.fromEntries(place), code: foreignField(thrown, 'code'), severity: foreignField(thrown, 'severity'), message: change(message) }
}

/** The rows in what a library answers: itself, or in its `rows`. */
function rowsIn(answer: unknown): readonly unknown[] {
  if (Array.isArray(answer)) return answer
  const rows = foreignField(answer, 'rows')
  return Array.isArray(rows) ? rows : []
}
