import type { Transport } from '../../bus/port.ts'
import { settingsFrom } from './sqlite-options.ts'
import type { SqliteOptions } from './sqlite-options.ts'
import { SqliteTransport } from './sqlite-transport.ts'

/** One SQLite file and what it offers. */
export interface Sqlite extends AsyncDisposable {
  /** The file as a broker for any number of processes of one machine. */
  readonly transport: Transport
  /** Closes whatever of it is open; idempotent. A database that was given stays open. */
  close(): Promise<void>
}

class SqliteStore implements Sqlite {
  readonly transport: Transport

  constructor(options: SqliteOptions) {
    this.transport = new SqliteTransport(settingsFrom(options))
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
