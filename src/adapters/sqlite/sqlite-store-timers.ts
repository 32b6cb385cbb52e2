import type { TimerTable } from '../../outbox/port.ts'
import type { NewTimer, StoredTimer } from '../../store/port.ts'
import { bytes, integer, text, textOrNull } from './sqlite-connection.ts'
import type { SqliteConnection } from './sqlite-connection.ts'
import type { SqliteRow } from './sqlite-driver.ts'
import { attributesText, messageFrom } from './sqlite-message.ts'
import type { SqliteStoreAccess } from './sqlite-store-access.ts'
import type { SqliteTurn } from './sqlite-turn.ts'

const COLUMNS = 'seq, id, due_ms, kind, attributes, body, cron, time_zone'

/** Puts an alarm, in a transaction. */
export function storeTimer(turn: SqliteTurn, nowMs: number, { id, due, kind, message, recurrence }: NewTimer): void {
  const { connection } = turn
  connection.run('DELETE FROM trunkline_timer WHERE id = ?', id)
  connection.run(
    'INSERT INTO trunkline_timer (id, due_ms, kind, attributes, body, cron, time_zone) VALUES (?, ?, ?, ?, ?, ?, ?)',
    // Never before: a part of a millisecond counts as a whole one.
    id, Math.ceil('atMs' in due ? due.atMs : nowMs + due.afterMs), kind, attributesText(message), message.body, recurrence?.cron ?? null, recurrence?.timeZone ?? null,
  )
  turn.number(1)
}

/** Cancels an alarm, in a transaction; false where there is none. */
export function removeTimer({ connection }: SqliteTurn, id: string): boolean {
  return connection.run('DELETE FROM trunkline_timer WHERE id = ?', id) === 1
}

/** Takes what is due out of the table, in a transaction. */
export function takeDueTimers(connection: SqliteConnection, nowMs: number, limit: number): readonly StoredTimer[] {
  const rows = connection.rows(`SELECT ${COLUMNS} FROM trunkline_timer WHERE due_ms <= ? ORDER BY due_ms, id LIMIT ?`, Math.floor(nowMs), limit)
  for (const row of rows) connection.run('DELETE FROM trunkline_timer WHERE seq = ?', integer(row, 'seq'))
  return rows.map(timerFrom)
}

/** Alarms as everybody sees them. */
export class SqliteTimers implements TimerTable {
  readonly #access: SqliteStoreAccess

  constructor(access: SqliteStoreAccess) {
    this.#access = access
  }

  nextInMs(): Promise<number | undefined> {
    return this.#access.read((connection) => {
      const row = connection.row('SELECT due_ms FROM trunkline_timer ORDER BY due_ms LIMIT 1')
      return row === undefined ? undefined : Math.max(0, integer(row, 'due_ms') - Math.floor(this.#access.nowMs))
    })
  }

  read(id: string): Promise<StoredTimer | undefined> {
    return this.#access.read((connection) => {
      const row = connection.row(`SELECT ${COLUMNS} FROM trunkline_timer WHERE id = ?`, id)
      return row === undefined ? undefined : timerFrom(row)
    })
  }

  list(limit: number, after: string | undefined): Promise<readonly StoredTimer[]> {
    return this.#access.read((connection) =>
      connection.rows(`SELECT ${COLUMNS} FROM trunkline_timer WHERE id > ? ORDER BY id LIMIT ?`, after ?? '', limit).map(timerFrom),
    )
  }
}

function timerFrom(row: SqliteRow): StoredTimer {
  const cron = textOrNull(row, 'cron')
  return {
    id: text(row, 'id'),
    dueAtMs: integer(row, 'due_ms'),
    kind: text(row, 'kind') === 'command' ? 'command' : 'event',
    message: messageFrom(text(row, 'attributes'), bytes(row, 'body'), `sqlite-timer-${integer(row, 'seq')}`),
    recurrence: cron === undefined ? undefined : { cron, timeZone: textOrNull(row, 'time_zone') ?? 'UTC' },
  }
}
