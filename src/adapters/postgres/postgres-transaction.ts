import { isTrunklineError, TrunklineError } from '../../core/errors.ts'
import type { TransactOptions } from '../../outbox/port.ts'
import { inOneWrite, type PgRow } from './postgres-client.ts'
import type { PgDatabase } from './postgres-database.ts'
import { failureOf, problemOf, sqlState, STORE, storeError } from './postgres-errors.ts'
import { type PgHandle, PgUnitHandle } from './postgres-handle.ts'
import type { PgStatement } from './postgres-rows.ts'
import { type PgUnitExecutor, type PgSession, UNIT_MARK } from './postgres-session.ts'

/** Deepest cause of an error that is looked at: libraries over the client wrap its errors. */
const CAUSES_MAX = 5
const ROLLBACK_MS_MAX = 5_000
/** Holds within a transaction only: what is sent together with `BEGIN` sees by it that there is one. */
const MARK = `SET LOCAL ${UNIT_MARK} = 'on'`

/** The statements of the library in a transaction: in turn with those of the caller. */
class TurnExecutor implements PgUnitExecutor {
  readonly #session: PgSession
  readonly #handle: PgUnitHandle
  #last: (() => Promise<unknown>) | undefined

  constructor(session: PgSession, handle: PgUnitHandle) {
    this.#session = session
    this.#handle = handle
  }

  run(statement: PgStatement, values: readonly unknown[]): Promise<readonly PgRow[]> {
    return this.#handle.turn(() => this.#session.run(statement, values))
  }

  runFirst(statement: PgStatement, values: readonly unknown[]): Promise<readonly PgRow[]> {
    return this.#handle.firstTurn((isInside) => this.#session.run(statement, [...values, isInside]))
  }

  runLast(statement: PgStatement, values: readonly unknown[]): Promise<void> {
    if (this.#handle.isOver) return Promise.reject(new TrunklineError('outbox.unit_over', { operation: 'a message' }))
    this.#last = () => this.#session.run(statement, values)
    return Promise.resolve()
  }

  /** Commits, with the last statement on the same way where the connection allows it. @throws what that statement throws, `store.rolled_back`. */
  async commit(): Promise<void> {
    if (this.#last === undefined && !this.#handle.hasBegun) return
    await this.#handle.began()
    // P-08: a commit after a statement that failed answers a rollback, without an error.
    if (!this.#session.isPipelined) await this.#last?.()
    const last = this.#session.isPipelined ? this.#last : undefined
    const sent = inOneWrite(this.#session.client, () => [last?.() ?? Promise.resolve(), this.#session.runText('COMMIT')] as const)
    const [written, committed] = await Promise.allSettled(sent)
    if (committed.status === 'fulfilled' && committed.value.command !== 'COMMIT') this.#session.isIdle = true
    if (written.status === 'rejected') throw written.reason
    if (committed.status === 'rejected') throw committed.reason
    if (this.#session.isIdle) throw new TrunklineError('store.rolled_back', { store: STORE, problem: 'a statement had failed before, and its error was caught' })
  }
}

/**
 * Runs `work` in a transaction and resolves after the commit.
 *
 * @throws as `StoreBackend.transact` says.
 */
export async function inTransaction<T>(
  database: PgDatabase, options: TransactOptions, work: (handle: PgHandle, executor: PgUnitExecutor) => Promise<T>,
): Promise<T> {
  if (options.signal?.aborted === true) throw givenUp()
  const session = await database.session()
  let isClean = false
  try {
    const text = database.beginText(Math.min(options.timeoutMs ?? Infinity, database.settings.statementTimeoutMs))
    const handle = new PgUnitHandle(session.client, session.isPipelined, (isMarked) => session.runText(isMarked ? `${text}; ${MARK}` : text))
    const value = await worked(database, session, handle, options, work)
    isClean = true
    return value
  } catch (error) {
    database.failed(error)
    throw error
  } finally {
    session.end(isClean || session.isIdle)
  }
}

async function worked<T>(
  database: PgDatabase, session: PgSession, handle: PgUnitHandle, options: TransactOptions, work: (handle: PgHandle, executor: PgUnitExecutor) => Promise<T>,
): Promise<T> {
  const executor = new TurnExecutor(session, handle)
  let value: T
  try {
    value = await limited(database, options, work(handle, executor))
    // Statements that were started and not awaited belong to it, too.
    await limited(database, options, handle.end())
  } catch (error) {
    const isOver = isTrunklineError(error, 'outbox.unit_too_long') || options.signal?.aborted === true
    // A statement may still run: the connection is closed, which ends the transaction.
    if (isOver) void handle.end()
    else await rolledBack(session, handle)
    throw translated(error)
  }
  await executor.commit()
  return value
}

async function rolledBack(session: PgSession, handle: PgUnitHandle): Promise<void> {
  try {
    await handle.end()
    if (handle.hasBegun) await session.runText('ROLLBACK', ROLLBACK_MS_MAX)
    session.isIdle = true
  } catch {
    // The connection is closed instead.
  }
}

/** Gives up when the caller does, or when it takes too long. What was started goes on until its connection is closed. */
async function limited<T>(database: PgDatabase, { signal, timeoutMs }: TransactOptions, work: Promise<T>): Promise<T> {
  if (signal === undefined && timeoutMs === undefined) return await work
  let release = (): void => undefined
  const limit = new Promise<never>((_resolve, reject) => {
    const giveUp = (): void => reject(givenUp())
    const timer = timeoutMs === undefined ? undefined : database.host.clock.setTimer(timeoutMs, () => {
      reject(new TrunklineError('outbox.unit_too_long', { store: STORE, limitMs: timeoutMs }))
    }, { background: true })
    signal?.addEventListener('abort', giveUp, { once: true })
    if (signal?.aborted === true) giveUp()
    release = () => {
      timer?.cancel()
      signal?.removeEventListener('abort', giveUp)
    }
  })
  try {
    return await Promise.race([work, limit])
  } finally {
    release()
    // Nobody waits for it any more.
    work.catch(() => undefined)
  }
}

function givenUp(): TrunklineError {
  return new TrunklineError('store.rolled_back', { store: STORE, problem: 'its caller gave it up' })
}

/** What the database gave up, or a link that broke, under whatever the caller's libraries made of it; anything else is the caller's. */
function translated(error: unknown): unknown {
  if (isTrunklineError(error)) return error
  let cause = error
  for (let depth = 0; depth < CAUSES_MAX && cause instanceof Error; depth++) {
    if (sqlState(cause) !== undefined || isLinkError(cause)) {
      const failure = failureOf(cause)
      if (failure === 'refused') return error
      if (cause === error) return storeError(error)
      return new TrunklineError(failure === 'conflict' ? 'store.conflict' : 'store.down', { store: STORE, problem: problemOf(cause) }, { cause: error })
    }
    cause = cause.cause
  }
  return error
}

/** Errors that the client makes itself carry no code: these are its words for a connection that is gone or silent. */
function isLinkError(error: Error): boolean {
  return /^(?:Connection terminated|Query read timeout|Client has encountered a connection error|Client was closed)/.test(error.message)
}
