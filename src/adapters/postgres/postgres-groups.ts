import type { Subscription } from '../../bus/port.ts'
import type { PgDatabase } from './postgres-database.ts'
import { storeError } from './postgres-errors.ts'
import type { PgStep } from './postgres-link.ts'
import { booleanAt, numberAt, PgStatement, textAt } from './postgres-rows.ts'
import type { PgSession } from './postgres-session.ts'
import type { PgTransportLocks } from './postgres-transport-locks.ts'
import type { PgRow } from './postgres-client.ts'

/** A subscription's place in its group. */
export interface PgMembership {
  readonly groupId: number
  readonly memberId: string
  readonly instanceId: string
  readonly isOrdered: boolean
}

interface Group {
  readonly id: number
  readonly isOrdered: boolean
}

/** Groups, the types that they want, and their members. */
export class PgGroups {
  readonly #database: PgDatabase
  readonly #locks: PgTransportLocks
  readonly #find: PgStatement
  readonly #make: PgStatement
  readonly #setOrder: PgStatement
  readonly #order: PgStatement
  readonly #unorder: PgStatement
  readonly #holdBehind: PgStatement
  readonly #route: PgStatement
  readonly #enter: PgStatement
  readonly #forget: PgStatement

  constructor(database: PgDatabase, locks: PgTransportLocks) {
    const { schema } = database
    this.#database = database
    this.#locks = locks
    this.#find = new PgStatement(`SELECT id, is_ordered FROM ${schema}.bus_group WHERE kind = $1 AND name = $2`)
    this.#make = new PgStatement(
      `INSERT INTO ${schema}.bus_group (kind, name, is_ordered) VALUES ($1, $2, $3)
        ON CONFLICT (kind, name) DO UPDATE SET name = excluded.name RETURNING id, is_ordered`,
    )
    this.#setOrder = new PgStatement(`UPDATE ${schema}.bus_group SET is_ordered = $2 WHERE id = $1`)
    // Dead letters of the time before do not begin to hold their keys.
    this.#order = new PgStatement(`UPDATE ${schema}.bus_delivery SET is_ordered = true WHERE group_id = $1 AND state <> 3`)
    this.#unorder = new PgStatement(
      `UPDATE ${schema}.bus_delivery SET is_ordered = false, state = CASE state WHEN 2 THEN 0 ELSE state END WHERE group_id = $1`,
    )
    this.#holdBehind = new PgStatement(
      `UPDATE ${schema}.bus_delivery d SET state = 2 WHERE d.group_id = $1 AND d.state = 0 AND d.is_ordered AND d.lane IS NOT NULL AND EXISTS (
        SELECT FROM ${schema}.bus_delivery e WHERE e.group_id = d.group_id AND e.lane = d.lane AND e.is_ordered AND e.seq < d.seq)`,
    )
    this.#route = new PgStatement(
      `INSERT INTO ${schema}.bus_route (kind, type, group_id) SELECT $1, t, $3 FROM unnest($2::text[]) AS t ORDER BY t ON CONFLICT DO NOTHING`,
    )
    this.#enter = new PgStatement(`INSERT INTO ${schema}.bus_member (group_id, instance_id) VALUES ($1, $2) RETURNING id`)
    // While an instance of another release is a member, its types stay: what was accepted for it is kept.
    this.#forget = new PgStatement(
      `DELETE FROM ${schema}.bus_route WHERE group_id = $1 AND type <> ALL($2::text[])
        AND NOT EXISTS (SELECT FROM ${schema}.bus_member WHERE group_id = $1 AND instance_id <> $3)`,
    )
  }

  /**
   * Makes the group with its types and its order, and enters the instance as a member. When it resolves, everything that is
   * published is kept for the group.
   *
   * @throws `store.*`; `store.refused` where the instance was put out meanwhile.
   */
  async join({ kind, group, types, order }: Subscription, instanceId: string): Promise<PgMembership> {
    const session = await this.#database.session()
    let isClean = false
    try {
      await session.runText(this.#database.beginText)
      await run(session, this.#locks.join)
      const found = await this.#ordered(session, kind, group, order === 'key')
      await session.run(this.#route, [kind, types, found.id])
      const memberId = textAt(first(await session.run(this.#enter, [found.id, instanceId])), 'id')
      if (kind === 'event') await session.run(this.#forget, [found.id, types, instanceId])
      await session.runText('COMMIT')
      isClean = true
      return { groupId: found.id, memberId, instanceId, isOrdered: found.isOrdered }
    } catch (thrown) {
      const error = storeError(thrown)
      this.#database.failed(error)
      throw error
    } finally {
      session.end(isClean)
    }
  }

  /** The group as it is wanted; order is a property of the group, so that the last one to say something about it is heard. */
  async #ordered(session: PgSession, kind: 'event' | 'command', name: string, isOrdered: boolean): Promise<Group> {
    const [row] = await session.run(this.#find, [kind, name])
    const group = groupFrom(row ?? first(await session.run(this.#make, [kind, name, isOrdered])))
    if (group.isOrdered !== isOrdered) {
      // Nobody stores or settles ordered deliveries now, and what they did before is visible to the next statement.
      await run(session, this.#locks.reorder)
      await session.run(this.#setOrder, [group.id, isOrdered])
      await session.run(isOrdered ? this.#order : this.#unorder, [group.id])
      if (isOrdered) await session.run(this.#holdBehind, [group.id])
    }
    return { id: group.id, isOrdered }
  }
}

function run(session: PgSession, { statement, values }: PgStep): Promise<readonly PgRow[]> {
  return session.run(statement, values)
}

function groupFrom(row: PgRow): Group {
  return { id: numberAt(row, 'id'), isOrdered: booleanAt(row, 'is_ordered') }
}

function first(rows: readonly PgRow[]): PgRow {
  const [row] = rows
  if (row === undefined) throw storeError(new TypeError('a statement that gives a row gave none'))
  return row
}
