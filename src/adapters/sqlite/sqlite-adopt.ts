import { realpathSync } from 'node:fs'
import { TrunklineError } from '../../core/errors.ts'
import type { StoreHost } from '../../outbox/port.ts'
import { SqliteConnection, integer } from './sqlite-connection.ts'
import { builtinDriver } from './sqlite-driver.ts'
import type { SqliteDatabase } from './sqlite-driver.ts'
import type { SqliteSettings } from './sqlite-options.ts'
import type { SqliteSession } from './sqlite-session.ts'
import { SqliteStoreUnit } from './sqlite-store-unit.ts'
import { SqliteTurn } from './sqlite-turn.ts'

/** What an adopted transaction needs of the store. */
export interface SqliteAdopter {
  readonly host: StoreHost
  readonly session: SqliteSession
  readonly source: SqliteSettings['source']
  readonly closing: AbortSignal
}

/** `PRAGMA synchronous` from which on a commit survives a power cut. */
const FULL = 2
/** Waits between two looks whether the caller has committed; the last one repeats for as long as a transaction may reasonably last. */
const LOOKS_MS: readonly number[] = [1, 2, 4, 8, 16, 32, 64]
const LOOKS_MAX = 500

const connections = new WeakMap<object, SqliteConnection>()
const warned = new WeakSet<SqliteSession>()

/**
 * The operations of a store on a connection of the caller's, inside a transaction that the caller will commit.
 *
 * @throws `core.option_invalid` for what is no open database of the same driver on the same file, `outbox.transaction_missing`.
 */
export function adopted(handle: unknown, adopter: SqliteAdopter): SqliteStoreUnit<unknown> {
  const connection = connectionOf(handle, adopter)
  if (!connection.isInTransaction) {
    throw new TrunklineError('outbox.transaction_missing', { library: 'sqlite', problem: 'begin one on this connection first' })
  }
  warnOnce(connection, adopter)
  const turn = new SqliteTurn(connection)
  const side = {
    broken: undefined,
    checkOpen: (operation: string): void => {
      if (!connection.isInTransaction) throw new TrunklineError('outbox.unit_over', { operation })
    },
    end: (): void => {},
  }
  watchCommit(connection, adopter)
  return new SqliteStoreUnit<unknown>(turn, handle, side, { clock: adopter.host.clock, isOwnTransport: adopter.host.isOwnTransport })
}

function connectionOf(handle: unknown, { session, source }: SqliteAdopter): SqliteConnection {
  if (!isDatabase(handle)) throw unknownHandle('a database of node:sqlite or better-sqlite3 inside a transaction, or a handle of Drizzle or Knex over one', `of the type ${typeof handle}`)
  const { database } = session.unitConnection
  // The store's own connection belongs to its units, unless the caller has given it.
  if (handle === database && 'database' in source) return session.unitConnection
  const driver = 'database' in source ? database.constructor : (source.driver ?? builtinDriver())
  // Two copies of SQLite in one process undo each other's locks on a file.
  if (typeof driver !== 'function' || !(handle instanceof driver)) {
    throw unknownHandle('a database of the same driver that the store uses', handle.constructor.name)
  }
  const known = connections.get(handle)
  if (known !== undefined) return known
  const connection = new SqliteConnection(handle)
  if (pathOf(connection.file) !== pathOf(session.unitConnection.file)) throw unknownHandle('a database on the file of the store', 'a database on another file')
  connections.set(handle, connection)
  return connection
}

function isDatabase(handle: unknown): handle is SqliteDatabase {
  return typeof handle === 'object' && handle !== null && 'prepare' in handle && typeof handle.prepare === 'function' && 'exec' in handle && typeof handle.exec === 'function'
}

function unknownHandle(expected: string, actual: string): TrunklineError {
  return new TrunklineError('core.option_invalid', { option: 'transaction', expected, actual })
}

function pathOf(file: string): string {
  try {
    return realpathSync(file)
  } catch {
    return file
  }
}

function warnOnce(connection: SqliteConnection, { host, session }: SqliteAdopter): void {
  if (warned.has(session)) return
  const row = connection.row('PRAGMA synchronous')
  if (row === undefined || integer(row, 'synchronous') >= FULL) return
  warned.add(session)
  host.logger.warn({}, 'messages are written on a connection whose PRAGMA synchronous is below FULL: its last commits may be lost in a power cut')
}

/** No driver tells of a commit: it is looked for, and what is not found in time is found by the pulse. */
function watchCommit(connection: SqliteConnection, { host, session, closing }: SqliteAdopter): void {
  const look = (times: number): void => {
    if (closing.aborted || times > LOOKS_MAX) return
    if (isOpen(connection)) {
      host.clock.setTimer(LOOKS_MS[Math.min(times, LOOKS_MS.length - 1)] ?? 0, () => look(times + 1), { background: true })
      return
    }
    session.wakeSelf()
    session.wakeOthers(session.unitConnection)
  }
  host.clock.defer(() => look(0))
}

function isOpen(connection: SqliteConnection): boolean {
  try {
    return connection.isInTransaction
  } catch {
    // The caller has closed it.
    return false
  }
}
