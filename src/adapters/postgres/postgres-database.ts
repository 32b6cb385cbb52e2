import { backoffMs } from '../../core/backoff.ts'
import { sleep, type Clock } from '../../core/clock.ts'
import { isTrunklineError, TrunklineError } from '../../core/errors.ts'
import { RECONNECT_DELAY_MAX_MS, RECONNECT_INITIAL_MS } from '../../core/limits.ts'
import type { Logger } from '../../core/logger.ts'
import type { Random } from '../../core/random.ts'
import { loadPg, type PgClient, type PgConnectOptions, type PgModule, type PgPool, type PgRow } from './postgres-client.ts'
import { problemOf, STORE, storeError } from './postgres-errors.ts'
import { PgHealth } from './postgres-health.ts'
import { BEGIN } from './postgres-joined.ts'
import { PgSignals } from './postgres-listen.ts'
import { migrate, type PgPart } from './postgres-migrations.ts'
import type { PostgresAddress, PostgresSettings } from './postgres-options.ts'
import { booleanAt, numberAt, PgStatement, textAt } from './postgres-rows.ts'
import { type PgExecutor, PgSession, rowsOf } from './postgres-session.ts'

/** Who opens a part of the database; the hosts of a store and of a transport both fit. */
export interface PgHost {
  readonly clock: Clock
  readonly random: Random
  readonly logger: Logger
  readonly service: string
  readonly instance: string
  readonly report: (state: 'up' | 'degraded' | 'down', reason: string) => void
}

/** What exists while the database is open. */
interface Opened {
  readonly pool: PgPool
  readonly signals: PgSignals
  readonly health: PgHealth
  readonly host: PgHost
  readonly onPoolError: (error: Error) => void
  readonly warning: string | undefined
}

const RECONNECT = { initialMs: RECONNECT_INITIAL_MS, factor: 2, maxMs: RECONNECT_DELAY_MAX_MS }
/** MATERIALIZED in common table expressions, which some statements rely on. */
const VERSION_MIN = 120_000
const MIGRATION_TIMEOUT_MS = 300_000
const IDLE_CONNECTION_MS = 30_000
const KEEP_ALIVE_MS = 10_000

const CHECK = `SELECT pg_is_in_recovery() AS standby, current_setting('server_version_num')::int AS version, current_setting('server_encoding') AS encoding,
  current_setting('fsync') AS fsync, current_setting('full_page_writes') AS pages, current_setting('synchronous_commit') AS synchronous,
  current_setting('transaction_read_only') AS readonly`
const NOTIFY = new PgStatement('SELECT pg_catalog.pg_notify($1, $2)')

/**
 * One PostgreSQL database: pool, signals between processes, and the state of the link. Shared by the store and the transport of
 * one value: each opens and closes its part, the first opens the connections and the last closes them.
 */
export class PgDatabase implements PgExecutor {
  readonly settings: PostgresSettings
  /** The schema, quoted. */
  readonly schema: string
  readonly #hosts = new Set<PgHost>()
  #opening: Promise<Opened> | undefined
  #opened: Opened | undefined
  #pg: PgModule | undefined
  #lostCount = 0

  constructor(settings: PostgresSettings) {
    this.settings = settings
    this.schema = `"${settings.schema}"`
  }

  /** Between processes. */
  get signals(): PgSignals {
    return this.#mustBeOpen().signals
  }

  /** Connections that broke, and statements that found the database gone, so far: behind the next one may be another copy of it (P-19). */
  get lostCount(): number {
    return this.#lostCount
  }

  /** Of whoever opened it first. */
  get host(): PgHost {
    return this.#mustBeOpen().host
  }

  /**
   * Connects, and brings the tables of one part to the version that this release knows.
   *
   * @throws `store.down`, `store.refused`, `core.peer_missing`, `bus.unsupported`.
   */
  async open(host: PgHost, part: PgPart): Promise<void> {
    this.#hosts.add(host)
    try {
      this.#opening ??= this.#connect(host)
      const { warning } = await this.#opening
      await this.#migrate(part)
      host.report(warning === undefined ? 'up' : 'degraded', warning ?? 'connected')
    } catch (error) {
      await this.close(host)
      throw storeError(error)
    }
  }

  /** Gives back what `open` opened for this host; idempotent. */
  async close(host: PgHost): Promise<void> {
    this.#hosts.delete(host)
    if (this.#hosts.size > 0) return
    const opening = this.#opening
    this.#opening = undefined
    const opened = await opening?.catch(() => undefined)
    this.#opened = undefined
    if (opened === undefined) return
    opened.health.close()
    await opened.signals.close()
    if ('pool' in this.settings.source) opened.pool.off('error', opened.onPoolError)
    else await opened.pool.end().catch(() => undefined)
  }

  /** Runs one statement in a transaction of its own. */
  async run(statement: PgStatement, values: readonly unknown[]): Promise<readonly PgRow[]> {
    const session = await this.session()
    try {
      const rows = await session.run(statement, values)
      this.#opened?.health.works()
      return rows
    } catch (error) {
      this.failed(error)
      throw error
    } finally {
      // A statement that failed has ended its transaction: unless the link did, the connection is as good as before.
      session.end(true)
    }
  }

  /** Lends a connection. @throws `store.down`. */
  async session(): Promise<PgSession> {
    const { pool } = this.#mustBeOpen()
    try {
      return await PgSession.take(pool, this.settings)
    } catch (error) {
      this.failed(error)
      throw error
    }
  }

  /**
   * Makes a connection beside the pool that sends without waiting for answers, for whoever needs an order of its own; undefined
   * where the caller's pool is all there is.
   */
  get dial(): (() => Promise<PgClient>) | undefined {
    const { source } = this.settings
    return 'pool' in source ? undefined : () => this.#pipelined(source.address, this.host)
  }

  /** Looks at an error, for the state of the link. */
  failed(error: unknown): void {
    if (!isTrunklineError(error, 'store.down')) return
    this.#lostCount += 1
    this.#opened?.health.failed(error.details.problem)
  }

  /** Settings of a transaction, as statements: its time limits where the connection has none of its own, or others (P-21). */
  limitsOf(statementTimeoutMs: number): readonly string[] {
    const { limitsTravel, lockTimeoutMs, idleInTransactionTimeoutMs } = this.settings
    const limits = [`SET LOCAL statement_timeout = ${Math.ceil(statementTimeoutMs)}`]
    if (limitsTravel) return [...limits, `SET LOCAL lock_timeout = ${lockTimeoutMs}`, `SET LOCAL idle_in_transaction_session_timeout = ${idleInTransactionTimeoutMs}`]
    return statementTimeoutMs === this.settings.statementTimeoutMs ? [] : limits
  }

  /** Begins a transaction with these settings. */
  get beginText(): string {
    return [BEGIN, ...this.limitsOf(this.settings.statementTimeoutMs)].join('; ')
  }

  #mustBeOpen(): Opened {
    if (this.#opened === undefined) throw new TrunklineError('store.down', { store: STORE, problem: 'it is not open' })
    return this.#opened
  }

  async #connect(host: PgHost): Promise<Opened> {
    const { source } = this.settings
    const pool = 'pool' in source ? source.pool : await this.#newPool(source.address, source.poolMax, host)
    const health = new PgHealth({
      clock: host.clock,
      random: host.random,
      probe: async () => void (await this.#firstAnswer(pool)),
      report: (state, reason) => {
        for (const each of this.#hosts) each.report(state, reason)
      },
    })
    const onPoolError = (error: Error): void => {
      this.#lostCount += 1
      health.failed(problemOf(error))
    }
    // P-22: an idle connection that breaks would end the process.
    pool.on('error', onPoolError)
    try {
      const warning = await this.#answerInTime(pool, host)
      health.warn(warning)
      const signals = this.#newSignals(host)
      const opened = { pool, signals, health, host, onPoolError, warning }
      this.#opened = opened
      signals.start()
      return opened
    } catch (error) {
      pool.off('error', onPoolError)
      pool.on('error', () => undefined)
      if (!('pool' in source)) await pool.end().catch(() => undefined)
      throw error
    }
  }

  /** Tries until it answers or the time is over; what the database refuses, it refuses at once. */
  async #answerInTime(pool: PgPool, { clock, random }: PgHost): Promise<string | undefined> {
    const endMs = clock.monotonicMs() + this.settings.openTimeoutMs
    for (let tries = 1; ; tries++) {
      try {
        return await this.#firstAnswer(pool)
      } catch (error) {
        const waitMs = backoffMs(RECONNECT, tries, random)
        if (!isTrunklineError(error, 'store.down') || clock.monotonicMs() + waitMs >= endMs) throw error
        await sleep(clock, waitMs)
      }
    }
  }

  /** What is wrong with the server's settings, for people; undefined where nothing is. */
  async #firstAnswer(pool: PgPool): Promise<string | undefined> {
    const session = await PgSession.take(pool, this.settings)
    let isClean = false
    try {
      const [row] = rowsOf(await session.runText(CHECK))
      isClean = true
      return row === undefined ? undefined : checkedServer(row)
    } finally {
      session.end(isClean)
    }
  }

  async #migrate(part: PgPart): Promise<void> {
    const session = await this.session()
    let isClean = false
    try {
      await migrate(async (text) => rowsOf(await session.runText(text, MIGRATION_TIMEOUT_MS)), this.settings.schema, [part], this.settings.isMigrating)
      isClean = true
    } finally {
      session.end(isClean)
    }
  }

  async #newPool(address: PostgresAddress, max: number, host: PgHost): Promise<PgPool> {
    this.#pg ??= await loadPg()
    return new this.#pg.Pool({ ...this.#connectOptions(address, host, !this.settings.limitsTravel), pipeline: true, max, idleTimeoutMillis: IDLE_CONNECTION_MS })
  }

  #newSignals(host: PgHost): PgSignals {
    const { listenAddress, schema } = this.settings
    return new PgSignals({
      clock: host.clock,
      random: host.random,
      logger: host.logger,
      instance: host.instance,
      channel: `trunkline ${schema}`,
      connect: listenAddress === undefined ? undefined : () => this.#listenClient(listenAddress, host),
      send: async (channel, payload) => void (await this.run(NOTIFY, [channel, payload])),
    })
  }

  async #pipelined(address: PostgresAddress, host: PgHost): Promise<PgClient> {
    this.#pg ??= await loadPg()
    const { query_timeout: _each, ...options } = this.#connectOptions(address, host, !this.settings.limitsTravel)
    const client = new this.#pg.Client({ ...options, pipeline: true })
    client.on('error', () => undefined) // P-22
    await client.connect()
    return client
  }

  async #listenClient(address: PostgresAddress, host: PgHost): Promise<PgClient> {
    this.#pg ??= await loadPg()
    const client = new this.#pg.Client(this.#connectOptions(address, host, false))
    // Until someone listens, an error would end the process (P-22).
    client.on('error', () => undefined)
    await client.connect()
    return client
  }

  #connectOptions(address: PostgresAddress, host: PgHost, hasLimits: boolean): PgConnectOptions {
    const { connectTimeoutMs, queryTimeoutMs, statementTimeoutMs, lockTimeoutMs, idleInTransactionTimeoutMs } = this.settings
    return {
      ...address,
      application_name: `trunkline ${host.service}`.slice(0, 63),
      connectionTimeoutMillis: connectTimeoutMs,
      query_timeout: queryTimeoutMs,
      keepAlive: true,
      keepAliveInitialDelayMillis: KEEP_ALIVE_MS,
      // A pooler refuses to start a session with these.
      ...(hasLimits ? { statement_timeout: statementTimeoutMs, lock_timeout: lockTimeoutMs, idle_in_transaction_session_timeout: idleInTransactionTimeoutMs } : {}),
    }
  }
}

/** @throws `store.refused` for a server that cannot keep the promises, `store.down` for one that is a standby (now). */
function checkedServer(row: PgRow): string | undefined {
  const refused = (problem: string): TrunklineError => new TrunklineError('store.refused', { store: STORE, problem })
  if (numberAt(row, 'version') < VERSION_MIN) throw refused('PostgreSQL 12 or newer is needed')
  if (textAt(row, 'encoding') !== 'UTF8') throw refused(`the encoding of the database is ${textAt(row, 'encoding')}, and UTF8 is needed`)
  // P-24: order and freshness hold on the primary alone. It may be promoted in a moment.
  if (booleanAt(row, 'standby') || textAt(row, 'readonly') === 'on') throw new TrunklineError('store.down', { store: STORE, problem: 'it is read-only, a standby perhaps' })
  const offs = (['fsync', 'pages', 'synchronous'] as const).filter((name) => textAt(row, name) === 'off')
  const names = { fsync: 'fsync', pages: 'full_page_writes', synchronous: 'synchronous_commit' } as const
  return offs.length === 0 ? undefined : `${offs.map((name) => names[name]).join(', ')} off: what was committed can be lost in a crash of the server`
}
