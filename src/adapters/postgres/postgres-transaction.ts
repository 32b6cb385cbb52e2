import { isTrunklineError, TrunklineError } from '../../core/errors.ts'
import type { TransactOptions } from '../../outbox/port.ts'
import type { PgResult, PgRow } from './postgres-client.ts'
import type { PgDatabase } from './postgres-database.ts'
import { failureOf, problemOf, sqlState, STORE, storeError } from './postgres-errors.ts'
import { type PgHandle, PgUnitHandle } from './postgres-handle.ts'
import { BEGIN } from './postgres-joined.ts'
import type { PgStatement } from './postgres-rows.ts'
import { type PgUnitExecutor, type PgSession, rowsOf } from './postgres-session.ts'

/** Deepest cause of an error that is looked at: libraries over the client wrap its errors. */
const CAUSES_MAX = 5
const ROLLBACK_MS_MAX = 5_000

/** The last statement of a transaction, which waits for the commit. */
interface Last {
  readonly statement: PgStatement
  readonly values: readonly unknown[]
}

/** The statements of the library in a transaction: in turn with those of the caller. */
class TurnExecutor implements PgUnitExecutor {
  readonly #session: PgSession
  readonly #handle: PgUnitHandle
  /** Settings that the transaction begins with. */
  readonly #settings: readonly string[]
  #last: Last | undefined

  constructor(session: PgSession, handle: PgUnitHandle, settings: readonly string[]) {
    this.#session = session
    this.#handle = handle
    this.#settings = settings
  }

  run(statement: PgStatement, values: readonly unknown[]): Promise<readonly PgRow[]> {
    const first = this.#handle.first(() => this.#session.joined(statement, values, { beginning: this.#settings, isCommitting: false }))
    return first === undefined ? this.#handle.turn(() => this.#session.run(statement, values)) : first.then(firstRows)
  }

  runLast(statement: PgStatement, values: readonly unknown[]): Promise<void> {
    if (this.#handle.isOver) return Promise.reject(new TrunklineError('outbox.unit_over', { operation: 'a message' }))
    this.#last = { statement, values }
    return Promise.resolve()
  }

  /** Commits, with the last statement on the same way where the connection allows it. @throws what that statement throws, `store.rolled_back`. */
  async commit(): Promise<void> {
    const last = this.#last
    if (last === undefined && !this.#handle.hasBegun) return
    const committed = await (last === undefined ? this.#commitAlone() : this.#commitWith(last))
    if (committed?.command === 'COMMIT') return
    // P-08: a commit after a statement that failed answers a rollback, without an error.
    this.#session.isIdle = true
    throw hadFailed()
  }

  async #commitAlone(): Promise<PgResult> {
    await this.#handle.began()
    return await this.#session.runText('COMMIT')
  }

  async #commitWith({ statement, values }: Last): Promise<PgResult | undefined> {
    const isFirst = !this.#handle.hasBegun
    if (!isFirst) await this.#handle.began()
    try {
      const sent = this.#session.joined(statement, values, { beginning: isFirst ? this.#settings : undefined, isCommitting: true })
      if (sent !== undefined) return (await sent.results).at(-1)
      await this.#handle.began()
      await this.#session.run(statement, values)
      return await this.#session.runText('COMMIT')
    } catch (error) {
      // Nothing was committed, or nobody knows: then the link is gone.
      await ended(this.#session)
      throw isTrunklineError(error) && sqlState(error.cause) === IN_FAILED_TRANSACTION ? hadFailed(error.cause) : error
    }
  }
}

/** What every statement is answered after one that failed. */
const IN_FAILED_TRANSACTION = '25P02'

function hadFailed(cause?: unknown): TrunklineError {
  return new TrunklineError('store.rolled_back', { store: STORE, problem: 'a statement had failed before, and its error was caught' }, cause === undefined ? {} : { cause })
}

function firstRows([result]: readonly PgResult[]): readonly PgRow[] {
  return result === undefined ? [] : rowsOf(result)
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
    const settings = database.limitsOf(Math.min(options.timeoutMs ?? Infinity, database.settings.statementTimeoutMs))
    const handle = new PgUnitHandle(session.client, session.isPipelined, {
      alone: () => session.runText([BEGIN, ...settings].join('; ')),
      with: (query, values) => session.joinedRaw(query, values, { beginning: settings, isCommitting: false }),
    })
    const value = await worked(database, session, handle, new TurnExecutor(session, handle, settings), options, work)
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
  database: PgDatabase, session: PgSession, handle: PgUnitHandle, executor: TurnExecutor, options: TransactOptions,
  work: (handle: PgHandle, executor: PgUnitExecutor) => Promise<T>,
): Promise<T> {
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
  } catch {
    return
  }
  if (handle.hasBegun) await ended(session)
  else session.isIdle = true
}

/** Rolls back; where that fails, the connection is closed instead. */
async function ended(session: PgSession): Promise<void> {
  try {
    await session.runText('ROLLBACK', ROLLBACK_MS_MAX)
    session.isIdle = true
  } catch {
    // The session is not idle.
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
