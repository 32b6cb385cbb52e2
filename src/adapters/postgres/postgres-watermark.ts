import { sleep, type Clock } from '../../core/clock.ts'
import type { Random } from '../../core/random.ts'
import { TrunklineError } from '../../core/errors.ts'
import type { PgRow } from './postgres-client.ts'
import { STORE } from './postgres-errors.ts'
import { LOG_LOCK } from './postgres-locks.ts'
import { bigintAt, booleanAt, PgStatement } from './postgres-rows.ts'
import type { PgExecutor } from './postgres-session.ts'

/** What the watermark of a log needs. */
export interface PgWatermarkOptions {
  readonly executor: PgExecutor
  /** The schema, quoted. */
  readonly schema: string
  readonly clock: Clock
  readonly random: Random
  /** True while commits of other processes are heard of. */
  readonly hearsOthers: () => boolean
  /** Longest wait between two looks while others are not heard, in milliseconds. */
  readonly idlePollMs: number
  /** Grows whenever the link to the database was lost: behind it may be another copy of the database now. */
  readonly lostCount: () => number
}

/** Positions that one look examines for gaps. */
const TAIL_MAX = 1_000
/** Shortest time between two looks: at high rates one look finds many events. */
const LOOK_EVERY_MS = 3
/** Waits for transactions that hold a gap open. */
const GAP = { firstMs: 2, mostMs: 50 }
/** Waits between looks for what others commit, where they are not heard. */
const POLL = { firstMs: 50, factor: 1.3 }
/** Where others are heard: only against notifications that got lost. */
const HEARD_POLL_MS = 60_000
const FAILED_WAIT_MS = 500

/** Someone who has read everything up to `cursor`. */
interface Waiter {
  cursor: bigint
  readonly category: string | undefined
  readonly resolve: (cursor: bigint) => void
  readonly reject: (error: unknown) => void
}

/**
 * Up to which position the log is final: everything at or below `safe` has been committed or never will be (P-01).
 *
 * Numbers are taken under a shared lock that ends with the transaction. A look reads, in one statement and therefore from one
 * snapshot, the positions beyond the mark, and where they have a gap also who holds the lock, which is as of a moment *after*
 * the snapshot. Whoever took a number below the last visible one held the lock by then. When none of those holders is left, and
 * PostgreSQL makes a commit visible before it releases its locks, whatever is still missing was rolled back: proven, not
 * guessed by a time (P-02). Nothing but transactions that append can hold it up, and it holds nobody up (P-04).
 */
export class PgWatermark {
  readonly #options: PgWatermarkOptions
  readonly #look: PgStatement
  readonly #waiters = new Set<Waiter>()
  #safe = 0n
  /** A gap below `upTo`, and those who may still fill it. */
  #open: { readonly upTo: bigint; holders: ReadonlySet<string> } | undefined
  #looking: Promise<void> | undefined
  #run: Promise<void> | undefined
  #isWoken = false
  #wait: AbortController | undefined
  #isClosed = false
  #pollMs = POLL.firstMs
  #lostCount: number
  #generation = 0

  constructor(options: PgWatermarkOptions) {
    this.#options = options
    this.#lostCount = options.lostCount()
    this.#look = lookStatement(options.schema)
  }

  /** The last position that is safe to pass, as of the last look. */
  get safe(): bigint {
    return this.#safe
  }

  /**
   * Changes when what was known of the log counts no more, because the database may be another copy of itself: a standby that was
   * promoted, a backup that was restored. Who follows begins again at a checkpoint of that database (P-19).
   */
  get generation(): number {
    return this.#generation
  }

  /** Looks now. What was committed before the call, and is safe to pass, is below the mark afterwards. @throws `store.down`. */
  async look(): Promise<bigint> {
    // One that is under way may have begun too early.
    await this.#looking?.catch(() => undefined)
    await (this.#looking ??= this.#once())
    return this.#safe
  }

  /** Something was committed in this process, or another one has told so. */
  wake(): void {
    this.#isWoken = true
    this.#pollMs = POLL.firstMs
    this.#wait?.abort()
  }

  /**
   * Resolves when there is more than `cursor`, with how far the reader may go without reading: events of other categories
   * are skipped on the way. Rejects with `store.down` when that cannot be found out.
   */
  beyond(cursor: bigint, category: string | undefined, signal: AbortSignal): Promise<bigint> {
    if (this.#safe > cursor || signal.aborted || this.#isClosed) return Promise.resolve(cursor)
    return new Promise((resolve, reject) => {
      const settle = (act: () => void): void => {
        this.#waiters.delete(waiter)
        signal.removeEventListener('abort', onAbort)
        act()
      }
      const waiter: Waiter = {
        cursor,
        category,
        resolve: (reached) => settle(() => resolve(reached)),
        reject: (error) => settle(() => reject(error)),
      }
      const onAbort = (): void => {
        waiter.resolve(waiter.cursor)
        this.#wait?.abort()
      }
      signal.addEventListener('abort', onAbort, { once: true })
      this.#waiters.add(waiter)
      this.#run ??= this.#watch()
    })
  }

  /** Ends the waiting of everybody. It never rejects. */
  async close(): Promise<void> {
    this.#isClosed = true
    for (const waiter of this.#waiters) waiter.resolve(waiter.cursor)
    this.#wait?.abort()
    await this.#run
  }

  /** Runs while somebody waits, and looks when there may be something. */
  async #watch(): Promise<void> {
    let gapMs: number = GAP.firstMs
    while (this.#waiters.size > 0 && !this.#isClosed) {
      this.#isWoken = false
      const before = this.#safe
      try {
        await this.look()
        if (this.#safe > before) this.#pollMs = POLL.firstMs
        gapMs = this.#open === undefined || this.#safe > before ? GAP.firstMs : Math.min(gapMs * 1.5, GAP.mostMs)
        await this.#pause(this.#open === undefined ? this.#nextPollMs() : gapMs)
      } catch (error) {
        for (const waiter of this.#waiters) waiter.reject(error)
        await this.#pause(FAILED_WAIT_MS)
      }
    }
    this.#run = undefined
    // Somebody came while this ended.
    if (this.#waiters.size > 0 && !this.#isClosed) this.#run = this.#watch()
  }

  #nextPollMs(): number {
    const { random, hearsOthers, idlePollMs } = this.#options
    const jitter = 0.8 + 0.4 * random.next()
    if (hearsOthers()) return HEARD_POLL_MS * jitter
    this.#pollMs = Math.min(this.#pollMs * POLL.factor, idlePollMs)
    return this.#pollMs * jitter
  }

  async #pause(delayMs: number): Promise<void> {
    const { clock } = this.#options
    const wait = new AbortController()
    this.#wait = wait
    if (!this.#isWoken && this.#waiters.size > 0) await sleep(clock, delayMs, wait.signal)
    this.#wait = undefined
    if (this.#isWoken) await sleep(clock, LOOK_EVERY_MS)
  }

  async #once(): Promise<void> {
    const lostCount = this.#options.lostCount()
    if (lostCount !== this.#lostCount) this.#restart()
    this.#lostCount = lostCount
    try {
      const [row] = await this.#options.executor.run(this.#look, [String(this.#safe)])
      if (row !== undefined) this.#learn(row)
    } finally {
      this.#looking = undefined
    }
  }

  #restart(): void {
    this.#safe = 0n
    this.#open = undefined
    this.#generation += 1
  }

  #learn(row: PgRow): void {
    if (bigintAt(row, 'given') < this.#safe) {
      this.#restart()
      throw new TrunklineError('store.down', { store: STORE, problem: 'its log is shorter than it was: it is another copy of the database, and is read from the checkpoint again' })
    }
    // P-24: on a standby, locks say nothing and rows come late.
    if (booleanAt(row, 'standby')) throw new TrunklineError('store.down', { store: STORE, problem: 'it is a standby, and the log is read from the primary alone' })
    const [whole, last] = [bigintAt(row, 'whole'), bigintAt(row, 'last')]
    const holders = row['holders'] === null ? undefined : new Set(textsIn(row['holders']))
    const categories = row['categories'] === null ? undefined : new Set(textsIn(row['categories']))
    this.#advance(this.#reached(whole, last, holders), categories)
  }

  /** How far the mark goes, and which gap stays open. `holders` undefined: there is no gap. */
  #reached(whole: bigint, last: bigint, holders: ReadonlySet<string> | undefined): bigint {
    if (holders === undefined || holders.size === 0) {
      this.#open = undefined
      return last
    }
    const open = this.#open
    let reached = whole
    if (open !== undefined) {
      open.holders = new Set([...open.holders].filter((holder) => holders.has(holder)))
      if (open.holders.size === 0 && open.upTo > reached) reached = open.upTo
    }
    const isOpen = this.#open !== undefined && this.#open.holders.size > 0 && this.#open.upTo > reached
    if (!isOpen) this.#open = last > reached ? { upTo: last, holders } : undefined
    return reached
  }

  #advance(to: bigint, categories: ReadonlySet<string> | undefined): void {
    const from = this.#safe
    if (to <= from) return
    this.#safe = to
    for (const waiter of this.#waiters) {
      const isForeign = waiter.category !== undefined && categories !== undefined && waiter.cursor >= from && !categories.has(waiter.category)
      if (isForeign) waiter.cursor = to
      else waiter.resolve(waiter.cursor)
    }
  }
}

function textsIn(value: unknown): readonly string[] {
  return Array.isArray(value) ? value.filter((text) => typeof text === 'string') : []
}

/**
 * `given`: the last position that was ever given out. `whole`: end of the run without gaps that begins at the mark. `last`: the last position visible. `holders`: who may still fill a
 * gap; null where there is none. `categories`: of the events beyond the mark; null where they are too many to tell.
 */
function lookStatement(schema: string): PgStatement {
  return new PgStatement(`
WITH tail AS MATERIALIZED (
  SELECT position, category, row_number() OVER (ORDER BY position) AS place
  FROM (SELECT position, category FROM ${schema}.event WHERE position > $1::bigint ORDER BY position LIMIT ${TAIL_MAX}) next
), mark AS MATERIALIZED (
  SELECT coalesce(max(position) FILTER (WHERE position = $1::bigint + place), $1::bigint) AS whole,
    coalesce(max(position), $1::bigint) AS last, count(*) AS count FROM tail
)
SELECT pg_catalog.pg_is_in_recovery() AS standby, (SELECT last_value FROM ${schema}.event_position) AS given, whole,
  CASE WHEN count < ${TAIL_MAX} THEN last ELSE (SELECT max(position) FROM ${schema}.event) END AS last,
  CASE WHEN count < ${TAIL_MAX} THEN (SELECT array_agg(DISTINCT category) FROM tail) END AS categories,
  CASE WHEN count < ${TAIL_MAX} AND whole = last THEN NULL ELSE (
    SELECT coalesce(array_agg(virtualtransaction), '{}') FROM pg_catalog.pg_locks
    WHERE locktype = 'advisory' AND granted AND objsubid = 2 AND classid = ${LOG_LOCK} AND objid = '${schema}.event_position'::regclass
      AND database = (SELECT oid FROM pg_catalog.pg_database WHERE datname = pg_catalog.current_database())
  ) END AS holders
FROM mark`)
}
