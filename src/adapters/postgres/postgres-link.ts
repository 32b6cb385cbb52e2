import { backoffMs } from '../../core/backoff.ts'
import { sleep } from '../../core/clock.ts'
import { isTrunklineError, TrunklineError } from '../../core/errors.ts'
import { RECONNECT_DELAY_MAX_MS, RECONNECT_INITIAL_MS } from '../../core/limits.ts'
import { inOneWrite, type PgClient, type PgQuery, type PgResult, type PgRow } from './postgres-client.ts'
import type { PgDatabase, PgHost } from './postgres-database.ts'
import { problemOf, STORE, storeError } from './postgres-errors.ts'
import type { PgStatement } from './postgres-rows.ts'
import { queryOf, rowsOf } from './postgres-session.ts'

/** A statement with its values. */
export interface PgStep {
  readonly statement: PgStatement
  readonly values: readonly unknown[]
}

/** Longest wait for the answers of one flight; a link that takes longer is given up and made again (P-21). */
const FLIGHT_MS_MAX = 15_000
const RECONNECT = { initialMs: RECONNECT_INITIAL_MS, factor: 2, maxMs: Math.min(2_000, RECONNECT_DELAY_MAX_MS) }

/** What a link tells. */
export interface PgLinkWatcher {
  /** It can be used, the first time or again. */
  readonly onUp: () => void
  readonly onDown: (problem: string) => void
}

/**
 * One way to the database with an order of its own: what is sent first is done first.
 *
 * Where the adapter makes its connections, a link has one for itself and sends a whole transaction without waiting for the answers
 * in between, so that its locks are held for as long as the server works and no longer. Over a pool of the caller's it borrows a
 * connection for each transaction and waits for every answer.
 */
export class PgLink {
  readonly #database: PgDatabase
  readonly #host: PgHost
  readonly #watcher: PgLinkWatcher
  readonly #stop = new AbortController()
  #client: PgClient | undefined
  #isUp = false
  #failures = 0
  readonly #upWaiters: (() => void)[] = []
  /** Over a pool: a connection failed since the last success, and the server may have crashed. */
  #isShaken = false
  /** Over a pool, transactions take turns by themselves. */
  #last: Promise<unknown> = Promise.resolve()
  readonly #begin: string

  constructor(database: PgDatabase, host: PgHost, watcher: PgLinkWatcher) {
    this.#database = database
    this.#host = host
    this.#watcher = watcher
    this.#begin = database.beginText
  }

  /** Makes the connection. @throws `store.*` where that fails; nothing is tried again then. */
  async open(): Promise<void> {
    const { dial } = this.#database
    if (dial !== undefined) this.#adopt(await dial())
    this.#rise()
  }

  /** True once it was closed. */
  get isClosed(): boolean {
    return this.#stop.signal.aborted
  }

  get isUp(): boolean {
    return this.#isUp
  }

  /** Resolves when it may work again: when the link is up, and after a pause that grows with the failures in a row. */
  async recovered(): Promise<void> {
    const { signal } = this.#stop
    this.#failures++
    await sleep(this.#host.clock, backoffMs({ initialMs: 20, factor: 2, maxMs: 1_000 }, this.#failures, this.#host.random), signal)
    if (this.#isUp || signal.aborted) return
    await new Promise<void>((resolve) => this.#upWaiters.push(resolve))
  }

  /** Runs one statement in a transaction of its own. @throws `store.*`. */
  async run(step: PgStep): Promise<readonly PgRow[]> {
    if (this.#database.dial === undefined) return await this.#inTurn(() => this.#lent(step))
    const [result] = await this.#flight([this.#query(step)])
    this.#failures = 0
    return result === undefined ? [] : rowsOf(result)
  }

  /**
   * Runs statements in one transaction; resolves with the rows of each after the commit.
   *
   * @throws `store.*`; `store.rolled_back` where the commit did not commit (P-08).
   */
  async transact(steps: readonly PgStep[]): Promise<readonly (readonly PgRow[])[]> {
    const results =
      this.#database.dial === undefined
        ? await this.#inTurn(() => this.#borrowed(steps))
        : await this.#flight([{ text: this.#begin }, ...steps.map((step) => this.#query(step)), { text: 'COMMIT' }])
    if (results.at(-1)?.command !== 'COMMIT') throw new TrunklineError('store.rolled_back', { store: STORE, problem: 'the commit answered a rollback' })
    this.#succeeded()
    return results.slice(1, -1).map(rowsOf)
  }

  /** Ends it; what was sent is answered or fails. It never rejects. */
  async close(): Promise<void> {
    this.#stop.abort()
    const client = this.#client
    this.#client = undefined
    this.#isUp = false
    this.#wakeWaiters()
    const goodbye = client?.end().catch(() => undefined)
    const waiting = new AbortController()
    await Promise.race([goodbye, sleep(this.#host.clock, 1_000, waiting.signal)])
    waiting.abort()
  }

  #query(step: PgStep): PgQuery {
    const { name, text, values } = queryOf(step.statement, step.values, this.#database.settings)
    return { text, ...(name === undefined ? {} : { name }), ...(values === undefined ? {} : { values }) }
  }

  async #flight(queries: readonly PgQuery[]): Promise<readonly PgResult[]> {
    const client = this.#client
    if (client === undefined) throw new TrunklineError('store.down', { store: STORE, problem: 'the connection was lost and is being made again' })
    const last = queries.length - 1
    const sent = inOneWrite(client, () =>
      queries.map((query, at) => client.query(at === last ? { ...query, query_timeout: Math.min(FLIGHT_MS_MAX, this.#database.settings.queryTimeoutMs) } : query)),
    )
    const settled = await Promise.allSettled(sent)
    const results: PgResult[] = []
    for (const one of settled) {
      if (one.status === 'rejected') throw this.#failed(one.reason, client)
      results.push(one.value)
    }
    return results
  }

  async #lent({ statement, values }: PgStep): Promise<readonly PgRow[]> {
    try {
      const rows = await this.#database.run(statement, values)
      this.#succeeded()
      return rows
    } catch (error) {
      throw this.#failed(error)
    }
  }

  async #borrowed(steps: readonly PgStep[]): Promise<readonly PgResult[]> {
    const session = await this.#database.session()
    let isClean = false
    try {
      const results = [await session.runText(this.#begin)]
      for (const step of steps) results.push(await session.send(queryOf(step.statement, step.values, this.#database.settings)))
      results.push(await session.runText('COMMIT'))
      isClean = true
      return results
    } catch (error) {
      throw this.#failed(error)
    } finally {
      session.end(isClean)
    }
  }

  #inTurn<T>(work: () => Promise<T>): Promise<T> {
    const turn = this.#last.then(work)
    this.#last = turn.catch(() => undefined)
    return turn
  }

  #succeeded(): void {
    this.#failures = 0
    if (!this.#isShaken) return
    this.#isShaken = false
    this.#watcher.onUp()
  }

  #failed(thrown: unknown, client: PgClient | undefined = this.#client): TrunklineError {
    const error = storeError(thrown)
    this.#database.failed(error)
    // Also where the connection told of its end before anybody listened, and where a primary became a standby, which it then stays (P-24).
    if (isTrunklineError(error, 'store.down')) {
      if (this.#database.dial === undefined) this.#isShaken = true
      else this.#drop(client, error.details.problem)
    }
    return error
  }

  #adopt(client: PgClient): void {
    this.#client = client
    // P-22: without these listeners an error would end the process.
    client.on('error', (error) => this.#drop(client, problemOf(error)))
    client.on('end', () => this.#drop(client, 'the connection was closed'))
  }

  #rise(): void {
    this.#isUp = true
    this.#watcher.onUp()
    this.#wakeWaiters()
  }

  #wakeWaiters(): void {
    for (const resolve of this.#upWaiters.splice(0)) resolve()
  }

  #drop(client: PgClient | undefined, problem: string): void {
    if (client === undefined || this.#client !== client) return
    this.#client = undefined
    this.#isUp = false
    void client.end().catch(() => undefined)
    this.#watcher.onDown(problem)
    void this.#redial()
  }

  async #redial(): Promise<void> {
    const { dial } = this.#database
    const { clock, random } = this.#host
    const { signal } = this.#stop
    for (let tries = 1; dial !== undefined && !signal.aborted; tries++) {
      await sleep(clock, backoffMs(RECONNECT, tries, random), signal)
      if (signal.aborted) return
      try {
        const client = await dial()
        if (signal.aborted) {
          void client.end().catch(() => undefined)
          return
        }
        this.#adopt(client)
        this.#rise()
        return
      } catch (error) {
        this.#watcher.onDown(problemOf(error))
      }
    }
  }
}
