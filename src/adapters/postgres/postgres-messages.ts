import type { Outbound } from '../../bus/port.ts'
import { TrunklineError } from '../../core/errors.ts'
import { arrayOf } from './postgres-deliveries.ts'
import { PgLanes } from './postgres-lanes.ts'
import type { PgStep } from './postgres-link.ts'
import { packed, type PgRecord, recordOf } from './postgres-record.ts'
import { booleanAt, numberAt, PgStatement, textAt } from './postgres-rows.ts'
import type { PgExecutor } from './postgres-session.ts'
import type { PgTransportLocks } from './postgres-transport-locks.ts'
import type { PgRow } from './postgres-client.ts'

/** A message on its way into the tables. */
export interface PgOutgoing {
  readonly outbound: Outbound
  readonly record: PgRecord
}

/** What became of messages that were stored; tell it to the transport once it is committed. */
export interface PgStored {
  /** Groups that have something to claim now, and whether other instances are in them. */
  readonly groups: ReadonlyMap<number, boolean>
  /** Messages of types that some instance listens to without durability. */
  readonly heard: readonly Outbound[]
  /** Number of the transaction; empty where nobody has to ask what became of it. */
  readonly transaction: string
}

/** What one statement stored. */
export interface PgWritten extends PgStored {
  /** False where a group is ordered and the locks of the keys were not held: then nothing was stored. */
  readonly isWritten: boolean
  /** Commands whose group does not exist yet: they were not stored. */
  readonly homeless: readonly PgOutgoing[]
}

/** Prepares a message. */
export function outgoing(outbound: Outbound): PgOutgoing {
  return { outbound, record: recordOf(outbound.message) }
}

/**
 * Stores messages in the tables of one schema: for every group that wants them, one row each, in the order given.
 *
 * Deliveries of one key get their numbers in commit order in ordered groups, because the key is locked from before the number is
 * given until the commit (P-01, P-14). Which types such groups want is remembered, so that others need no locks; the statement
 * itself makes sure and stores nothing where that is out of date.
 */
export class PgMessages {
  readonly #locks: PgTransportLocks
  readonly #lanes = new PgLanes()
  readonly #orderedTypes = new Set<string>()
  /** Groups with other instances that got the last message of a type. */
  readonly #awaited = new Map<string, readonly number[]>()
  readonly #insert: PgStatement
  readonly #makeGroups: PgStatement

  /** @param schema quoted. */
  constructor(schema: string, locks: PgTransportLocks) {
    this.#locks = locks
    this.#insert = new PgStatement(insertText(schema))
    this.#makeGroups = new PgStatement(groupsText(schema))
  }

  /** True where the messages need the locks of their keys, as far as is known. */
  needsLocks(messages: readonly PgOutgoing[]): boolean {
    return this.#orderedTypes.size > 0 && messages.some(({ outbound }) => outbound.message.key !== undefined && this.#orderedTypes.has(typeName(outbound)))
  }

  /** Groups that other instances wait in for these messages, as far as is known before they are stored. */
  awaited(messages: readonly PgOutgoing[]): readonly number[] {
    const type = onlyType(messages)
    return type === undefined ? [] : this.#awaited.get(type) ?? []
  }

  /** The locks of the messages' keys. */
  lockStep(messages: readonly PgOutgoing[]): PgStep {
    return this.#locks.store(keysOf(messages))
  }

  /** @param isLocked the locks of `lockStep` are held. */
  insertStep(messages: readonly PgOutgoing[], isLocked: boolean, instanceId: string | undefined): PgStep {
    const types = new Map<string, number>()
    const places: number[] = []
    const [offsets, lengths, lanes]: [number[], number[], string[]] = [[], [], []]
    let at = 1
    for (const { outbound, record } of messages) {
      const name = typeName(outbound)
      let place = types.get(name)
      if (place === undefined) types.set(name, (place = types.size + 1))
      places.push(place)
      offsets.push(at)
      lengths.push(record.bytes)
      lanes.push(outbound.message.key === undefined ? 'NULL' : this.#lanes.of(outbound.message.key))
      at += record.bytes
    }
    const names = [...types.keys()].map(splitName)
    return {
      statement: this.#insert,
      values: [
        packed(messages.map(({ record }) => record)), `{${offsets.join(',')}}`, `{${lengths.join(',')}}`, `{${places.join(',')}}`, arrayOf(lanes),
        names.map(({ kind }) => kind), names.map(({ type }) => type), isLocked, instanceId ?? null,
      ],
    }
  }

  /** Makes the groups of commands that nobody has handled yet. */
  groupsStep(messages: readonly PgOutgoing[]): PgStep {
    return { statement: this.#makeGroups, values: [[...new Set(messages.map(({ outbound }) => plain(outbound.message.type)))]] }
  }

  /** Reads the answer of `insertStep`. */
  writtenFrom(messages: readonly PgOutgoing[], rows: readonly PgRow[]): PgWritten {
    const groups = new Map<number, boolean>()
    const heardTypes = new Set<string>()
    const homelessTypes = new Set<string>()
    let isWritten = true
    for (const row of rows) {
      const what = textAt(row, 'what')
      if (what === 'ready') groups.set(numberAt(row, 'group_id'), booleanAt(row, 'is_foreign'))
      else if (what === 'heard') heardTypes.add(textAt(row, 'type'))
      else if (what === 'homeless') homelessTypes.add(textAt(row, 'type'))
      else {
        isWritten = false
        this.#orderedTypes.add(`${textAt(row, 'kind')} ${textAt(row, 'type')}`)
      }
    }
    if (!isWritten) return { isWritten, groups: new Map(), heard: [], homeless: [], transaction: '' }
    const type = onlyType(messages)
    if (type !== undefined) this.#learn(type, groups)
    return {
      isWritten,
      transaction: '',
      groups,
      heard: heardTypes.size === 0 ? [] : messages.flatMap(({ outbound }) => (outbound.kind === 'event' && heardTypes.has(plain(outbound.message.type)) ? [outbound] : [])),
      homeless: homelessTypes.size === 0 ? [] : messages.filter(({ outbound }) => outbound.kind === 'command' && homelessTypes.has(plain(outbound.message.type))),
    }
  }

  #learn(type: string, groups: ReadonlyMap<number, boolean>): void {
    const foreign = [...groups].flatMap(([group, isForeign]) => (isForeign ? [group] : []))
    if (foreign.length === 0) this.#awaited.delete(type)
    else this.#awaited.set(type, foreign)
  }

  /**
   * Stores messages within a transaction of the caller's, as its last statements: the locks of the keys are held until it ends.
   *
   * @throws `store.*`.
   */
  async insert(executor: PgExecutor, outbounds: readonly Outbound[], instanceId: string | undefined): Promise<PgStored> {
    const messages = outbounds.map(outgoing)
    const groups = new Map<number, boolean>()
    const heard: Outbound[] = []
    let isLocked = this.needsLocks(messages)
    let left: readonly PgOutgoing[] = messages
    for (let round = 0; left.length > 0; round++) {
      if (round > ROUNDS_MAX) throw new TrunklineError('core.invariant_broken', { expected: 'groups that stay once they were made' })
      if (isLocked) await runStep(executor, this.lockStep(messages))
      const step = this.insertStep(left, isLocked, instanceId)
      const written = this.writtenFrom(left, await runStep(executor, step))
      if (!written.isWritten) {
        isLocked = true
        continue
      }
      for (const [group, isForeign] of written.groups) groups.set(group, isForeign)
      heard.push(...written.heard)
      left = written.homeless
      if (left.length > 0) await runStep(executor, this.groupsStep(left))
    }
    const [row] = heard.length === 0 ? [] : await executor.run(TRANSACTION, [])
    return { groups, heard, transaction: row === undefined ? '' : textAt(row, 'transaction') }
  }

  /** What became of a transaction: `committed`, `aborted`, `in progress`. */
  committedStep(transaction: string): PgStep {
    return { statement: STATUS, values: [transaction] }
  }
}

const TRANSACTION = new PgStatement('SELECT txid_current()::text AS transaction')
const STATUS = new PgStatement('SELECT txid_status($1::bigint) AS status')

/** More than once locked and once homeless. */
const ROUNDS_MAX = 5

function runStep(executor: PgExecutor, { statement, values }: PgStep): Promise<readonly PgRow[]> {
  return executor.run(statement, values)
}

/** The type of the messages, where it is one. */
function onlyType(messages: readonly PgOutgoing[]): string | undefined {
  const [first] = messages
  if (first === undefined) return undefined
  const { kind, message } = first.outbound
  const isOne = messages.every(({ outbound }) => outbound.message.type === message.type && outbound.kind === kind)
  return isOne ? typeName(first.outbound) : undefined
}

function keysOf(messages: readonly PgOutgoing[]): readonly string[] {
  return messages.flatMap(({ outbound }) => outbound.message.key ?? [])
}

function typeName({ kind, message }: Outbound): string {
  return `${kind} ${plain(message.type)}`
}

function splitName(name: string): { readonly kind: string; readonly type: string } {
  const blank = name.indexOf(' ')
  return { kind: name.slice(0, blank), type: name.slice(blank + 1) }
}

/** A type that a text column takes; none of a contract holds such a character. */
function plain(type: string): string {
  return type.includes('\0') ? type.replaceAll('\0', '\uFFFD') : type
}

function insertText(schema: string): string {
  return `
    WITH type AS MATERIALIZED (
      SELECT t.kind, t.type, t.place::integer AS place FROM unnest($6::text[], $7::text[]) WITH ORDINALITY AS t (kind, type, place)
    ),
    target AS MATERIALIZED (
      SELECT type.place, g.id AS group_id, g.is_ordered, type.kind, type.type
      FROM type JOIN ${schema}.bus_route r ON r.kind = type.kind AND r.type = type.type JOIN ${schema}.bus_group g ON g.id = r.group_id
    ),
    item AS MATERIALIZED (
      SELECT i.* FROM unnest($2::integer[], $3::integer[], $4::integer[], $5::bigint[]) WITH ORDINALITY AS i (start, length, place, lane, n)
    ),
    unlocked AS MATERIALIZED (
      SELECT DISTINCT target.kind, target.type FROM target JOIN item USING (place) WHERE target.is_ordered AND item.lane IS NOT NULL AND NOT $8::boolean
    ),
    copy AS (
      SELECT item.n, item.lane, item.start, item.length, target.group_id, target.is_ordered,
        target.is_ordered AND item.lane IS NOT NULL AND (
          row_number() OVER (PARTITION BY target.group_id, item.lane ORDER BY item.n) > 1 OR EXISTS (
            SELECT FROM ${schema}.bus_delivery e WHERE e.group_id = target.group_id AND e.lane = item.lane AND e.is_ordered
          )
        ) AS is_behind
      FROM item JOIN target USING (place) WHERE NOT EXISTS (SELECT FROM unlocked) ORDER BY item.n, target.group_id
    ),
    stored AS (
      INSERT INTO ${schema}.bus_delivery (lane, group_id, is_ordered, state, message)
      SELECT lane, group_id, is_ordered, CASE WHEN is_behind THEN 2 ELSE 0 END, substring($1::bytea FROM start FOR length) FROM copy
      RETURNING group_id, state
    )
    SELECT 'ready' AS what, NULL AS kind, NULL AS type, s.group_id,
      EXISTS (SELECT FROM ${schema}.bus_member m WHERE m.group_id = s.group_id AND m.instance_id IS DISTINCT FROM $9::bigint) AS is_foreign
    FROM (SELECT DISTINCT group_id FROM stored WHERE state = 0) s
    UNION ALL SELECT 'unlocked', kind, type, NULL, false FROM unlocked
    UNION ALL SELECT 'heard', kind, type, NULL, false FROM type
      WHERE kind = 'event' AND EXISTS (SELECT FROM ${schema}.bus_listener l WHERE l.kind = 'broadcast' AND l.type = type.type)
    UNION ALL SELECT 'homeless', kind, type, NULL, false FROM type
      WHERE kind = 'command' AND NOT EXISTS (SELECT FROM target WHERE target.place = type.place)`
}

function groupsText(schema: string): string {
  return `
    WITH made AS (
      INSERT INTO ${schema}.bus_group (kind, name, is_ordered) SELECT 'command', t, false FROM unnest($1::text[]) AS t ORDER BY t
      ON CONFLICT (kind, name) DO UPDATE SET name = excluded.name RETURNING id, name
    )
    INSERT INTO ${schema}.bus_route (kind, type, group_id) SELECT 'command', name, id FROM made ON CONFLICT DO NOTHING`
}
