import { AsyncLocalStorage } from 'node:async_hooks'
import type { TransportHost } from '../../bus/port.ts'
import { backoffMs } from '../../core/backoff.ts'
import type { Timer } from '../../core/clock.ts'
import { TrunklineError, errorText, isTrunklineError } from '../../core/errors.ts'
import { SqliteCallJob } from './sqlite-call-job.ts'
import type { SqliteConnection } from './sqlite-connection.ts'
import { failureOf } from './sqlite-driver.ts'
import type { SqliteFailure } from './sqlite-driver.ts'
import type { SqliteFileGuard } from './sqlite-file-guard.ts'
import type { SqliteGate } from './sqlite-gate.ts'
import type { SqliteHealth, SqlitePart } from './sqlite-health.ts'
import { SqliteOpenTurn } from './sqlite-open-turn.ts'
import type { SqliteOpenTurnEnd } from './sqlite-open-turn.ts'
import { SqliteTurn } from './sqlite-turn.ts'
import type { SqliteJob, SqliteTurnTail, SqliteUnit } from './sqlite-turn.ts'

/** Jobs in one transaction, so that the event loop gets its turn. */
const JOBS_MAX = 512
/** Bytes in one transaction. */
const JOB_BYTES_MAX = 4_194_304
/** Waits between tries to get a lock that another process holds. */
const BUSY_BACKOFF = { initialMs: 5, factor: 1.4, maxMs: 100 } as const
/** Waits between tries to use a file that cannot be used. */
const DOWN_BACKOFF = { initialMs: 100, factor: 2, maxMs: 1_000 } as const
/** Once a lock is known to be held, tries that block the thread this short, but for one of several: a lock that is free only for moments has to be caught. */
const BUSY_TRY_MS = 1
const LONG_TRY_EVERY = 5

/** How a queue is set up. */
export interface SqliteQueueOptions {
  readonly part: SqlitePart
  readonly connection: SqliteConnection
  readonly host: Pick<TransportHost, 'clock' | 'random'>
  readonly health: SqliteHealth
  /** Common to all queues on the file. */
  readonly gate: SqliteGate
  /** Time that a lock may be held by others before the state is `down`. */
  readonly lockWaitMs: number
  /** Time that a unit may hold the lock while it waits for something else, in milliseconds. */
  readonly unitHoldMsMax: number
  /** Only for queues that run no units. */
  readonly tail: SqliteTurnTail | undefined
  /** Asked before each transaction: nothing is accepted into a file that nobody else can see. */
  readonly guard: SqliteFileGuard
  /** Called after each commit. */
  readonly onCommitted: (turn: SqliteTurn) => void
}

/**
 * Group commit: jobs that come in while the event loop is busy share one transaction and so one fsync.
 *
 * A lock held elsewhere, or a file that cannot be used, keeps the jobs and tries again; nothing here
 * blocks the event loop for longer than the connection's busy timeout (L-05).
 */
export class SqliteCommitQueue {
  readonly #options: SqliteQueueOptions
  // What is called out of a turn must not find itself in the context of whoever happened to start the turn.
  readonly #outside = AsyncLocalStorage.snapshot()
  #jobs: (SqliteJob | SqliteUnit)[] = []
  #units = 0
  #open: SqliteOpenTurn | undefined
  #isScheduled = false
  #isClosed = false
  #retry: Timer | undefined
  #failures = 0
  #blockedSinceMs = 0

  constructor(options: SqliteQueueOptions) {
    this.#options = options
  }

  /** Units that wait for their turn. */
  get waitingUnits(): number {
    return this.#units
  }

  add(job: SqliteJob | SqliteUnit): void {
    if (this.#isClosed) {
      job.fail('down', undefined)
      return
    }
    this.#jobs.push(job)
    if (job.isUnit) this.#units++
    this.poke()
  }

  /**
   * Runs `work` in a transaction of its own or a shared one. It may run several times before a commit succeeds.
   *
   * @param waitMs time after which it fails instead of being tried again. Default: that for locks.
   */
  call<T>(work: (turn: SqliteTurn) => T, waitMs: number = this.#options.lockWaitMs): Promise<T> {
    const giveUpAtMs = this.#options.host.clock.monotonicMs() + waitMs
    return new Promise((resolve, reject) => {
      this.add(new SqliteCallJob(work, giveUpAtMs, resolve, reject))
    })
  }

  /** Sees to it that a turn comes soon. */
  readonly poke = (): void => {
    if (this.#isScheduled || this.#retry !== undefined || this.#isClosed || this.#open !== undefined) return
    this.#isScheduled = true
    this.#options.host.clock.defer(() => {
      this.#isScheduled = false
      this.#outside(() => this.#next())
    })
  }

  /** Does what can be done at once and fails the rest. */
  close(): void {
    if (this.#isClosed) return
    this.#stopWaiting()
    const { gate } = this.#options
    this.#open?.stop(new TrunklineError('store.down', { store: 'sqlite', problem: 'the store was closed' }))
    for (const unit of this.#jobs.filter((job) => job.isUnit)) unit.fail('down', undefined)
    this.#jobs = this.#jobs.filter((job) => !job.isUnit)
    this.#units = 0
    while (this.#jobs.length > 0 && gate.enter(this.poke) && this.#turn()) continue
    this.#isClosed = true
    gate.forget(this.poke)
    this.#stopWaiting()
    const left = this.#jobs
    this.#jobs = []
    for (const job of left) job.fail('down', undefined)
  }

  #stopWaiting(): void {
    this.#retry?.cancel()
    this.#retry = undefined
  }

  #next(): void {
    if (this.#isClosed || this.#open !== undefined || this.#retry !== undefined) return
    const { connection, tail } = this.#options
    try {
      const isProbe = this.#failures > 0
      if (!isProbe && this.#jobs.length === 0 && (tail === undefined || !tail.wants(connection))) return
    } catch (thrown) {
      this.#failed([], undefined, thrown)
      return
    }
    if (!this.#options.gate.enter(this.poke)) return
    if (this.#units > 0) this.#openTurn()
    else this.#turn()
  }

  /** One transaction of jobs that run through; true where it was committed. The gate has been entered. */
  #turn(): boolean {
    const { connection, tail, guard, gate, onCommitted } = this.#options
    const batch = this.#take()
    const turn = new SqliteTurn(connection)
    let running: SqliteJob | undefined
    try {
      guard.check()
      connection.transaction(() => {
        // With nothing left to store, a write that changes nothing tells whether the file can be used again.
        if (this.#failures > 0 && batch.length === 0) connection.run('UPDATE trunkline_schema SET version = version')
        for (const job of batch) {
          running = job
          job.run(turn)
        }
        running = undefined
        tail?.run(turn)
      })
    } catch (thrown) {
      gate.leave()
      this.#failed(batch, running, thrown)
      return false
    }
    gate.leave()
    this.#succeeded()
    for (const job of batch) job.done()
    tail?.done()
    onCommitted(turn)
    if (this.#jobs.length > 0) this.poke()
    return true
  }

  /** Takes jobs. Called only while no unit is among them. */
  #take(): readonly SqliteJob[] {
    let bytes = 0
    let count = 0
    while (count < this.#jobs.length && count < JOBS_MAX && bytes < JOB_BYTES_MAX) bytes += this.#jobs[count++]?.bytes ?? 0
    return this.#jobs.splice(0, count).filter((job): job is SqliteJob => !job.isUnit && !job.isCancelled)
  }

  /** One transaction with units among its jobs, which stays open while one of them waits. The gate has been entered. */
  #openTurn(): void {
    const { connection, guard, host, gate, unitHoldMsMax } = this.#options
    try {
      guard.check()
      connection.begin()
    } catch (thrown) {
      gate.leave()
      this.#failed([], undefined, thrown)
      return
    }
    const open = new SqliteOpenTurn({ connection, clock: host.clock, unitHoldMsMax, next: () => this.#pull() })
    this.#open = open
    void open.run().then((end) => {
      this.#open = undefined
      gate.leave()
      this.#ended(open.turn, end)
    })
  }

  #pull(): SqliteJob | SqliteUnit | undefined {
    const job = this.#isClosed ? undefined : this.#jobs.shift()
    if (job?.isUnit === true) this.#units--
    return job
  }

  #ended(turn: SqliteTurn, { kept, again, failure }: SqliteOpenTurnEnd): void {
    if (again.length > 0) {
      this.#jobs = [...again, ...this.#jobs]
      this.#units += again.filter((job) => job.isUnit).length
    }
    if (this.#isClosed) for (const job of this.#jobs.splice(0)) job.fail('down', undefined)
    else if (failure !== undefined) this.#failed([], undefined, failure.thrown)
    if (kept.length > 0) {
      this.#succeeded()
      for (const job of kept) job.done()
      this.#options.onCommitted(turn)
    }
    if (this.#jobs.length > 0) this.poke()
  }

  #failed(batch: readonly (SqliteJob | SqliteUnit)[], running: SqliteJob | undefined, thrown: unknown): void {
    const failure = failureOf(thrown)
    if (running !== undefined && (failure === 'refused' || isTrunklineError(thrown))) {
      // One job that can never be done must not take its neighbours along.
      running.fail('refused', thrown)
      this.#jobs = [...batch.filter((job) => job !== running), ...this.#jobs]
      this.poke()
      return
    }
    const { host } = this.#options
    const nowMs = host.clock.monotonicMs()
    if (this.#failures++ === 0) this.#blockedSinceMs = nowMs
    const expired: (SqliteJob | SqliteUnit)[] = []
    const waiting: (SqliteJob | SqliteUnit)[] = []
    for (const job of [...batch, ...this.#jobs]) {
      if (!job.isCancelled) (job.isExpired(nowMs, failure) ? expired : waiting).push(job)
    }
    this.#jobs = waiting
    this.#units = waiting.filter((job) => job.isUnit).length
    this.#report(failure, expired.length > 0 || nowMs - this.#blockedSinceMs >= this.#options.lockWaitMs, thrown)
    for (const job of expired) job.fail(failure, thrown)
    this.#tryAgain(failure)
  }

  #tryAgain(failure: SqliteFailure): void {
    const { host, connection } = this.#options
    if (failure === 'busy') connection.blockFor(this.#failures % LONG_TRY_EVERY === 0 ? undefined : BUSY_TRY_MS)
    const waitMs = backoffMs(failure === 'busy' ? BUSY_BACKOFF : DOWN_BACKOFF, this.#failures, host.random)
    this.#stopWaiting()
    this.#retry = host.clock.setTimer(waitMs, () => {
      this.#retry = undefined
      this.#outside(() => this.#next())
    })
  }

  #report(failure: SqliteFailure, isOverdue: boolean, thrown: unknown): void {
    const { health, part } = this.#options
    if (failure === 'down') health.set(part, 'down', `the file cannot be used: ${errorText(thrown)}`)
    else if (isOverdue) health.set(part, 'down', 'another process keeps the file locked')
  }

  #succeeded(): void {
    if (this.#failures === 0) return
    this.#failures = 0
    this.#options.connection.blockFor()
    this.#options.health.set(this.#options.part, 'up', '')
  }
}
