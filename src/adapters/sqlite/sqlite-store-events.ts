import { TrunklineError } from '../../core/errors.ts'
import type { Appended, ExpectedRevision, LogPage, NewEvent, ReadQuery, Selection, StoredEvent, StreamMetadata } from '../../store/port.ts'
import { bytes, integer, text } from './sqlite-connection.ts'
import type { SqliteConnection } from './sqlite-connection.ts'
import type { SqliteRow } from './sqlite-driver.ts'
import { attributesText, messageFrom } from './sqlite-message.ts'
import type { SqliteTurn } from './sqlite-turn.ts'

// What happens to the rows of streams and events. Whoever appends has the write lock, so that what was read before stays true until the commit.

/** Largest whole number of SQLite. */
const NUMBER_MAX = 9_223_372_036_854_775_807n
/** Bytes of bodies after which a page is full; one query may go beyond it by its own rows. */
const PAGE_BYTES_MAX = 4_194_304
/** Rows of the first query of a page, while it is not known how large they are. */
const FIRST_ROWS = 64
/** Ended events that an append looks for, and a change of settings. */
const REMOVE_MAX = 100
const REMOVE_ONCE_MAX = 10_000

/** What readers see: everything, but for the settings of the stream. Takes the wall clock as its parameter. */
const VISIBLE = `(s.limited = 0 OR (
  e.revision >= coalesce(s.truncate_before, 0) AND (s.count_max IS NULL OR e.revision > s.last - s.count_max)
  AND (s.age_max_ms IS NULL OR e.stored_ms >= ? - s.age_max_ms)))`

const COLUMNS = 'e.position, e.revision, e.stored_ms, e.attributes, e.body, s.name'
const FROM_STREAM = 'trunkline_stream AS s CROSS JOIN trunkline_event AS e ON e.stream = s.id'
const FROM_LOG = 'trunkline_event AS e CROSS JOIN trunkline_stream AS s ON s.id = e.stream'

/**
 * Appends within a transaction.
 *
 * @throws `store.wrong_revision`, before anything was written.
 */
export function appendEvents(turn: SqliteTurn, nowMs: number, stream: string, expected: ExpectedRevision, events: readonly NewEvent[]): Appended {
  const { connection } = turn
  const row = connection.row('SELECT id, last, limited FROM trunkline_stream WHERE name = ?', stream)
  const last = row === undefined ? -1 : integer(row, 'last')
  if (expected !== 'any') {
    const wanted = expected === 'noStream' ? -1n : expected
    if (wanted !== BigInt(last)) {
      const repeated = row === undefined ? undefined : repetition(connection, integer(row, 'id'), wanted, events)
      if (repeated !== undefined) return repeated
      throw new TrunklineError('store.wrong_revision', { stream, expected: String(expected), actual: last < 0 ? 'noStream' : String(last) })
    }
  }
  const id = row === undefined ? connection.insert('INSERT INTO trunkline_stream (name) VALUES (?)', stream) : integer(row, 'id')
  let position = 0
  let revision = last
  for (const { message } of events) {
    position = connection.insert(
      'INSERT INTO trunkline_event (stream, revision, category, stored_ms, attributes, body) VALUES (?, ?, ?, ?, ?, ?)',
      id, ++revision, categoryOf(stream), Math.floor(nowMs), attributesText(message), message.body,
    )
  }
  connection.run('UPDATE trunkline_stream SET last = ? WHERE id = ?', revision, id)
  turn.appended += events.length
  turn.number(events.length)
  if (row !== undefined && integer(row, 'limited') === 1) removeEnded(connection, id, nowMs, REMOVE_MAX)
  return { revision: BigInt(revision), position: position === 0 ? undefined : BigInt(position), isRepeated: false }
}

/** What the first try was answered, where exactly these events follow the expected revision already. */
function repetition(connection: SqliteConnection, id: number, wanted: bigint, events: readonly NewEvent[]): Appended | undefined {
  if (events.length === 0 || wanted > NUMBER_MAX) return undefined
  const rows = connection.rows(
    'SELECT position, revision, attributes FROM trunkline_event WHERE stream = ? AND revision > ? ORDER BY revision LIMIT ?',
    id, wanted, events.length,
  )
  const isThere = events.every(({ message }, at) => {
    const row = rows[at]
    if (row === undefined || BigInt(integer(row, 'revision')) !== wanted + BigInt(at + 1)) return false
    return messageFrom(text(row, 'attributes'), message.body, '').id === message.id
  })
  const last = rows.at(-1)
  if (!isThere || last === undefined) return undefined
  return { revision: BigInt(integer(last, 'revision')), position: BigInt(integer(last, 'position')), isRepeated: true }
}

function categoryOf(stream: string): string {
  const dash = stream.indexOf('-')
  return dash < 0 ? stream : stream.slice(0, dash)
}

/** Reads a page, in as many queries as the size of its events asks for. */
export function readEvents(connection: SqliteConnection, nowMs: number, { selection, direction, after, limit }: ReadQuery): LogPage {
  const isStream = selection.kind === 'stream'
  const events: StoredEvent[] = []
  let cursor = after
  let pageBytes = 0
  let count = Math.min(limit, FIRST_ROWS)
  for (;;) {
    // One more than is wanted tells whether the end was reached.
    const rows = queried(connection, nowMs, { selection, direction, after: cursor, limit: count + 1 })
    for (const row of rows.slice(0, count)) {
      const event = eventFrom(row)
      events.push(event)
      pageBytes += event.message.body.byteLength
      cursor = isStream ? event.revision : event.position
    }
    if (rows.length <= count) return { events, cursor, isEnd: true }
    const left = limit - events.length
    if (left <= 0 || pageBytes >= PAGE_BYTES_MAX) return { events, cursor, isEnd: false }
    const mean = Math.max(1, pageBytes / events.length)
    count = Math.min(left, Math.max(FIRST_ROWS, Math.floor((PAGE_BYTES_MAX - pageBytes) / mean)))
  }
}

function queried(connection: SqliteConnection, nowMs: number, { selection, direction, after, limit }: ReadQuery): readonly SqliteRow[] {
  const isForwards = direction === 'forwards'
  const cursor = after === undefined ? (isForwards ? -1n : NUMBER_MAX) : inRange(after)
  const [compare, order] = isForwards ? ['>', ''] : ['<', 'DESC']
  if (selection.kind === 'stream') {
    return connection.rows(
      `SELECT ${COLUMNS} FROM ${FROM_STREAM} WHERE s.name = ? AND e.revision ${compare} ? AND ${VISIBLE} ORDER BY e.revision ${order} LIMIT ?`,
      selection.stream, cursor, nowMs, limit,
    )
  }
  if (selection.kind === 'all') {
    return connection.rows(`SELECT ${COLUMNS} FROM ${FROM_LOG} WHERE e.position ${compare} ? AND ${VISIBLE} ORDER BY e.position ${order} LIMIT ?`, cursor, nowMs, limit)
  }
  return connection.rows(
    `SELECT ${COLUMNS} FROM ${FROM_LOG} WHERE e.category = ? AND e.position ${compare} ? AND ${VISIBLE} ORDER BY e.position ${order} LIMIT ?`,
    selection.category, cursor, nowMs, limit,
  )
}

function eventFrom(row: SqliteRow): StoredEvent {
  const position = integer(row, 'position')
  return {
    stream: text(row, 'name'),
    revision: BigInt(integer(row, 'revision')),
    position: BigInt(position),
    storedAtMs: integer(row, 'stored_ms'),
    message: messageFrom(text(row, 'attributes'), bytes(row, 'body'), `sqlite-event-${position}`),
  }
}

/** The last position that was given out; undefined in an empty log. */
export function headOf(connection: SqliteConnection): bigint | undefined {
  const row = connection.row('SELECT position FROM trunkline_event ORDER BY position DESC LIMIT 1')
  return row === undefined ? undefined : BigInt(integer(row, 'position'))
}

/** Settings of a stream. */
export function metadataOf(connection: SqliteConnection, stream: string): StreamMetadata {
  const row = connection.row("SELECT coalesce(metadata, '{}') AS metadata FROM trunkline_stream WHERE name = ?", stream)
  if (row === undefined) return {}
  // This adapter alone writes the column.
  const { truncateBefore, ...rest } = JSON.parse(text(row, 'metadata')) as Omit<StreamMetadata, 'truncateBefore'> & { readonly truncateBefore?: string }
  return truncateBefore === undefined ? rest : { truncateBefore: BigInt(truncateBefore), ...rest }
}

/** Replaces the settings of a stream, which need not have events yet, and removes what they end. */
export function storeMetadata(connection: SqliteConnection, nowMs: number, stream: string, metadata: StreamMetadata): void {
  const { truncateBefore, countMax, ageMaxMs } = metadata
  const isLimited = truncateBefore !== undefined || countMax !== undefined || ageMaxMs !== undefined
  const json = JSON.stringify(metadata, (_name, value: unknown) => (typeof value === 'bigint' ? String(value) : value))
  connection.run('INSERT INTO trunkline_stream (name) VALUES (?) ON CONFLICT DO NOTHING', stream)
  connection.run(
    'UPDATE trunkline_stream SET limited = ?, truncate_before = ?, count_max = ?, age_max_ms = ?, metadata = ? WHERE name = ?',
    isLimited ? 1 : 0, truncateBefore === undefined ? null : inRange(truncateBefore), countMax ?? null, ageMaxMs === undefined ? null : Math.floor(ageMaxMs), json, stream,
  )
  const row = connection.row('SELECT id FROM trunkline_stream WHERE name = ?', stream)
  if (isLimited && row !== undefined) removeEnded(connection, integer(row, 'id'), nowMs, REMOVE_ONCE_MAX)
}

/** Removes what nobody can see any more from among the oldest of a stream. */
function removeEnded(connection: SqliteConnection, id: number, nowMs: number, most: number): void {
  connection.run(
    `DELETE FROM trunkline_event WHERE position IN (
      SELECT e.position FROM (SELECT position, stream, revision, stored_ms FROM trunkline_event WHERE stream = ? ORDER BY revision LIMIT ?) AS e
        JOIN trunkline_stream AS s ON s.id = e.stream WHERE NOT ${VISIBLE})`,
    id, most, nowMs,
  )
}

function inRange(value: bigint): bigint {
  return value > NUMBER_MAX ? NUMBER_MAX : value < -NUMBER_MAX ? -NUMBER_MAX : value
}

/** The part of a selection that streams within a transaction are read with. */
export function ofStream(stream: string): Selection {
  return { kind: 'stream', stream }
}
