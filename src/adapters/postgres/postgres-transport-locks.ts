import { createHash } from 'node:crypto'
import { keyLocks, lockNumber } from './postgres-locks.ts'
import { PgStatement } from './postgres-rows.ts'
import type { PgStep } from './postgres-link.ts'

// Advisory locks of the transport; see postgres-locks.ts. All end with their transaction.

/** Held by whoever stores or settles deliveries of a key in an ordered group (P-14). */
const LANE_LOCK = 0x544b_0011
/** Held by whoever claims deliveries of a group; the second number is the group. */
const CLAIM_LOCK = 0x544b_0012
/** Held, shared, by whoever stores or settles ordered deliveries; alone by whoever changes the order of a group. */
const ORDER_LOCK = 0x544b_0013
/** Held by whoever changes groups and members. */
const JOIN_LOCK = 0x544b_0014

// Outcomes and claims need not survive a crash of the server: what is forgotten comes again. A plan is made once and for an index:
// a table that was empty when its statistics were taken would be read from end to end. Forbidden plans count as dear, and for a dear one
// the server would compile code for a second.
const QUICK = "set_config('synchronous_commit', 'off', true)"
const PLANNED = "set_config('jit', 'off', true), set_config('plan_cache_mode', 'force_generic_plan', true), set_config('enable_seqscan', 'off', true), set_config('enable_bitmapscan', 'off', true), set_config('enable_sort', 'off', true)"

// Also sent through clients of others, of which some cannot read a column that is void.
const STORE = new PgStatement(
  `SELECT pg_advisory_xact_lock_shared(${ORDER_LOCK}, $1)::text, (SELECT count(pg_advisory_xact_lock(${LANE_LOCK}, lane)) FROM unnest($2::integer[]) AS lane)`,
)
const SETTLE = new PgStatement(
  `SELECT ${QUICK}, ${PLANNED}, pg_advisory_xact_lock_shared(${ORDER_LOCK}, $1),
    (SELECT count(pg_advisory_xact_lock(${LANE_LOCK}, lane)) FROM unnest($2::integer[]) AS lane)`,
)
const CLAIM = new PgStatement(`SELECT ${QUICK}, ${PLANNED}, pg_advisory_xact_lock(${CLAIM_LOCK}, $1)`)
const CLAIM_ORDERED = new PgStatement(`SELECT ${PLANNED}, pg_advisory_xact_lock(${CLAIM_LOCK}, $1)`)
const JOIN = new PgStatement(`SELECT pg_advisory_xact_lock(${JOIN_LOCK}, $1)`)
const REORDER = new PgStatement(`SELECT pg_advisory_xact_lock(${ORDER_LOCK}, $1)`)
const RELAX = new PgStatement(`SELECT ${QUICK}, ${PLANNED}`)

/** The first statements of transactions: their locks, which must be had before the next statement looks at the tables (P-06). */
export class PgTransportLocks {
  readonly #schema: string
  readonly #number: number

  /** @param schema not quoted. */
  constructor(schema: string) {
    this.#schema = schema
    this.#number = lockNumber(schema)
  }

  /** Before deliveries with these keys are stored for ordered groups. */
  store(keys: Iterable<string>): PgStep {
    return { statement: STORE, values: [this.#number, keyLocks(this.#schema, keys)] }
  }

  /** Before deliveries are settled; the keys of those of ordered groups. */
  settle(keys: Iterable<string>): PgStep {
    return { statement: SETTLE, values: [this.#number, keyLocks(this.#schema, keys)] }
  }

  /** Before deliveries of a group are claimed. Claims of an ordered group survive a crash of the server. */
  claim(groupId: number, isOrdered: boolean): PgStep {
    return { statement: isOrdered ? CLAIM_ORDERED : CLAIM, values: [this.#number ^ groupId] }
  }

  /** Before groups or members change. */
  get join(): PgStep {
    return { statement: JOIN, values: [this.#number] }
  }

  /** Before the order of a group changes. */
  get reorder(): PgStep {
    return { statement: REORDER, values: [this.#number] }
  }

  /** Before what needs no lock and need not survive a crash. */
  get relax(): PgStep {
    return { statement: RELAX, values: [] }
  }
}

/** A channel for one purpose of one schema; PostgreSQL takes 63 bytes. */
export function channelOf(schema: string, purpose: string): string {
  return `trunkline_${createHash('sha256').update(`${schema} ${purpose}`).digest('hex').slice(0, 40)}`
}
