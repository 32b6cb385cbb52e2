import type { BodyTable } from '../../outbox/port.ts'
import type { CheckpointTable, Snapshot } from '../../store/port.ts'
import { bigInteger, bytes } from './sqlite-connection.ts'
import type { SqliteConnection } from './sqlite-connection.ts'
import type { SqliteStoreAccess } from './sqlite-store-access.ts'
import { checkEpoch } from './sqlite-store-leases.ts'

/** Moves a checkpoint on, in a transaction. @throws `store.lease_lost`. */
export function storeCheckpoint(connection: SqliteConnection, name: string, cursor: bigint, epoch: bigint | undefined): void {
  // Whoever takes the lease over has to wait for the write lock of this transaction.
  if (epoch !== undefined) checkEpoch(connection, name, epoch)
  connection.run('INSERT INTO trunkline_checkpoint (name, position) VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET position = excluded.position', name, cursor)
}

/** Keeps a snapshot where it is newer, in a transaction. */
export function storeSnapshot(connection: SqliteConnection, { stream, shape, revision, state }: Snapshot): void {
  connection.run(
    `INSERT INTO trunkline_snapshot (stream, shape, revision, state) VALUES (?, ?, ?, ?)
      ON CONFLICT (stream, shape) DO UPDATE SET revision = excluded.revision, state = excluded.state WHERE excluded.revision > revision`,
    stream, shape, revision, state,
  )
}

/** Where readers are. */
export class SqliteCheckpoints implements CheckpointTable {
  readonly #access: SqliteStoreAccess

  constructor(access: SqliteStoreAccess) {
    this.#access = access
  }

  load(name: string): Promise<bigint | undefined> {
    return this.#access.read((connection) => {
      const row = connection.row('SELECT CAST(position AS TEXT) AS position FROM trunkline_checkpoint WHERE name = ?', name)
      return row === undefined ? undefined : bigInteger(row, 'position')
    })
  }

  loadSnapshot(stream: string, shape: string): Promise<Snapshot | undefined> {
    return this.#access.read((connection) => {
      const row = connection.row('SELECT CAST(revision AS TEXT) AS revision, state FROM trunkline_snapshot WHERE stream = ? AND shape = ?', stream, shape)
      return row === undefined ? undefined : { stream, shape, revision: bigInteger(row, 'revision'), state: bytes(row, 'state') }
    })
  }

  async remove(name: string): Promise<void> {
    await this.#access.write(({ connection }) => connection.run('DELETE FROM trunkline_checkpoint WHERE name = ?', name))
  }
}

/** Bodies kept beside messages. */
export class SqliteBodies implements BodyTable {
  readonly #access: SqliteStoreAccess

  constructor(access: SqliteStoreAccess) {
    this.#access = access
  }

  async put(id: string, body: Uint8Array): Promise<void> {
    const nowMs = Math.floor(this.#access.nowMs)
    await this.#access.write(({ connection }) =>
      connection.run('INSERT INTO trunkline_body (id, at_ms, body) VALUES (?, ?, ?) ON CONFLICT (id) DO UPDATE SET at_ms = excluded.at_ms, body = excluded.body', id, nowMs, body),
    )
  }

  get(id: string): Promise<Uint8Array | undefined> {
    return this.#access.read((connection) => {
      const row = connection.row('SELECT body FROM trunkline_body WHERE id = ?', id)
      return row === undefined ? undefined : bytes(row, 'body')
    })
  }

  prune(olderThanMs: number, limit: number): Promise<number> {
    const beforeMs = Math.floor(this.#access.nowMs - olderThanMs)
    return this.#access.writeSoon(({ connection }) =>
      connection.run('DELETE FROM trunkline_body WHERE id IN (SELECT id FROM trunkline_body WHERE at_ms < ? ORDER BY at_ms LIMIT ?)', beforeMs, limit),
    )
  }
}
