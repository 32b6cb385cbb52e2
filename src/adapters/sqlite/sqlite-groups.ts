import type { Subscription } from '../../bus/port.ts'
import type { SqliteRoute, SqliteTurn } from './sqlite-turn.ts'
import { integer, text } from './sqlite-connection.ts'
import type { SqliteConnection } from './sqlite-connection.ts'
import { KEY_PLACE } from './sqlite-message.ts'
import { BEHIND, DEAD, READY } from './sqlite-schema.ts'

/** A group that exists in the file. */
export interface SqliteGroup {
  readonly id: number
  readonly isOrdered: boolean
}

/** Makes the group with its types and its order, and enters the instance as a member. */
export function joinGroup(turn: SqliteTurn, subscription: Subscription, address: string): number {
  const { connection } = turn
  turn.routes.clear()
  const group = ensureGroup(connection, subscription.kind, subscription.group, subscription.order === 'key')
  if (group.isOrdered !== (subscription.order === 'key')) changeOrder(connection, group.id, subscription.order === 'key')
  connection.run('INSERT OR IGNORE INTO trunkline_member VALUES (?, ?)', group.id, address)
  if (subscription.kind === 'command') return group.id
  for (const type of subscription.types) connection.run('INSERT OR IGNORE INTO trunkline_route VALUES (?, ?)', type, group.id)
  // While an instance of another release is a member, its types stay: what was accepted for it is kept.
  if (!connection.has('SELECT 1 FROM trunkline_member WHERE group_id = ? AND address <> ?', group.id, address)) {
    for (const row of connection.rows('SELECT type FROM trunkline_route WHERE group_id = ?', group.id)) {
      const type = text(row, 'type')
      if (!subscription.types.includes(type)) connection.run('DELETE FROM trunkline_route WHERE type = ? AND group_id = ?', type, group.id)
    }
  }
  return group.id
}

/** Ends the membership of an instance; the group and what waits in it stay. */
export function leaveGroup(connection: SqliteConnection, groupId: number, address: string): void {
  connection.run('DELETE FROM trunkline_member WHERE group_id = ? AND address = ?', groupId, address)
}

function ensureGroup(connection: SqliteConnection, kind: 'event' | 'command', name: string, isOrdered: boolean): SqliteGroup {
  const row = connection.row('SELECT id, ordered FROM trunkline_group WHERE kind = ? AND name = ?', kind, name)
  if (row !== undefined) return { id: integer(row, 'id'), isOrdered: integer(row, 'ordered') === 1 }
  const id = connection.insert('INSERT INTO trunkline_group (kind, name, ordered) VALUES (?, ?, ?)', kind, name, isOrdered ? 1 : 0)
  return { id, isOrdered }
}

/**
 * Turns a group with all that waits in it into an ordered one, or back. The order is a property of the
 * group: instances that still ask for the other one keep to it as well.
 */
function changeOrder(connection: SqliteConnection, id: number, isOrdered: boolean): void {
  connection.run('UPDATE trunkline_group SET ordered = ? WHERE id = ?', isOrdered ? 1 : 0, id)
  if (!isOrdered) {
    connection.run(`UPDATE trunkline_delivery SET key = NULL, state = CASE state WHEN ${BEHIND} THEN ${READY} ELSE state END WHERE group_id = ?`, id)
    return
  }
  // Dead letters of the time before do not begin to hold their keys.
  connection.run(
    `UPDATE trunkline_delivery SET key = (SELECT json_extract(attributes, '$[${KEY_PLACE}]') FROM trunkline_message
      WHERE trunkline_message.seq = trunkline_delivery.seq) WHERE group_id = ? AND state <> ${DEAD}`,
    id,
  )
  connection.run(
    `UPDATE trunkline_delivery SET state = ${BEHIND} WHERE group_id = ? AND state = ${READY} AND key IS NOT NULL AND EXISTS (
      SELECT 1 FROM trunkline_delivery AS earlier WHERE earlier.group_id = trunkline_delivery.group_id
        AND earlier.key = trunkline_delivery.key AND earlier.seq < trunkline_delivery.seq)`,
    id,
  )
}

/** Who gets an event or command of a type, as of this transaction. A command's group is made when it is missing. */
export function routeOf(turn: SqliteTurn, kind: 'event' | 'command', type: string): SqliteRoute {
  const name = `${kind} ${type}`
  let route = turn.routes.get(name)
  if (route === undefined) {
    route = kind === 'command' ? { groups: [ensureGroup(turn.connection, kind, type, false)], listeners: [] } : eventRoute(turn.connection, type)
    turn.routes.set(name, route)
  }
  return route
}

function eventRoute(connection: SqliteConnection, type: string): SqliteRoute {
  const groups = connection.rows(
    'SELECT g.id, g.ordered FROM trunkline_route AS r JOIN trunkline_group AS g ON g.id = r.group_id WHERE r.type = ?',
    type,
  )
  return {
    groups: groups.map((row) => ({ id: integer(row, 'id'), isOrdered: integer(row, 'ordered') === 1 })),
    listeners: listenersOf(connection, type, 'broadcast'),
  }
}

/** Addresses of the instances that take a type on the light plane. */
export function listenersOf(connection: SqliteConnection, type: string, kind: 'broadcast' | 'request'): readonly string[] {
  return connection.rows('SELECT address FROM trunkline_listener WHERE type = ? AND kind = ?', type, kind).map((row) => text(row, 'address'))
}
