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
  readonly cancel: PgStatement
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
  const put = (due: string): PgStatement => new PgStatement(`INSERT INTO ${schema}.timer (id, due_at, kind, attributes, body, cron, time_zone)
VALUES ($1::text, ${due}, $3::text, $4::text, $5::bytea, $6::text, $7::text) ON CONFLICT (id) DO UPDATE SET due_at = excluded.due_at,
  kind = excluded.kind, attributes = excluded.attributes, body = excluded.body, cron = excluded.cron, time_zone = excluded.time_zone`)
  const columns = "id, date_part('epoch', due_at) * 1000 AS due_ms, kind, attributes, body, cron, time_zone"
  return {
    putAt: put('to_timestamp($2::float8 / 1000)'),
    putAfter: put("clock_timestamp() + $2::float8 * interval '1 millisecond'"),
    cancel: new PgStatement(`DELETE FROM ${schema}.timer WHERE id = $1::text RETURNING id`),
    takeDue: new PgStatement(`WITH gone AS (DELETE FROM ${schema}.timer WHERE id IN (
  SELECT id FROM ${schema}.timer WHERE due_at <= clock_timestamp() ORDER BY due_at, id LIMIT $1::bigint FOR UPDATE SKIP LOCKED
) RETURNING *) SELECT ${columns} FROM gone ORDER BY due_at, id`),
    next: new PgStatement(`SELECT date_part('epoch', min(due_at) - clock_timestamp()) * 1000 AS in_ms FROM ${schema}.timer`),
    read: new PgStatement(`SELECT ${columns} FROM ${schema}.timer WHERE id = $1::text`),
    list: new PgStatement(`SELECT ${columns} FROM ${schema}.timer WHERE id > $1::text ORDER BY id LIMIT $2::bigint`),
  }
}
