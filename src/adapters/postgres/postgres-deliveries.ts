import type { WireMessage } from '../../core/envelope.ts'
import type { PgRow } from './postgres-client.ts'
import type { PgStep } from './postgres-link.ts'
import { messageOf } from './postgres-record.ts'
import { booleanAt, bytesAt, numberAt, optionalNumberAt, PgStatement, textAt } from './postgres-rows.ts'

// What happens to the rows of deliveries. A delivery is READY (0), BEHIND (2) an older one of its key, or DEAD (3). In an ordered
// group only the oldest delivery of a key is ever READY, so that claiming never walks over a long backlog of one key. Whether a READY
// delivery is with an instance tells no column of its row but the windows of the group's members.

/** A claimed row. */
export interface PgClaim {
  /** Number of the delivery, as text: it may be beyond a double. */
  readonly seq: string
  readonly message: WireMessage
  /** Attempts that are known to have begun. */
  readonly begun: number
  readonly isSuspect: boolean
  readonly isRedriven: boolean
  /** Claimed from an ordered group: others of its key wait behind it. */
  readonly isOrdered: boolean
}

/** What a claim found. */
export interface PgClaimed {
  readonly claims: readonly PgClaim[]
  /** False where this instance was put out, or the membership ended: then nothing was claimed. */
  readonly isMember: boolean
  /** Time until the next delayed delivery of the group is due, or undefined. */
  readonly nextDueMs: number | undefined
}

/** What to claim. */
export interface PgClaimOrder {
  readonly instanceId: string
  readonly leaseMs: number
  readonly groupId: number
  readonly memberId: string
  /** Deliveries that the member has already. */
  readonly held: Iterable<string>
  readonly count: number
  /** At most so many that were delayed and are due. */
  readonly retriesMax: number
}

/** A delivery that is not acknowledged. */
export interface PgReturn {
  readonly seq: string
  /** `wait`: again after `delayMs`, at once where that is undefined. `dead`: given up. `begin`: its attempt begins; it stays. */
  readonly kind: 'wait' | 'dead' | 'begin'
  readonly begun: number
  readonly delayMs: number | undefined
  readonly isSuspect: boolean
  readonly letter: { readonly type: string; readonly reason: string; readonly record: string } | undefined
}

/** What settling did. */
export interface PgSettled {
  /** False where this instance was put out: then nothing was changed. */
  readonly isInstance: boolean
  /** Groups that have something to claim now, and whether other instances are in them. */
  readonly groups: ReadonlyMap<number, boolean>
  /** True where a key has to be looked at again: its group became ordered meanwhile. */
  readonly needsRepair: boolean
}

const ACK = 'd.seq = ANY($2::bigint[]) AND d.state = 0'

/** The statements about deliveries for one schema. */
export class PgDeliveries {
  readonly #claim: PgStatement
  readonly #ack: PgStatement
  readonly #ackOrdered: PgStatement
  readonly #return: PgStatement
  readonly #repair: PgStatement
  readonly #putOut: PgStatement
  readonly #lockExpired: PgStatement
  readonly #leave: PgStatement
  readonly #restore: PgStatement

  /** @param schema quoted. */
  constructor(schema: string) {
    this.#claim = new PgStatement(claimText(schema))
    this.#ack = new PgStatement(ackText(schema))
    this.#ackOrdered = new PgStatement(ackOrderedText(schema))
    this.#return = new PgStatement(returnText(schema))
    this.#repair = new PgStatement(repairText(schema))
    this.#putOut = new PgStatement(putOutText(schema))
    this.#lockExpired = new PgStatement(
      `SELECT id FROM ${schema}.bus_instance WHERE id = $1 OR (until < statement_timestamp() AND $1::bigint IS NULL) FOR UPDATE SKIP LOCKED`,
    )
    this.#restore = new PgStatement(`UPDATE ${schema}.bus_member SET seqs = $2::bigint[] WHERE id = $1`)
    this.#leave = new PgStatement(`DELETE FROM ${schema}.bus_member WHERE id = $1`)
  }

  /** Claims; under the group's claim lock. */
  claim(order: PgClaimOrder): PgStep {
    const { instanceId, groupId, memberId, held, count, retriesMax, leaseMs } = order
    return { statement: this.#claim, values: [instanceId, groupId, memberId, retriesMax, count, arrayOf(held), leaseMs] }
  }

  /** Deliveries are done. */
  ack(instanceId: string, seqs: readonly string[]): PgStep {
    return { statement: this.#ack, values: [instanceId, arrayOf(seqs)] }
  }

  /** The same in ordered groups, under the locks of their keys: the next delivery of each key becomes READY. */
  ackOrdered(instanceId: string, seqs: readonly string[]): PgStep {
    return { statement: this.#ackOrdered, values: [instanceId, arrayOf(seqs)] }
  }

  /** Deliveries wait for another attempt, or are given up. Only what is still in a window of this instance changes. */
  giveBack(instanceId: string, returns: readonly PgReturn[]): PgStep {
    const letters = returns.map(({ letter }) => letter)
    return {
      statement: this.#return,
      values: [
        instanceId, arrayOf(returns.map(({ seq }) => seq)), returns.map(({ kind }) => kind), returns.map(({ begun }) => begun),
        returns.map(({ delayMs }) => delayMs ?? null), returns.map(({ isSuspect }) => isSuspect),
        letters.map((letter) => (letter === undefined ? null : plain(letter.type))), letters.map((letter) => letter?.reason ?? null),
        letters.map((letter) => letter?.record ?? null),
      ],
    }
  }

  /** Makes the oldest delivery of each key READY, wherever it is BEHIND nothing; under the locks of the keys. */
  repair(groupIds: readonly number[]): PgStep {
    return { statement: this.#repair, values: [groupIds] }
  }

  /** Puts instances out whose lease is over, or one of them: what they had claimed is READY again and suspect. Two steps of one transaction (P-06). */
  putOut(instanceId: string | undefined): readonly PgStep[] {
    const values = [instanceId ?? null]
    return [{ statement: this.#lockExpired, values }, { statement: this.#putOut, values }]
  }

  /** Writes a window again that a crash of the server may have forgotten. */
  restore(memberId: string, held: Iterable<string>): PgStep {
    return { statement: this.#restore, values: [memberId, arrayOf(held)] }
  }

  /** Ends a membership. */
  leave(memberId: string): PgStep {
    return { statement: this.#leave, values: [memberId] }
  }
}

/** Reads the answer of `claim`. */
export function claimedFrom(rows: readonly PgRow[]): PgClaimed {
  const [first] = rows
  const isMember = first !== undefined && (first['seq'] === null || numberAt(first, 'held') > 0) && numberAt(first, 'fenced') > 0
  const claims = isMember ? rows.filter((row) => row['seq'] !== null).map(claimFrom) : []
  return { claims, isMember, nextDueMs: first === undefined ? undefined : optionalNumberAt(first, 'next_ms') }
}

function claimFrom(row: PgRow): PgClaim {
  const seq = textAt(row, 'seq')
  return {
    seq,
    message: messageOf(bytesAt(row, 'message'), `postgres-${seq}`),
    begun: numberAt(row, 'begun'),
    isSuspect: booleanAt(row, 'is_suspect'),
    isRedriven: booleanAt(row, 'is_redriven'),
    isOrdered: booleanAt(row, 'is_ordered'),
  }
}

/** Reads the answers of `ack`, `ackOrdered` and `giveBack`. */
export function settledFrom(answers: readonly (readonly PgRow[])[]): PgSettled {
  const groups = new Map<number, boolean>()
  let isInstance = true
  let needsRepair = false
  for (const row of answers.flat()) {
    if (numberAt(row, 'fenced') === 0) isInstance = false
    if (row['repair'] === true) needsRepair = true
    if (row['group_id'] !== null) groups.set(numberAt(row, 'group_id'), booleanAt(row, 'is_foreign'))
  }
  return { isInstance, groups, needsRepair }
}

/** An array of numbers as PostgreSQL reads it: written by hand, because the client's own way costs ten times as much. */
export function arrayOf(numbers: Iterable<string>): string {
  return `{${[...numbers].join(',')}}`
}

/** A text that a text column takes (P-23). */
function plain(text: string): string {
  return text.replaceAll('\0', '\uFFFD')
}

// An instance that was put out has no row any more: locking it is the fence that stops what a paused process does later (P-15).
const fence = (schema: string): string => `fence AS MATERIALIZED (SELECT id FROM ${schema}.bus_instance WHERE id = $1 FOR KEY SHARE)`

const foreign = (schema: string): string =>
  `EXISTS (SELECT FROM ${schema}.bus_member m WHERE m.group_id = g.group_id AND m.instance_id <> $1) AS is_foreign`

function claimText(schema: string): string {
  const columns = 'd.seq, d.begun, d.is_suspect, d.is_redriven, d.is_ordered, d.message'
  const free = `FROM ${schema}.bus_delivery d WHERE d.group_id = $2 AND d.state = 0 AND d.seq NOT IN (SELECT seq FROM busy)`
  // An idle instance has a long lease; it becomes short with the first claim, so that a death is noticed soon.
  return `
    WITH ${fence(schema)},
    busy AS MATERIALIZED (SELECT unnest(seqs) AS seq FROM ${schema}.bus_member WHERE group_id = $2 UNION ALL SELECT unnest($6::bigint[])),
    late AS (SELECT ${columns} ${free} AND d.due > '-infinity' AND d.due <= statement_timestamp() ORDER BY d.due, d.seq LIMIT $4::integer),
    fresh AS (SELECT ${columns} ${free} AND d.due = '-infinity' ORDER BY d.seq LIMIT $5::integer),
    picked AS MATERIALIZED (SELECT * FROM late UNION ALL SELECT * FROM fresh LIMIT $5::integer),
    held AS (
      UPDATE ${schema}.bus_member SET seqs = $6::bigint[] || ARRAY(SELECT seq FROM picked)
      FROM fence WHERE bus_member.id = $3 AND EXISTS (SELECT FROM picked) RETURNING bus_member.id
    ),
    busied AS (
      UPDATE ${schema}.bus_instance SET until = clock_timestamp() + $7::float8 * interval '1 ms'
      WHERE id = $1 AND until > clock_timestamp() + $7::float8 * interval '1.1 ms' AND EXISTS (SELECT FROM picked)
    )
    SELECT s.*, p.* FROM (
      SELECT (SELECT count(*) FROM fence)::integer AS fenced, (SELECT count(*) FROM held)::integer AS held,
        (SELECT extract(epoch FROM d.due - statement_timestamp()) * 1000 FROM ${schema}.bus_delivery d
          WHERE d.group_id = $2 AND d.state = 0 AND d.due > statement_timestamp() ORDER BY d.due LIMIT 1)::float8 AS next_ms
    ) s LEFT JOIN picked p ON true`
}

function ackText(schema: string): string {
  return `
    WITH ${fence(schema)},
    gone AS (DELETE FROM ${schema}.bus_delivery d USING fence WHERE ${ACK} RETURNING d.is_ordered AND d.lane IS NOT NULL AS has_others)
    SELECT (SELECT count(*) FROM fence)::integer AS fenced, NULL::integer AS group_id, false AS is_foreign,
      coalesce((SELECT bool_or(has_others) FROM gone), false) AS repair`
}

function ackOrderedText(schema: string): string {
  return `
    WITH ${fence(schema)},
    gone AS (DELETE FROM ${schema}.bus_delivery d USING fence WHERE ${ACK} RETURNING d.seq, d.group_id, CASE WHEN d.is_ordered THEN d.lane END AS lane),
    ${promotedText(schema)}
    SELECT f.fenced, g.group_id, false AS repair, ${foreign(schema)}
    FROM (SELECT count(*)::integer AS fenced FROM fence) f LEFT JOIN (SELECT DISTINCT group_id FROM promoted) g ON true`
}

/** What stands first behind each row of `gone`, with `seq`, `group_id` and the `lane` that it was first of, becomes READY. */
export function promotedText(schema: string): string {
  return `promoted AS (
      UPDATE ${schema}.bus_delivery d SET state = 0
      FROM gone CROSS JOIN LATERAL (
        SELECT b.seq FROM ${schema}.bus_delivery b
        WHERE b.group_id = gone.group_id AND b.lane = gone.lane AND b.is_ordered AND b.seq > gone.seq ORDER BY b.seq LIMIT 1
      ) n
      WHERE d.seq = n.seq AND d.state = 2 RETURNING d.group_id
    )`
}

function returnText(schema: string): string {
  return `
    WITH ${fence(schema)},
    item AS MATERIALIZED (
      SELECT i.* FROM unnest($2::bigint[], $3::text[], $4::integer[], $5::float8[], $6::boolean[], $7::text[], $8::text[], $9::text[])
        AS i (seq, kind, begun, delay_ms, is_suspect, type, reason, record)
      WHERE i.seq IN (SELECT unnest(m.seqs) FROM ${schema}.bus_member m JOIN fence ON m.instance_id = fence.id)
    ),
    changed AS (
      UPDATE ${schema}.bus_delivery d SET
        begun = i.begun, is_suspect = i.is_suspect, state = CASE i.kind WHEN 'dead' THEN 3 ELSE 0 END,
        due = CASE WHEN i.kind <> 'wait' OR i.delay_ms IS NULL THEN '-infinity' ELSE clock_timestamp() + i.delay_ms * interval '1 ms' END
      FROM item i WHERE d.seq = i.seq AND d.state = 0 RETURNING d.seq, d.group_id, i.kind, i.delay_ms
    ),
    windows AS (
      UPDATE ${schema}.bus_member m SET seqs = ARRAY(SELECT s FROM unnest(m.seqs) AS s WHERE s NOT IN (SELECT seq FROM item WHERE kind <> 'begin'))
      FROM fence WHERE m.instance_id = fence.id AND m.seqs && ARRAY(SELECT seq FROM item WHERE kind <> 'begin')
    ),
    letters AS (
      INSERT INTO ${schema}.bus_dead_letter (seq, group_id, type, reason, record)
      SELECT c.seq, c.group_id, i.type, i.reason, i.record FROM changed c JOIN item i ON i.seq = c.seq WHERE c.kind = 'dead' ORDER BY c.seq
    )
    SELECT f.fenced, g.group_id, false AS repair, ${foreign(schema)}
    FROM (SELECT count(*)::integer AS fenced FROM fence) f
    LEFT JOIN (SELECT DISTINCT group_id FROM changed WHERE kind = 'wait' AND delay_ms IS NULL) g ON true`
}

function repairText(schema: string): string {
  return `
    UPDATE ${schema}.bus_delivery d SET state = 0 WHERE d.group_id = ANY($1::integer[]) AND d.state = 2 AND (
      NOT d.is_ordered OR NOT EXISTS (
        SELECT FROM ${schema}.bus_delivery e WHERE e.group_id = d.group_id AND e.lane = d.lane AND e.is_ordered AND e.seq < d.seq
      )
    )`
}

function putOutText(schema: string): string {
  // Nobody knows whether the handlers of what was claimed had begun, so each is a suspect; its count rises only where `begin`
  // has recorded an attempt, so that what only waited beside a killer loses none.
  return `
    WITH gone AS MATERIALIZED (
      DELETE FROM ${schema}.bus_instance WHERE id = $1 OR (until < statement_timestamp() AND $1::bigint IS NULL) RETURNING id
    ),
    freed AS (
      UPDATE ${schema}.bus_delivery d SET is_suspect = true, due = '-infinity'
      FROM (SELECT unnest(m.seqs) AS seq FROM ${schema}.bus_member m JOIN gone ON gone.id = m.instance_id) w
      WHERE d.seq = w.seq AND d.state = 0 RETURNING d.group_id
    )
    SELECT DISTINCT group_id FROM freed`
}
