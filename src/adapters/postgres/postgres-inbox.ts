import type { InboxEntry, InboxTable, InboxVerdict } from '../../outbox/port.ts'
import type { PgRow } from './postgres-client.ts'
import type { PgDatabase } from './postgres-database.ts'
import { bytesAt, numberAt, PgStatement, textAt } from './postgres-rows.ts'
import type { PgUnitExecutor } from './postgres-session.ts'

interface InboxStatements {
  readonly enterOne: PgStatement
  readonly enterMany: PgStatement
  readonly find: PgStatement
  readonly keepAnswer: PgStatement
  readonly prune: PgStatement
  readonly count: PgStatement
}

/**
 * Marks of handled messages. The primary key decides (I-01): of two transactions that handle the same message, the second waits
 * for the first one's end. Ids that grow with time, as those of this library do, land at the end of their group's part of the
 * index, so it stays in memory however many marks there are.
 *
 * Marks are removed in batches by age. Partitions by day could be dropped instead, but then nothing would keep a message from being marked
 * once on each side of midnight.
 */
export class PgInbox implements InboxTable {
  readonly #database: PgDatabase
  readonly #statements: InboxStatements

  constructor(database: PgDatabase) {
    this.#database = database
    this.#statements = inboxStatements(database.schema)
  }

  /** Marks messages as the first thing that a transaction does; verdicts come in the order of the entries. */
  async enter(executor: PgUnitExecutor, entries: readonly InboxEntry[]): Promise<readonly InboxVerdict[]> {
    const isNew = await this.#put(executor, entries)
    if (isNew.every(Boolean)) return entries.map(() => ({ kind: 'new' }))
    const rest = entries.filter((_entry, index) => !isNew[index])
    // A statement of its own: what another transaction committed while the first one waited is visible to it (P-06).
    const rows = await executor.run(this.#statements.find, columnsOf(rest))
    const known = new Map(rows.map((row) => [nameOf({ group: textAt(row, 'group_name'), source: textAt(row, 'source'), id: textAt(row, 'id') }), row]))
    return entries.map((entry, index) => (isNew[index] === true ? { kind: 'new' } : verdictOf(entry, known.get(nameOf(entry)))))
  }

  /** Which of the entries were put now. Of equal ones the first is. */
  async #put(executor: PgUnitExecutor, entries: readonly InboxEntry[]): Promise<readonly boolean[]> {
    const [first] = entries
    if (entries.length === 1 && first !== undefined) {
      return [(await executor.run(this.#statements.enterOne, [first.group, first.source, first.id, first.digest])).length > 0]
    }
    const rows = await executor.run(this.#statements.enterMany, [...columnsOf(entries), entries.map(({ digest }) => digest)])
    const put = new Set(rows.map((row) => nameOf({ group: textAt(row, 'group_name'), source: textAt(row, 'source'), id: textAt(row, 'id') })))
    return entries.map((entry) => put.delete(nameOf(entry)))
  }

  /** Keeps an answer beside its mark. */
  async keepAnswer(executor: PgUnitExecutor, { group, source, id }: InboxEntry, answer: Uint8Array): Promise<void> {
    await executor.run(this.#statements.keepAnswer, [group, source, id, answer])
  }

  async prune(olderThanMs: number, limit: number): Promise<number> {
    const [row = {}] = await this.#database.run(this.#statements.prune, [olderThanMs, limit])
    return numberAt(row, 'count')
  }

  async count(): Promise<number> {
    const [row = {}] = await this.#database.run(this.#statements.count, [])
    return numberAt(row, 'count')
  }
}

function verdictOf(entry: InboxEntry, row: PgRow | undefined): InboxVerdict {
  // The transaction that had put the mark was pruned away between the two statements: as if it had been there.
  if (row === undefined) return { kind: 'seen', answer: undefined }
  if (Buffer.compare(entry.digest, bytesAt(row, 'digest')) !== 0) return { kind: 'collision' }
  return { kind: 'seen', answer: row['answer'] === null ? undefined : bytesAt(row, 'answer') }
}

function columnsOf(entries: readonly InboxEntry[]): readonly unknown[] {
  return [entries.map(({ group }) => group), entries.map(({ source }) => source), entries.map(({ id }) => id)]
}

/** No group has a control character in its name. */
function nameOf({ group, source, id }: Pick<InboxEntry, 'group' | 'source' | 'id'>): string {
  return JSON.stringify([group, source, id])
}

function inboxStatements(schema: string): InboxStatements {
  const given = 'unnest($1::text[], $2::text[], $3::text[]) AS given (group_name, source, id)'
  return {
    enterOne: new PgStatement(`INSERT INTO ${schema}.inbox (group_name, source, id, digest) VALUES ($1::text, $2::text, $3::text, $4::bytea)
ON CONFLICT DO NOTHING RETURNING id`),
    // Sorted, so that two batches with common messages do not wait for each other crosswise; of equal ones the first counts.
    enterMany: new PgStatement(`INSERT INTO ${schema}.inbox (group_name, source, id, digest)
SELECT group_name, source, id, digest FROM unnest($1::text[], $2::text[], $3::text[], $4::bytea[]) WITH ORDINALITY AS given (group_name, source, id, digest, n)
ORDER BY group_name COLLATE "C", source COLLATE "C", id COLLATE "C", n ON CONFLICT DO NOTHING RETURNING group_name, source, id`),
    find: new PgStatement(`SELECT i.group_name, i.source, i.id, i.digest, i.answer FROM ${given} JOIN ${schema}.inbox i
ON i.group_name = given.group_name AND i.source = given.source AND i.id = given.id`),
    keepAnswer: new PgStatement(`UPDATE ${schema}.inbox SET answer = $4::bytea WHERE group_name = $1::text AND source = $2::text AND id = $3::text`),
    prune: new PgStatement(`WITH gone AS (DELETE FROM ${schema}.inbox WHERE (group_name, source, id) IN (
  SELECT group_name, source, id FROM ${schema}.inbox WHERE entered_at < clock_timestamp() - $1::float8 * interval '1 millisecond'
  ORDER BY entered_at LIMIT $2::bigint FOR UPDATE SKIP LOCKED) RETURNING 1) SELECT count(*) AS count FROM gone`),
    // Estimated by the planner's statistics where they exist: counting millions would read them all.
    count: new PgStatement(`SELECT CASE WHEN reltuples > 100000 THEN reltuples::bigint ELSE (SELECT count(*) FROM ${schema}.inbox) END AS count
FROM pg_catalog.pg_class WHERE oid = '${schema}.inbox'::regclass`),
  }
}
