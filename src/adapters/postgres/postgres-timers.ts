import type { TimerTable } from '../../outbox/port.ts'
import type { NewTimer, StoredTimer } from '../../store/port.ts'
import type { PgRow } from './postgres-client.ts'
import type { PgDatabase } from './postgres-database.ts'
import { attributesText } from './postgres-message.ts'
import { messageAt } from './postgres-outbox.ts'
import { kindAt, numberAt, optionalNumberAt, optionalTextAt, PgStatement, textAt } from './postgres-rows.ts'
import type { PgExecutor } from './postgres-session.ts'

interface TimerStatements {
  readonly putAt: PgStatement
  readonly putAfter: PgStatement
  readonly putMany: PgStatement
  readonly cancel: PgStatement
  readonly cancelMany: PgStatement
  readonly takeDue: PgStatement
  readonly next: PgStatement
  readonly read: PgStatement
  readonly list: PgStatement
}

/** Alarms by the database's clock. */
export class PgTimers implements TimerTable {
  readonly #database: PgDatabase
  readonly #statements: TimerStatements

  constructor(database: PgDatabase) {
    this.#database = database
    this.#statements = timerStatements(database.schema)
  }

  /** Puts an alarm in a transaction, in place of one with the same id. */
  async put(executor: PgExecutor, { id, due, kind, message, recurrence }: NewTimer): Promise<void> {
    const values = [kind, attributesText(message), message.body, recurrence?.cron ?? null, recurrence?.timeZone ?? null]
    if ('atMs' in due) await executor.run(this.#statements.putAt, [id, due.atMs, ...values])
    else await executor.run(this.#statements.putAfter, [id, due.afterMs, ...values])
  }

  /** Puts several alarms, no id twice. */
  async putMany(executor: PgExecutor, timers: readonly NewTimer[]): Promise<void> {
    const [first] = timers
    if (timers.length === 1 && first !== undefined) {
      await this.put(executor, first)
      return
    }
    const sorted = timers.toSorted((one, other) => (one.id < other.id ? -1 : 1))
    await executor.run(this.#statements.putMany, [
      sorted.map(({ id }) => id), sorted.map(({ due }) => ('atMs' in due ? due.atMs : null)), sorted.map(({ due }) => ('atMs' in due ? null : due.afterMs)),
      sorted.map(({ kind }) => kind), sorted.map(({ message }) => attributesText(message)), sorted.map(({ message }) => message.body),
      sorted.map(({ recurrence }) => recurrence?.cron ?? null), sorted.map(({ recurrence }) => recurrence?.timeZone ?? null),
    ])
  }

  /** Removes several alarms; says of each whether it was there. */
  async cancelMany(executor: PgExecutor, ids: readonly string[]): Promise<readonly boolean[]> {
    const [first] = ids
    if (ids.length === 1 && first !== undefined) return [await this.cancel(executor, first)]
    const gone = new Set((await executor.run(this.#statements.cancelMany, [ids])).map((row) => textAt(row, 'id')))
    return ids.map((id) => gone.has(id))
  }

  /** False where there is none. */
  async cancel(executor: PgExecutor, id: string): Promise<boolean> {
    return (await executor.run(this.#statements.cancel, [id])).length > 0
  }

  /** Takes those that are due; two schedulers never get the same one. */
  async takeDue(executor: PgExecutor, limit: number): Promise<readonly StoredTimer[]> {
    const rows = await executor.run(this.#statements.takeDue, [limit])
    return rows.map(storedTimer)
  }

  async nextInMs(): Promise<number | undefined> {
    const [row = {}] = await this.#database.run(this.#statements.next, [])
    const inMs = optionalNumberAt(row, 'in_ms')
    // Rounded up: a look that is early by a fraction would find nothing.
    return inMs === undefined ? undefined : Math.max(0, Math.ceil(inMs))
  }

  async read(id: string): Promise<StoredTimer | undefined> {
    const [row] = await this.#database.run(this.#statements.read, [id])
    return row === undefined ? undefined : storedTimer(row)
  }

  async list(limit: number, after: string | undefined): Promise<readonly StoredTimer[]> {
    const rows = await this.#database.run(this.#statements.list, [after ?? '', limit])
    return rows.map(storedTimer)
  }
}

function storedTimer(row: PgRow): StoredTimer {
  const [cron, timeZone] = [optionalTextAt(row, 'cron'), optionalTextAt(row, 'time_zone')]
  return {
    id: textAt(row, 'id'),
    dueAtMs: Math.round(numberAt(row, 'due_ms')),
    kind: kindAt(row),
    message: messageAt(row),
    recurrence: cron === undefined || timeZone === undefined ? undefined : { cron, timeZone },
  }
}

function timerStatements(schema: string): TimerStatements {
  const into = `INSERT INTO ${schema}.timer (id, due_at, kind, attributes, body, cron, time_zone)`
  const instead = `ON CONFLICT (id) DO UPDATE SET due_at = excluded.due_at,
  kind = excluded.kind, attributes = excluded.attributes, body = excluded.body, cron = excluded.cron, time_zone = excluded.time_zone`
  const put = (due: string): PgStatement => new PgStatement(`${into}
VALUES ($1::text, ${due}, $3::text, $4::text, $5::bytea, $6::text, $7::text) ${instead}`)
  const columns = "id, date_part('epoch', due_at) * 1000 AS due_ms, kind, attributes, body, cron, time_zone"
  return {
    putAt: put('to_timestamp($2::float8 / 1000)'),
    putAfter: put("clock_timestamp() + $2::float8 * interval '1 millisecond'"),
    putMany: new PgStatement(`${into}
SELECT id, coalesce(to_timestamp(at_ms / 1000), clock_timestamp() + after_ms * interval '1 millisecond'), kind, attributes, body, cron, time_zone
FROM unnest($1::text[], $2::float8[], $3::float8[], $4::text[], $5::text[], $6::bytea[], $7::text[], $8::text[]) AS given (id, at_ms, after_ms, kind, attributes, body, cron, time_zone) ${instead}`),
    cancelMany: new PgStatement(`DELETE FROM ${schema}.timer WHERE id = ANY($1::text[]) RETURNING id`),
    cancel: new PgStatement(`DELETE FROM ${schema}.timer WHERE id = $1::text RETURNING id`),
    takeDue: new PgStatement(`WITH gone AS (DELETE FROM ${schema}.timer WHERE id IN (
  SELECT id FROM ${schema}.timer WHERE due_at <= clock_timestamp() ORDER BY due_at, id LIMIT $1::bigint FOR UPDATE SKIP LOCKED
) RETURNING *) SELECT ${columns} FROM gone ORDER BY due_at, id`),
    next: new PgStatement(`SELECT date_part('epoch', min(due_at) - clock_timestamp()) * 1000 AS in_ms FROM ${schema}.timer`),
    read: new PgStatement(`SELECT ${columns} FROM ${schema}.timer WHERE id = $1::text`),
    list: new PgStatement(`SELECT ${columns} FROM ${schema}.timer WHERE id > $1::text ORDER BY id LIMIT $2::bigint`),
  }
}
