import type { Transport } from '../../bus/port.ts'
import { settingsFrom } from './sqlite-options.ts'
import type { SqliteOptions } from './sqlite-options.ts'
import { SqliteTransport } from './sqlite-transport.ts'

/** One SQLite file and what it offers. */
export interface Sqlite extends AsyncDisposable {
  /** The file as a broker for any number of processes of one machine. */
  readonly transport: Transport
  /**
   * Size of the write-ahead log in bytes, as last looked at; 0 while closed. It stays below 64 MiB unless some
   * connection keeps a read transaction open, which health shows as `degraded`.
   */
  readonly logBytes: number
  /** Closes whatever of it is open; idempotent. A database that was given stays open. */
  close(): Promise<void>
}

class SqliteStore implements Sqlite {
  readonly transport: SqliteTransport

  constructor(options: SqliteOptions) {
    this.transport = new SqliteTransport(settingsFrom(options))
  }

  get logBytes(): number {
    return this.transport.logBytes
  }

  close(): Promise<void> {
    return this.transport.close()
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close()
  }
}

/**
 * Uses a SQLite file. Nothing is opened before a bus opens the transport.
 *
 * @throws `core.option_invalid` for a value out of its range, or options that exclude each other.
 */
export function sqlite(options: SqliteOptions): Sqlite {
  return new SqliteStore(options)
}
