import type { Lease, LeaseTable } from '../../store/port.ts'
import type { PgDatabase } from './postgres-database.ts'
import { bigintAt, PgStatement, textAt } from './postgres-rows.ts'

/**
 * Leases by the database's clock.
 *
 * The epoch is part of a unique key: who writes under a lease takes a share of that key (`FOR KEY SHARE`), which a renewal passes and a
 * takeover does not, so that a lease changes hands before or after such a transaction and never during it (P-15).
 */
export class PgLeases implements LeaseTable {
  readonly #database: PgDatabase
  readonly #hold: PgStatement
  readonly #release: PgStatement

  constructor(database: PgDatabase) {
    this.#database = database
    this.#hold = new PgStatement(holdText(database.schema))
    this.#release = new PgStatement(`UPDATE ${database.schema}.lease SET owner = NULL WHERE name = ANY($1::text[]) AND owner = $2::text`)
  }

  async hold(names: readonly string[], owner: string, ttlMs: number, most: number): Promise<readonly Lease[]> {
    const rows = await this.#database.run(this.#hold, [names, owner, ttlMs, most])
    return rows.map((row) => ({ name: textAt(row, 'name'), epoch: bigintAt(row, 'epoch') }))
  }

  async release(names: readonly string[], owner: string): Promise<void> {
    await this.#database.run(this.#release, [names, owner])
  }
}

/**
 * Own leases are kept first, then free ones are taken in the order of the names, then those made that were never there. A lease
 * that someone writes under at this moment is left for the next time instead of waited for. Two who make the same one meet in
 * either of its unique keys.
 */
function holdText(schema: string): string {
  const until = "clock_timestamp() + $3::float8 * interval '1 millisecond'"
  const room = '$4::bigint - (SELECT count(*) FROM renewed)'
  return `WITH own AS MATERIALIZED (
  SELECT name FROM ${schema}.lease WHERE name = ANY($1::text[]) AND owner = $2::text
  ORDER BY array_position($1::text[], name) LIMIT $4::bigint FOR NO KEY UPDATE
), renewed AS (
  UPDATE ${schema}.lease l SET expires_at = ${until} FROM own WHERE l.name = own.name AND l.owner = $2::text RETURNING l.name, l.epoch
), free AS MATERIALIZED (
  SELECT name FROM ${schema}.lease WHERE name = ANY($1::text[]) AND (owner IS NULL OR (owner <> $2::text AND expires_at <= clock_timestamp()))
  ORDER BY array_position($1::text[], name) LIMIT greatest(0, ${room}) FOR UPDATE SKIP LOCKED
), taken AS (
  UPDATE ${schema}.lease l SET owner = $2::text, epoch = l.epoch + 1, expires_at = ${until} FROM free WHERE l.name = free.name RETURNING l.name, l.epoch
), made AS (
  INSERT INTO ${schema}.lease (name, owner, epoch, expires_at)
  SELECT name, $2::text, 1, ${until} FROM (
    SELECT name FROM (SELECT name, min(n) AS n FROM unnest($1::text[]) WITH ORDINALITY AS given (name, n) GROUP BY name) given
    WHERE NOT EXISTS (SELECT FROM ${schema}.lease l WHERE l.name = given.name)
    ORDER BY n LIMIT greatest(0, ${room} - (SELECT count(*) FROM taken))
  ) missing ORDER BY name ON CONFLICT DO NOTHING RETURNING name, epoch
)
SELECT name, epoch FROM renewed UNION ALL SELECT name, epoch FROM taken UNION ALL SELECT name, epoch FROM made`
}
