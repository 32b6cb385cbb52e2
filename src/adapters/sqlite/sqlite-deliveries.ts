import type { DeadLetterRecord } from '../../bus/port.ts'
import type { SqliteTurn } from './sqlite-turn.ts'
import { bytes, integer, text, textOrNull } from './sqlite-connection.ts'
import type { SqliteConnection } from './sqlite-connection.ts'
import type { SqliteRow } from './sqlite-driver.ts'
import { messageFrom } from './sqlite-message.ts'
import type { WireMessage } from '../../core/envelope.ts'
import { BEHIND, CLAIMED, DEAD, READY } from './sqlite-schema.ts'

// What happens to the rows of messages and deliveries. In an ordered group only the oldest delivery of a
// key is ever READY or CLAIMED; the others are BEHIND, so that claiming never walks over a long backlog
// of one key, and settling looks up exactly one successor.

/** One delivery, by the message and the group. */
export interface SqlitePlace {
  readonly seq: number
  readonly groupId: number
}

/** A claimed row. */
export interface SqliteClaim extends SqlitePlace {
  readonly message: WireMessage
  /** Attempts that are known to have begun. */
  readonly begun: number
  readonly isSuspect: boolean
  readonly isRedriven: boolean
}

/** Stores a message for its groups. */
export function storeMessage(
  turn: SqliteTurn,
  groups: readonly { readonly id: number; readonly isOrdered: boolean }[],
  key: string | undefined,
  attributes: string,
  body: Uint8Array,
): void {
  const { connection } = turn
  const seq = connection.insert('INSERT INTO trunkline_message (attributes, body) VALUES (?, ?)', attributes, body)
  for (const group of groups) {
    const laneKey = group.isOrdered && key !== undefined ? key : null
    const isBehind =
      laneKey !== null &&
      connection.has(
        'SELECT 1 FROM trunkline_delivery INDEXED BY trunkline_delivery_key WHERE group_id = ? AND key = ? LIMIT 1',
        group.id, laneKey,
      )
    connection.run(
      'INSERT INTO trunkline_delivery (seq, group_id, state, key) VALUES (?, ?, ?, ?)',
      seq, group.id, isBehind ? BEHIND : READY, laneKey,
    )
    if (!isBehind) turn.groups.add(group.id)
  }
}

/** True where the group has something to claim now. */
export function hasReady(connection: SqliteConnection, groupId: number, nowMs: number): boolean {
  return connection.has(
    `SELECT 1 FROM trunkline_delivery INDEXED BY trunkline_delivery_ready WHERE state = ${READY} AND group_id = ? AND due_ms <= ? LIMIT 1`,
    groupId,
    nowMs,
  )
}

/** Wall-clock time at which the next delayed delivery of the group is due, or undefined. */
export function nextDueMs(connection: SqliteConnection, groupId: number, nowMs: number): number | undefined {
  const row = connection.row(
    `SELECT due_ms FROM trunkline_delivery INDEXED BY trunkline_delivery_ready
      WHERE state = ${READY} AND group_id = ? AND due_ms > ? ORDER BY due_ms LIMIT 1`,
    groupId,
    nowMs,
  )
  return row === undefined ? undefined : integer(row, 'due_ms')
}

const CLAIMABLE = `SELECT d.seq, d.begun, d.suspect, d.redriven, m.attributes, m.body
  FROM trunkline_delivery AS d INDEXED BY trunkline_delivery_ready JOIN trunkline_message AS m ON m.seq = d.seq
  WHERE d.state = ${READY} AND d.group_id = ?`

/** Claims up to `count` deliveries: at most `retriesMax` that were delayed and are due, the rest in order of acceptance. */
export function claim(
  connection: SqliteConnection,
  options: { readonly groupId: number; readonly owner: number; readonly nowMs: number; readonly count: number; readonly retriesMax: number },
): readonly SqliteClaim[] {
  const { groupId, owner, nowMs, count } = options
  const claims: SqliteClaim[] = []
  const take = (rows: readonly SqliteRow[]): void => {
    for (const row of rows) {
      const found = claimFrom(row, groupId)
      connection.run(`UPDATE trunkline_delivery SET state = ${CLAIMED}, owner = ? WHERE seq = ? AND group_id = ?`, owner, found.seq, groupId)
      claims.push(found)
    }
  }
  const takeDue = (most: number): void => {
    if (most > 0) take(connection.rows(`${CLAIMABLE} AND d.due_ms > 0 AND d.due_ms <= ? ORDER BY d.due_ms, d.seq LIMIT ?`, groupId, nowMs, most))
  }
  takeDue(options.retriesMax)
  if (claims.length < count) take(connection.rows(`${CLAIMABLE} AND d.due_ms = 0 ORDER BY d.seq LIMIT ?`, groupId, count - claims.length))
  takeDue(count - claims.length)
  return claims
}

function claimFrom(row: SqliteRow, groupId: number): SqliteClaim {
  const seq = integer(row, 'seq')
  return {
    seq,
    groupId,
    message: messageFrom(text(row, 'attributes'), bytes(row, 'body'), `sqlite-${seq}`),
    begun: integer(row, 'begun'),
    isSuspect: integer(row, 'suspect') === 1,
    isRedriven: integer(row, 'redriven') === 1,
  }
}

// Every settling statement names the owner: after its lease was lost, an instance changes nothing any more.
const OWNED = `WHERE seq = ? AND group_id = ? AND state = ${CLAIMED} AND owner = ?`

/** Records that an attempt begins. */
export function storeBegun(turn: SqliteTurn, place: SqlitePlace, owner: number, begun: number): void {
  turn.connection.run(`UPDATE trunkline_delivery SET begun = ?, suspect = 1 ${OWNED}`, begun, place.seq, place.groupId, owner)
}

/** The delivery is done; its message goes with the last one, and its key goes on. */
export function storeAck(turn: SqliteTurn, place: SqlitePlace, owner: number): void {
  const { connection } = turn
  const row = connection.row(`DELETE FROM trunkline_delivery ${OWNED} RETURNING key`, place.seq, place.groupId, owner)
  if (row === undefined) return
  forgetMessage(connection, place.seq)
  promote(turn, place.groupId, textOrNull(row, 'key'))
}

/** The delivery waits until `dueMs` (0: at once) with `begun` attempts behind it. It stays the first of its key. */
export function storeWaiting(
  turn: SqliteTurn,
  place: SqlitePlace,
  owner: number,
  next: { readonly begun: number; readonly dueMs: number; readonly isSuspect: boolean },
): void {
  const changes = turn.connection.run(
    `UPDATE trunkline_delivery SET state = ${READY}, owner = NULL, begun = ?, due_ms = ?, suspect = ? ${OWNED}`,
    next.begun, next.dueMs, next.isSuspect ? 1 : 0, place.seq, place.groupId, owner,
  )
  if (changes === 0) return
  turn.groups.add(place.groupId)
  // A delayed one needs nobody now: its own instance has a timer, and pulses cover for it.
  if (next.dueMs === 0) turn.wakesOthers = true
}

/** The delivery is given up. Its row stays, and with it the hold on its key. */
export function storeDeadLetter(turn: SqliteTurn, place: SqlitePlace, owner: number, type: string, record: DeadLetterRecord): void {
  const { connection } = turn
  const changes = connection.run(
    `UPDATE trunkline_delivery SET state = ${DEAD}, owner = NULL, due_ms = 0, suspect = 0, begun = ? ${OWNED}`,
    record.attempts, place.seq, place.groupId, owner,
  )
  if (changes === 0) return
  connection.run(
    'INSERT INTO trunkline_dead_letter (seq, group_id, type, reason, record) VALUES (?, ?, ?, ?, ?)',
    place.seq, place.groupId, type, record.reason, JSON.stringify(record),
  )
}

/**
 * Frees what an instance had claimed. Nobody knows whether its handlers had begun, so each is a suspect; its
 * count rises only where `begin` has recorded an attempt, so that what only waited beside a killer loses none.
 */
export function freeClaims(turn: SqliteTurn, owner: number): void {
  const groups = turn.connection.rows(
    `SELECT DISTINCT group_id FROM trunkline_delivery INDEXED BY trunkline_delivery_owner WHERE state = ${CLAIMED} AND owner = ?`,
    owner,
  )
  if (groups.length === 0) return
  for (const row of groups) turn.groups.add(integer(row, 'group_id'))
  turn.wakesOthers = true
  turn.connection.run(
    `UPDATE trunkline_delivery SET state = ${READY}, owner = NULL, due_ms = 0, suspect = 1
      WHERE state = ${CLAIMED} AND owner = ?`,
    owner,
  )
}

/** Brings due times forward after the wall clock went back, so that no retry waits for hours that were lived through already. */
export function shiftDueTimes(turn: SqliteTurn, nowMs: number, byMs: number): void {
  turn.connection.run(
    `UPDATE trunkline_delivery SET due_ms = max(1, due_ms - ?) WHERE state IN (${READY}, ${BEHIND}) AND due_ms > ?`,
    Math.ceil(byMs), nowMs,
  )
}

/** Removes a dead delivery for good. */
export function removeDead(turn: SqliteTurn, place: SqlitePlace): void {
  const { connection } = turn
  const row = connection.row(
    `DELETE FROM trunkline_delivery WHERE seq = ? AND group_id = ? AND state = ${DEAD} RETURNING key`,
    place.seq, place.groupId,
  )
  forgetMessage(connection, place.seq)
  promote(turn, place.groupId, row === undefined ? undefined : textOrNull(row, 'key'))
}

/** Lets a dead delivery begin anew. In an ordered group it is still the first of its key. */
export function reviveDead(turn: SqliteTurn, place: SqlitePlace): void {
  turn.connection.run(
    `UPDATE trunkline_delivery SET state = ${READY}, due_ms = 0, begun = 0, suspect = 0, redriven = 1
      WHERE seq = ? AND group_id = ? AND state = ${DEAD}`,
    place.seq, place.groupId,
  )
  turn.groups.add(place.groupId)
  turn.wakesOthers = true
}

function forgetMessage(connection: SqliteConnection, seq: number): void {
  connection.run('DELETE FROM trunkline_message WHERE seq = ? AND NOT EXISTS (SELECT 1 FROM trunkline_delivery WHERE seq = ?)', seq, seq)
}

/** Makes the oldest waiting delivery of the key the next one, in the transaction that settles the one before. */
function promote(turn: SqliteTurn, groupId: number, key: string | undefined): void {
  if (key === undefined) return
  const changes = turn.connection.run(
    `UPDATE trunkline_delivery SET state = ${READY} WHERE state = ${BEHIND} AND group_id = ? AND seq = (
      SELECT seq FROM trunkline_delivery INDEXED BY trunkline_delivery_key WHERE group_id = ? AND key = ? ORDER BY seq LIMIT 1)`,
    groupId, groupId, key,
  )
  if (changes === 0) return
  turn.groups.add(groupId)
  turn.wakesOthers = true
}
