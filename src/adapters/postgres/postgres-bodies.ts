import type { BodyTable } from '../../outbox/port.ts'
import type { PgDatabase } from './postgres-database.ts'
import { bytesAt, numberAt, PgStatement } from './postgres-rows.ts'

/** Bodies too large for a message. */
export class PgBodies implements BodyTable {
  readonly #database: PgDatabase
  readonly #put: PgStatement
  readonly #get: PgStatement
  readonly #prune: PgStatement

  constructor(database: PgDatabase) {
    const { schema } = database
    this.#database = database
    this.#put = new PgStatement(`INSERT INTO ${schema}.body (id, body) VALUES ($1::text, $2::bytea)
ON CONFLICT (id) DO UPDATE SET body = excluded.body, stored_at = clock_timestamp()`)
    this.#get = new PgStatement(`SELECT body FROM ${schema}.body WHERE id = $1::text`)
    this.#prune = new PgStatement(`WITH gone AS (DELETE FROM ${schema}.body WHERE id IN (
  SELECT id FROM ${schema}.body WHERE stored_at < clock_timestamp() - $1::float8 * interval '1 millisecond'
  ORDER BY stored_at LIMIT $2::bigint FOR UPDATE SKIP LOCKED) RETURNING 1) SELECT count(*) AS count FROM gone`)
  }

  async put(id: string, body: Uint8Array): Promise<void> {
    await this.#database.run(this.#put, [id, body])
  }

  async get(id: string): Promise<Uint8Array | undefined> {
    const [row] = await this.#database.run(this.#get, [id])
    return row === undefined ? undefined : bytesAt(row, 'body')
  }

  async prune(olderThanMs: number, limit: number): Promise<number> {
    const [row = {}] = await this.#database.run(this.#prune, [olderThanMs, limit])
    return numberAt(row, 'count')
  }
}
