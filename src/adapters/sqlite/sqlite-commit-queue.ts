import type { TransportHost } from '../../bus/port.ts'
import { backoffMs } from '../../core/backoff.ts'
import type { Timer } from '../../core/clock.ts'
import { TrunklineError, errorText, isTrunklineError } from '../../core/errors.ts'
import type { SqliteConnection } from './sqlite-connection.ts'
import { failureOf } from './sqlite-driver.ts'
import type { SqliteFailure } from './sqlite-driver.ts'
import type { SqliteFileGuard } from './sqlite-file-guard.ts'
import type { SqliteHealth, SqlitePart } from './sqlite-health.ts'

/** What one transaction has done that others want to know after its commit. */
export class SqliteTurn {
  readonly connection: SqliteConnection
  /** Groups that have something to claim now. */
  readonly groups: Set<number> = new Set()
  /** Where events and commands go, read once per transaction. */
  readonly routes: Map<string, SqliteRoute> = new Map()
  /** Another process may have something to do. */
  wakesOthers = false
  /** This process has something in its light-plane inbox. */
  wakesInbox = false

  constructor(connection: SqliteConnection) {
    this.connection = connection
  }
}

/** Who gets a type. */
export interface SqliteRoute {
  readonly groups: readonly { readonly id: number; readonly isOrdered: boolean }[]
  /** Addresses of instances that listen without durability. */
  readonly listeners: readonly string[]
}

/** One thing to be done in a transaction that it may share with others. */
export interface SqliteJob {
  /** Weight of the job for the bound of a transaction. */
  readonly bytes: number
  /** Given up before its turn came. */
  readonly isCancelled: boolean
  /** Writes. It may run several times before one commit succeeds, so it changes nothing but the database. */
  run(turn: SqliteTurn): void
  /** The transaction was committed. */
  done(): void
  /** True where a job that could not be done is not to be tried again. */
  isExpired(nowMs: number, failure: SqliteFailure): boolean
  /** It was not done and never will be. */
  fail(failure: SqliteFailure, thrown: unknown): void
}

/** What joins the end of a transaction, or has one of its own. */
export interface SqliteTurnTail {
  /** True where it has something to do; asked only when no job waits. */
  wants(connection: SqliteConnection): boolean
  run(turn: SqliteTurn): void
  done(): void
}

/** Jobs in one transaction, so that the event loop gets its turn. */
const JOBS_MAX = 512
/** Bytes in one transaction. */
const JOB_BYTES_MAX = 4_194_304
/** Waits between tries to get a lock that another process holds. */
const BUSY_BACKOFF = { initialMs: 5, factor: 1.4, maxMs: 100 } as const
/** Waits between tries to use a file that cannot be used. */
const DOWN_BACKOFF = { initialMs: 100, factor: 2, maxMs: 1_000 } as const

/** How a queue is set up. */
export interface SqliteQueueOptions {
  readonly part: SqlitePart
  readonly connection: SqliteConnection
  readonly host: TransportHost
  readonly health: SqliteHealth
  /** Time that a lock may be held by others before the state is `down`. */
  readonly lockWaitMs: number
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
  #jobs: SqliteJob[] = []
  #isScheduled = false
  #isClosed = false
  #retry: Timer | undefined
  #failures = 0
  #blockedSinceMs = 0

  constructor(options: SqliteQueueOptions) {
    this.#options = options
  }

  add(job: SqliteJob): void {
    if (this.#isClosed) {
      job.fail('down', undefined)
      return
    }
    this.#jobs.push(job)
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
      this.add(new CallJob(work, giveUpAtMs, resolve, reject))
    })
  }

  /** Sees to it that a turn comes soon. */
  poke(): void {
    if (this.#isScheduled || this.#retry !== undefined || this.#isClosed) return
    this.#isScheduled = true
    this.#options.host.clock.defer(() => {
      this.#isScheduled = false
      this.#turn()
    })
  }

  /** Does what can be done now and fails the rest. */
  close(): void {
    if (this.#isClosed) return
    this.#stopWaiting()
    while (this.#jobs.length > 0 && this.#turn()) continue
    this.#isClosed = true
    this.#stopWaiting()
    const left = this.#jobs
    this.#jobs = []
    for (const job of left) job.fail('down', undefined)
  }

  #stopWaiting(): void {
    this.#retry?.cancel()
    this.#retry = undefined
  }

  /** One transaction; true where it went through. */
  #turn(): boolean {
    if (this.#isClosed) return false
    const { connection, tail, guard, onCommitted } = this.#options
    const batch = this.#take()
    const turn = new SqliteTurn(connection)
    let running: SqliteJob | undefined
    try {
      const isProbe = this.#failures > 0 && batch.length === 0
      if (!isProbe && batch.length === 0 && (tail === undefined || !tail.wants(connection))) return true
      guard.check()
      connection.transaction(() => {
        // With nothing left to store, a write that changes nothing tells whether the file can be used again.
        if (isProbe) connection.run('UPDATE trunkline_schema SET version = version')
        for (const job of batch) {
          running = job
          job.run(turn)
        }
        running = undefined
        tail?.run(turn)
      })
    } catch (thrown) {
      this.#failed(batch, running, thrown)
      return false
    }
    this.#succeeded()
    for (const job of batch) job.done()
    tail?.done()
    onCommitted(turn)
    if (this.#jobs.length > 0) this.poke()
    return true
  }

  #take(): readonly SqliteJob[] {
    let bytes = 0
    let count = 0
    while (count < this.#jobs.length && count < JOBS_MAX && bytes < JOB_BYTES_MAX) bytes += this.#jobs[count++]?.bytes ?? 0
    return this.#jobs.splice(0, count).filter((job) => !job.isCancelled)
  }

  #failed(batch: readonly SqliteJob[], running: SqliteJob | undefined, thrown: unknown): void {
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
    const expired: SqliteJob[] = []
    const waiting: SqliteJob[] = []
    for (const job of [...batch, ...this.#jobs]) {
      if (!job.isCancelled) (job.isExpired(nowMs, failure) ? expired : waiting).push(job)
    }
    this.#jobs = waiting
    this.#report(failure, expired.length > 0 || nowMs - this.#blockedSinceMs >= this.#options.lockWaitMs, thrown)
    for (const job of expired) job.fail(failure, thrown)
    const waitMs = backoffMs(failure === 'busy' ? BUSY_BACKOFF : DOWN_BACKOFF, this.#failures, host.random)
    this.#stopWaiting()
    this.#retry = host.clock.setTimer(waitMs, () => {
      this.#retry = undefined
      this.#turn()
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
    this.#options.health.set(this.#options.part, 'up', '')
  }
}

/** Any work whose caller waits for its result. */
class CallJob<T> implements SqliteJob {
  readonly bytes = 1024
  readonly isCancelled = false
  readonly #work: (turn: SqliteTurn) => T
  readonly #giveUpAtMs: number
  readonly #resolve: (result: T) => void
  readonly #reject: (error: unknown) => void
  #finish: () => void = () => {}

  constructor(work: (turn: SqliteTurn) => T, giveUpAtMs: number, resolve: (result: T) => void, reject: (error: unknown) => void) {
    this.#work = work
    this.#giveUpAtMs = giveUpAtMs
    this.#resolve = resolve
    this.#reject = reject
  }

  run(turn: SqliteTurn): void {
    const result = this.#work(turn)
    this.#finish = () => this.#resolve(result)
  }

  done(): void {
    this.#finish()
  }

  isExpired(nowMs: number): boolean {
    return nowMs >= this.#giveUpAtMs
  }

  fail(failure: SqliteFailure, thrown: unknown): void {
    this.#reject(lost(failure, thrown))
  }
}

/** The error for an operation that could not be done in time. */
export function lost(failure: SqliteFailure, thrown: unknown): TrunklineError {
  if (thrown instanceof TrunklineError) return thrown
  const problem =
    thrown === undefined ? 'the transport was closed' : failure === 'busy' ? 'another process keeps the file locked' : errorText(thrown)
  return new TrunklineError('bus.connection_lost', { adapter: 'sqlite', problem }, { cause: thrown })
}
