import { errorText, TrunklineError } from '../../core/errors.ts'
import type { PgRow } from './postgres-client.ts'
import { sqlState, storeError } from './postgres-errors.ts'
import { PgUnitHandle } from './postgres-handle.ts'
import type { PgStatement } from './postgres-rows.ts'
import type { PgExecutor } from './postgres-session.ts'

/** A connection of some library, inside a transaction that its owner will commit. */
export interface SqlHandle {
  /** The library's name, for errors. */
  readonly library: string
  /** Runs a statement with `$1` parameters; bigint columns come as text, bytea columns as bytes. */
  query(text: string, values: readonly unknown[]): Promise<{ readonly rows: readonly unknown[] }>
}

/** Recognises the handles of one library. */
export type SqlHandleReader = (handle: unknown) => SqlHandle | undefined

/** The libraries in the order in which they are asked. */
const READERS: readonly SqlHandleReader[] = [pgHandle]

/** The statements of the library on somebody else's transaction. */
class AdoptedExecutor implements PgExecutor {
  readonly #handle: SqlHandle

  constructor(handle: SqlHandle) {
    this.#handle = handle
  }

  async run(statement: PgStatement, values: readonly unknown[]): Promise<readonly PgRow[]> {
    try {
      const { rows } = await this.#handle.query(statement.text, values)
      return rows.filter((row): row is PgRow => typeof row === 'object' && row !== null)
    } catch (error) {
      throw storeError(error)
    }
  }
}

/**
 * What runs the library's statements on a handle of the caller's.
 *
 * @throws `core.option_invalid` for a handle of no known library, `outbox.transaction_missing` for one that is not inside a transaction.
 */
export async function adoptedExecutor(handle: unknown): Promise<PgExecutor> {
  for (const read of READERS) {
    const found = read(handle)
    if (found === undefined) continue
    await mustBeInside(found)
    return new AdoptedExecutor(found)
  }
  throw new TrunklineError('core.option_invalid', {
    option: 'handle', expected: 'a client of pg inside a transaction', actual: `of the type ${typeof handle}`,
  })
}

/** Setting a savepoint is refused outside a transaction, in one that has failed, and where each statement may run elsewhere. */
async function mustBeInside(handle: SqlHandle): Promise<void> {
  try {
    await handle.query('SAVEPOINT trunkline_probe', [])
    await handle.query('RELEASE SAVEPOINT trunkline_probe', [])
  } catch (error) {
    const state = sqlState(error)
    if (state === '25P01' || state === '25P02' || state === '3B001') {
      throw new TrunklineError('outbox.transaction_missing', { library: handle.library, problem: errorText(error) }, { cause: error })
    }
    throw storeError(error)
  }
}

/** A `Client` of `pg`, or one lent by a pool; a handle that this store gave out, too. */
function pgHandle(handle: unknown): SqlHandle | undefined {
  if (typeof handle !== 'object' || handle === null || !('query' in handle) || typeof handle.query !== 'function') return undefined
  const { query } = handle
  const isPg = 'escapeLiteral' in handle || ('totalCount' in handle && 'idleCount' in handle) || handle instanceof PgUnitHandle
  if (!isPg) return undefined
  return {
    library: 'pg',
    query: async (text, values) => {
      const result: unknown = await query.call(handle, text, [...values])
      return { rows: typeof result === 'object' && result !== null && 'rows' in result && Array.isArray(result.rows) ? result.rows : [] }
    },
  }
}
