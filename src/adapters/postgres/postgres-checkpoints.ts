import { TrunklineError } from '../../core/errors.ts'
import type { CheckpointTable, Snapshot } from '../../store/port.ts'
import type { PgDatabase } from './postgres-database.ts'
import { STORE } from './postgres-errors.ts'
import { bigintAt, bytesAt, PgStatement } from './postgres-rows.ts'
import type { PgExecutor } from './postgres-session.ts'

interface CheckpointStatements {
  readonly load: PgStatement
  readonly save: PgStatement
  readonly saveFenced: PgStatement
  readonly remove: PgStatement
  readonly loadSnapshot: PgStatement
  readonly saveSnapshot: PgStatement
}

/** Where readers of the log are, and folded states. */
export class PgCheckpoints implements CheckpointTable {
  readonly #database: PgDatabase
  readonly #statements: CheckpointStatements

  constructor(database: PgDatabase) {
    this.#database = database
    this.#statements = checkpointStatements(database.schema)
  }

  async load(name: string): Promise<bigint | undefined> {
    const [row] = await this.#database.run(this.#statements.load, [name])
    return row === undefined ? undefined : bigintAt(row, 'cursor')
  }

  /** Moves a checkpoint on in a transaction. @throws `store.lease_lost`. */
  async save(executor: PgExecutor, name: string, cursor: bigint, epoch: bigint | undefined): Promise<void> {
    const { save, saveFenced } = this.#statements
    const rows = epoch === undefined
      ? await executor.run(save, [name, String(cursor)])
      : await executor.run(saveFenced, [name, String(cursor), String(epoch)])
    if (rows.length === 0) throw new TrunklineError('store.lease_lost', { store: STORE, lease: name })
  }

  async remove(name: string): Promise<void> {
    await this.#database.run(this.#statements.remove, [name])
  }

  async loadSnapshot(stream: string, shape: string): Promise<Snapshot | undefined> {
    const [row] = await this.#database.run(this.#statements.loadSnapshot, [stream, shape])
    return row === undefined ? undefined : { stream, shape, revision: bigintAt(row, 'revision'), state: bytesAt(row, 'state') }
  }

  /** Keeps a snapshot in a transaction, unless a newer one is there. */
  async saveSnapshot(executor: PgExecutor, { stream, shape, revision, state }: Snapshot): Promise<void> {
    await executor.run(this.#statements.saveSnapshot, [stream, shape, String(revision), state])
  }
}

function checkpointStatements(schema: string): CheckpointStatements {
  const update = 'ON CONFLICT (name) DO UPDATE SET cursor = excluded.cursor, saved_at = clock_timestamp() RETURNING name'
  return {
    load: new PgStatement(`SELECT cursor FROM ${schema}.checkpoint WHERE name = $1::text`),
    save: new PgStatement(`INSERT INTO ${schema}.checkpoint (name, cursor) VALUES ($1::text, $2::bigint) ${update}`),
    // The share of the lease's key keeps a takeover out until this transaction has ended (P-15).
    saveFenced: new PgStatement(`WITH fence AS MATERIALIZED (SELECT 1 FROM ${schema}.lease WHERE name = $1::text AND epoch = $3::bigint FOR KEY SHARE)
INSERT INTO ${schema}.checkpoint (name, cursor) SELECT $1::text, $2::bigint FROM fence ${update}`),
    remove: new PgStatement(`DELETE FROM ${schema}.checkpoint WHERE name = $1::text`),
    loadSnapshot: new PgStatement(`SELECT revision, state FROM ${schema}.snapshot WHERE stream = $1::text AND shape = $2::text`),
    saveSnapshot: new PgStatement(`INSERT INTO ${schema}.snapshot AS s (stream, shape, revision, state) VALUES ($1::text, $2::text, $3::bigint, $4::bytea)
ON CONFLICT (stream, shape) DO UPDATE SET revision = excluded.revision, state = excluded.state WHERE s.revision <= excluded.revision`),
  }
}
