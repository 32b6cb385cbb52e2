import { Store } from '../../outbox/store.ts'
import { type StoreOptions, type StoreSettings, partedOptions, storeSettings } from '../../outbox/store-options.ts'
import type { SqliteHandle } from './sqlite-handle.ts'
import type { SqliteDatabaseOptions, SqliteFileOptions } from './sqlite-options.ts'
import { sqliteBackend } from './sqlite-store.ts'
import type { SqliteBackend } from './sqlite-store.ts'

/** What `sqlite` takes: how to reach the file, and how its store works. */
export type SqliteStoreOptions = (SqliteFileOptions & StoreOptions) | (SqliteDatabaseOptions & StoreOptions)

/** One SQLite file as everything that it can be: events, units of work, outbox, scheduler and a broker for the processes of one machine. */
export class Sqlite extends Store<SqliteHandle> {
  readonly #backend: SqliteBackend

  /** @internal */
  constructor(backend: SqliteBackend, settings: StoreSettings) {
    super(backend, settings)
    this.#backend = backend
  }

  /**
   * Size of the write-ahead log in bytes, as last looked at; 0 while closed. It stays below 64 MiB unless some
   * connection keeps a read transaction open, which health shows as `degraded`.
   */
  get logBytes(): number {
    return this.#backend.logBytes
  }
}

/**
 * Uses a SQLite file. Nothing is opened before the bus that has it starts, or `open`.
 *
 * @throws `core.option_invalid` for a value out of its range, or options that exclude each other; `core.option_unknown`.
 */
export function sqlite(options: SqliteStoreOptions): Sqlite {
  const { store, database } = partedOptions(options)
  // The lease time of the store is that of the file: what is claimed ends with the instance that claimed it.
  const leaseMs = store.leaseMs === undefined ? {} : { leaseMs: store.leaseMs }
  const isObject = typeof options === 'object' && options !== null
  return new Sqlite(sqliteBackend(isObject ? { ...database, ...leaseMs } : options), storeSettings(store))
}
