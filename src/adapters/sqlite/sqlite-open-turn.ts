import type { Clock, Timer } from '../../core/clock.ts'
import { TrunklineError, isTrunklineError } from '../../core/errors.ts'
import type { SqliteConnection } from './sqlite-connection.ts'
import { failureOf, isDriverError } from './sqlite-driver.ts'
import { SqliteTurn } from './sqlite-turn.ts'
import type { SqliteJob, SqliteUnit } from './sqlite-turn.ts'

type Job = SqliteJob | SqliteUnit

/** Jobs in one transaction. */
const JOBS_MAX = 512
/** Bytes in one transaction. */
const JOB_BYTES_MAX = 4_194_304
/** Time after which nothing new is let in, so that nobody waits long for the commit. */
const OPEN_MS = 20

/** What a turn needs. */
export interface SqliteOpenTurnParts {
  readonly connection: SqliteConnection
  readonly clock: Clock
  readonly unitHoldMsMax: number
  /** Takes the next one out of the queue. */
  readonly next: () => Job | undefined
}

/** What became of a turn. Those that were undone for good have been told so. */
export interface SqliteOpenTurnEnd {
  /** Committed. */
  readonly kept: readonly Job[]
  /** Not done, through no fault of their own; they come first in the next turn. */
  readonly again: readonly Job[]
  /** Why the file cannot be used now. */
  readonly failure: { readonly thrown: unknown } | undefined
}

/** Why nothing of a turn can be committed. */
interface Loss {
  /** Set where the file cannot be used now; else the one to blame has been told, and the others go on. */
  readonly failure: { readonly thrown: unknown } | undefined
}

/** What a turn had counted before a part of it. */
type Counts = Pick<SqliteTurn, 'appended' | 'numbered'>

/**
 * A transaction that has begun and takes in units one after the other, each behind a savepoint: one that fails is undone alone, and the
 * others are neither undone nor run again. They share the commit, and so the fsync.
 */
export class SqliteOpenTurn {
  readonly turn: SqliteTurn
  readonly #parts: SqliteOpenTurnParts
  readonly #untilMs: number
  readonly #done: Job[] = []
  readonly #held: Job[] = []
  #loss: Loss | undefined
  #bytes = 0
  #taken = 0
  #isAlone = false
  #running: SqliteUnit | undefined
  #sinceMs = 0
  #timer: Timer | undefined

  constructor(parts: SqliteOpenTurnParts) {
    this.#parts = parts
    this.turn = new SqliteTurn(parts.connection)
    this.#untilMs = parts.clock.monotonicMs() + OPEN_MS
  }

  /** Runs to the commit. It never rejects. */
  async run(): Promise<SqliteOpenTurnEnd> {
    const { connection, unitHoldMsMax } = this.#parts
    this.#watch(unitHoldMsMax)
    for (let job = this.#next(); job !== undefined; job = this.#next()) {
      if (job.isUnit) await this.#runUnit(job)
      else this.#runJob(job)
    }
    this.#timer?.cancel()
    if (this.#loss === undefined && this.#commit()) return { kept: this.#done, again: this.#held, failure: undefined }
    connection.rollback()
    return { kept: [], again: [...this.#done, ...this.#held], failure: this.#loss?.failure }
  }

  #commit(): boolean {
    if (this.#done.length === 0) {
      this.#parts.connection.rollback()
      return true
    }
    try {
      this.#parts.connection.commit()
      return true
    } catch (thrown) {
      if (failureOf(thrown) === 'refused') this.#blame(thrown)
      else this.#loss = { failure: { thrown } }
      return false
    }
  }

  /** A foreign key that is looked at by the commit alone: nobody tells whose it was. */
  #blame(thrown: unknown): void {
    const units = this.#done.filter((job) => job.isUnit)
    const [culprit] = units
    if (units.length === 1 && culprit !== undefined) {
      this.#done.splice(this.#done.indexOf(culprit), 1)
      culprit.fail('refused', thrown)
    } else for (const unit of units) unit.isAlone = true
  }

  /** Ends the unit that runs, with this error. */
  stop(error: unknown): void {
    this.#running?.stop(error)
  }

  #next(): Job | undefined {
    const { clock, next } = this.#parts
    while (this.#loss === undefined && !this.#isFull()) {
      const job = next()
      if (job === undefined) return undefined
      if (job.isCancelled) continue
      const isAlone = job.isUnit && job.isAlone
      if (isAlone && this.#taken > 0) {
        this.#held.push(job)
        return undefined
      }
      if (job.isUnit && job.isLate(clock.monotonicMs())) {
        job.failWith(new TrunklineError('store.conflict', { store: 'sqlite', problem: 'the units of work before it did not end in time' }))
        continue
      }
      this.#taken++
      this.#isAlone = isAlone
      return job
    }
    return undefined
  }

  #isFull(): boolean {
    if (this.#taken === 0) return false
    return this.#isAlone || this.#taken >= JOBS_MAX || this.#bytes >= JOB_BYTES_MAX || this.#parts.clock.monotonicMs() >= this.#untilMs
  }

  #runJob(job: SqliteJob): void {
    const { connection } = this.#parts
    const before: Counts = { appended: this.turn.appended, numbered: this.turn.numbered }
    try {
      connection.savepoint()
      job.run(this.turn)
      connection.release()
      this.#keep(job)
    } catch (thrown) {
      if (failureOf(thrown) !== 'refused' && !isTrunklineError(thrown)) {
        this.#held.push(job)
        this.#loss = { failure: { thrown } }
        return
      }
      if (!this.#undo(before)) this.#loss = { failure: undefined }
      job.fail('refused', thrown)
    }
  }

  async #runUnit(unit: SqliteUnit): Promise<void> {
    const { connection, clock } = this.#parts
    const before: Counts = { appended: this.turn.appended, numbered: this.turn.numbered }
    try {
      connection.savepoint()
    } catch (thrown) {
      this.#held.push(unit)
      this.#loss = { failure: { thrown } }
      return
    }
    this.#sinceMs = clock.monotonicMs()
    this.#running = unit
    const end = await unit.run(this.turn)
    this.#running = undefined
    if (end.kind === 'failed') this.#failed(unit, end.error, before)
    else this.#release(unit)
  }

  #release(unit: SqliteUnit): void {
    try {
      this.#parts.connection.release()
      this.#keep(unit)
    } catch (thrown) {
      // What it did has ended the transaction, and it went on as if nothing had happened.
      this.#loss = { failure: undefined }
      unit.fail('refused', thrown)
    }
  }

  #failed(unit: SqliteUnit, error: unknown, before: Counts): void {
    if (!this.#undo(before)) {
      const cause = isTrunklineError(error, 'store.down') ? error.cause : error
      if (isDriverError(cause) && failureOf(cause) === 'down') {
        // The disk is full, or broken: that is nobody's fault.
        this.#held.push(unit)
        this.#loss = { failure: { thrown: cause } }
        return
      }
      this.#loss = { failure: undefined }
    }
    unit.failWith(error)
  }

  /** Undoes the savepoint; false where the whole transaction is gone. */
  #undo(before: Counts): boolean {
    try {
      this.#parts.connection.undo()
    } catch {
      return false
    }
    this.turn.backTo(before)
    return true
  }

  #keep(job: Job): void {
    this.#bytes += job.bytes
    this.#done.push(job)
  }

  /** Stops a unit that holds the file too long. One timer a turn: most units end before it is looked at. */
  #watch(inMs: number): void {
    const { clock, unitHoldMsMax } = this.#parts
    this.#timer = clock.setTimer(inMs, () => {
      if (this.#running === undefined) {
        this.#watch(unitHoldMsMax)
        return
      }
      const leftMs = this.#sinceMs + unitHoldMsMax - clock.monotonicMs()
      if (leftMs <= 0) this.#running.stop(new TrunklineError('outbox.unit_too_long', { store: 'sqlite', limitMs: unitHoldMsMax }))
      this.#watch(Math.max(1, leftMs))
    })
  }
}
