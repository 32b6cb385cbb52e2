import { isTrunklineError, TrunklineError } from '../../core/errors.ts'
import { hasForeignMethods } from '../../outbox/protocol/foreign-handle.ts'
import type { PgPoolClient, PgResult, PgRow } from './postgres-client.ts'
import { sqlState, STORE, storeError } from './postgres-errors.ts'
import { PgUnitHandle } from './postgres-handle.ts'
import { type SqlHandle, sqlHandle, type SqlHandleState } from './postgres-handles.ts'
import { columnName } from './postgres-handles-text.ts'
import { joined } from './postgres-joined.ts'
import { PgStatement, textAt } from './postgres-rows.ts'
import { type PgExecutor, type PgUnitExecutor, PgPlainExecutor } from './postgres-session.ts'

/** The handles that are known, for people. */
const KNOWN = 'a transaction of pg, postgres.js, Kysely, Drizzle (over pg or postgres.js), Prisma or Knex'

/**
 * Refused outside a transaction and in one that has failed, by one statement that any library can send. Everybody may take this lock, and only
 * a rewrite of the catalogue waits for it.
 */
const PROBE = 'LOCK TABLE pg_catalog.pg_namespace IN ACCESS SHARE MODE'

/** The statements of the library on somebody else's transaction. */
class AdoptedExecutor extends PgPlainExecutor {
  readonly #handle: SqlHandle
  readonly #isPreparing: boolean

  constructor(handle: SqlHandle, isPreparing: boolean) {
    super()
    this.#handle = handle
    this.#isPreparing = isPreparing
  }

  async run(statement: PgStatement, values: readonly unknown[]): Promise<readonly PgRow[]> {
    try {
      return (await this.#handle.run(statement.text, values, this.#isPreparing ? statement.name : undefined)).flatMap(rowFrom)
    } catch (error) {
      throw adoptedError(this.#handle, error)
    }
  }
}

/** The same on a client of `pg`, which commits with the last statement. */
class CommittingExecutor extends AdoptedExecutor {
  readonly #client: PgPoolClient
  readonly #handle: SqlHandle
  readonly #isPreparing: boolean
  #committed: PgResult | undefined

  constructor(client: PgPoolClient, handle: SqlHandle, isPreparing: boolean) {
    super(handle, isPreparing)
    this.#client = client
    this.#handle = handle
    this.#isPreparing = isPreparing
  }

  override async runLast({ text, name }: PgStatement, values: readonly unknown[]): Promise<void> {
    const isPreparing = this.#isPreparing
    const sent = joined(this.#client, { beginning: undefined, isCommitting: true, isPreparing }, { text, values: [...values], ...(isPreparing ? { name } : {}) })
    if (sent === undefined) throw unsupported(this.#handle.library)
    try {
      this.#committed = (await sent.results).at(-1)
    } catch (error) {
      throw adoptedError(this.#handle, error)
    }
  }

  /** @throws `store.rolled_back`. */
  async commit(): Promise<void> {
    const committed = this.#committed ?? (await this.#client.query({ text: 'COMMIT' }))
    if (committed.command !== 'COMMIT') throw new TrunklineError('store.rolled_back', { store: STORE, problem: 'a statement of the transaction had failed' })
  }
}

function unsupported(library: string): TrunklineError {
  return new TrunklineError('bus.unsupported', { adapter: STORE, capability: 'commit', needed: `a transaction of ${library}, which it ends itself` })
}

/**
 * What runs the library's statements on a client of `pg` and commits with the last of them.
 *
 * @throws as `adoptedExecutor` does; `bus.unsupported` for a handle of another library.
 */
export async function committingExecutor(handle: unknown, isPreparing: boolean): Promise<CommittingExecutor> {
  const found = await adopted(handle)
  if (!isClient(handle)) throw unsupported(found.library)
  return new CommittingExecutor(handle, found, isPreparing)
}

/** A client whose owner ends the transaction; a unit of the store ends its own. */
function isClient(handle: unknown): handle is PgPoolClient {
  return !(handle instanceof PgUnitHandle) && hasForeignMethods(handle, 'query', 'escapeLiteral')
}

/**
 * What runs the library's statements on a handle of the caller's.
 *
 * @param isPreparing whether statements may be prepared on the caller's connection, where its library can.
 *
 * @throws `core.option_invalid` for a handle of no known library, `outbox.transaction_missing` for one that is not inside a transaction.
 */
export async function adoptedExecutor(handle: unknown, isPreparing: boolean): Promise<PgUnitExecutor> {
  return new AdoptedExecutor(await adopted(handle), isPreparing)
}

async function adopted(handle: unknown): Promise<SqlHandle> {
  const found = sqlHandle(handle)
  if (found === undefined) throw new TrunklineError('core.option_invalid', { option: 'handle', expected: KNOWN, actual: kindOf(handle) })
  if (found.state === 'unknown') await mustBeInside(found)
  else if (found.state !== 'open') throw missing(found, found.state)
  return found
}

const ISOLATION = new PgStatement("SELECT pg_catalog.current_setting('transaction_isolation') AS isolation")

/**
 * Messages that go straight into the tables of the transport are put behind those of their key, and to the groups that exist: by what
 * stands there once the lock of the key is held. A snapshot that is older than the lock shows something else (P-10).
 *
 * @throws `outbox.transaction_missing` for a transaction at REPEATABLE READ or SERIALIZABLE.
 */
export async function refuseSnapshots(executor: PgExecutor): Promise<void> {
  const [row] = await executor.run(ISOLATION, [])
  const isolation = row === undefined ? 'unknown' : textAt(row, 'isolation')
  if (isolation === 'read committed' || isolation === 'read uncommitted') return
  throw new TrunklineError('outbox.transaction_missing', { library: 'postgres', problem: `the transaction is at ${isolation.toUpperCase()}; give one at READ COMMITTED, or publish through a broker` })
}

async function mustBeInside(handle: SqlHandle): Promise<void> {
  try {
    await handle.run(PROBE, [])
  } catch (error) {
    throw adoptedError(handle, error)
  }
}

function adoptedError(handle: SqlHandle, thrown: unknown): TrunklineError {
  if (isTrunklineError(thrown)) return thrown
  const reason = handle.reason(thrown)
  const state = sqlState(reason)
  if (state === '25P01') return missing(handle, 'none', thrown)
  if (state === '25P02') return missing(handle, 'failed', thrown)
  return storeError(reason, thrown)
}

function missing({ library, wanted }: SqlHandle, state: Exclude<SqlHandleState, 'open' | 'unknown'>, cause?: unknown): TrunklineError {
  const problem = {
    none: `give ${wanted}`,
    over: `its transaction has ended; give ${wanted}, and await what is published within it`,
    failed: 'a statement of its transaction has failed, so that it can only be rolled back',
  }[state]
  return new TrunklineError('outbox.transaction_missing', { library, problem }, cause === undefined ? {} : { cause })
}

function rowFrom(row: unknown): readonly PgRow[] {
  if (typeof row !== 'object' || row === null) return []
  return [Object.fromEntries(Object.entries(row).map(([name, value]) => [columnName(name), value]))]
}

function kindOf(handle: unknown): string {
  if (typeof handle !== 'object' || handle === null) return handle === null ? 'null' : `of the type ${typeof handle}`
  const name: unknown = handle.constructor?.name
  return typeof name === 'string' && name !== '' ? `an object of the class ${name}` : 'an object'
}
