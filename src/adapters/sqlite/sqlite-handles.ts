import { TrunklineError } from '../../core/errors.ts'
import { foreignField, foreignMethod, hasForeignMethods, isForeignObject } from '../../outbox/protocol/foreign-handle.ts'

/**
 * The database of the driver under a handle of Drizzle or Knex; any other handle as it is. Whether a transaction is open on it is asked of the
 * database itself.
 *
 * @throws `core.option_invalid` for a handle of Kysely or Prisma, which do not give their connection away: nobody could see that it is of the same
 *   copy of SQLite, and two copies in one process undo each other's locks; `outbox.transaction_missing` for one of Knex that is no transaction.
 */
export async function databaseUnder(handle: unknown): Promise<unknown> {
  if (!isForeignObject(handle) || hasForeignMethods(handle, 'prepare', 'exec')) return handle
  if (isKysely(handle)) {
    throw new TrunklineError('core.option_invalid', {
      option: 'transaction', expected: 'the database that Kysely works on, while its transaction is open', actual: 'a handle of Kysely',
    })
  }
  if (hasForeignMethods(handle, '$queryRawUnsafe', '$executeRawUnsafe')) {
    throw new TrunklineError('core.option_invalid', {
      option: 'transaction', expected: 'a database of node:sqlite or better-sqlite3 of your own, since Prisma gives the one that it works on to nobody', actual: 'a client of Prisma',
    })
  }
  return isKnex(handle) ? await knexDatabase(handle) : (drizzleDatabase(handle) ?? handle)
}

function isKysely(handle: object): boolean {
  return typeof foreignField(handle, 'isTransaction') === 'boolean' && hasForeignMethods(handle, 'executeQuery', 'getExecutor')
}

function isKnex(handle: object): boolean {
  return hasForeignMethods(handle, 'raw', 'transaction') && hasForeignMethods(foreignField(handle, 'client'), 'acquireConnection')
}

/** The client of a transaction has one connection and lends it without taking it. */
async function knexDatabase(handle: object): Promise<unknown> {
  const isOpen = foreignField(handle, 'isTransaction') === true && foreignMethod(handle, 'isCompleted')?.() !== true
  if (!isOpen) throw new TrunklineError('outbox.transaction_missing', { library: 'knex', problem: 'give the `trx` of `knex.transaction(async (trx) => { … })`' })
  return await foreignMethod(foreignField(handle, 'client'), 'acquireConnection')?.()
}

function drizzleDatabase(handle: object): unknown {
  return isForeignObject(foreignField(handle, 'dialect')) ? foreignField(foreignField(handle, 'session'), 'client') : undefined
}
