import { TrunklineError } from '../../core/errors.ts'
import { optionNames, refuseUnknown } from '../../core/option-names.ts'
import type { PgPool } from './postgres-client.ts'

/** Address and credentials, where they are not in one URL. */
export interface PostgresConnection {
  readonly host?: string
  /** Default 5432. */
  readonly port?: number
  readonly database?: string
  readonly user?: string
  /** A function is asked for every new connection, so that passwords may change. */
  readonly password?: string | (() => string | Promise<string>)
  /** As `pg` takes it: true, or options of `node:tls`. */
  readonly ssl?: boolean | Readonly<Record<string, unknown>>
}

/** What all ways to reach the database have in common. Everything left out has a safe default. */
interface PostgresCommonOptions {
  /** Schema that holds every table of the library. Default `trunkline`. Lower-case letters, digits and `_`. */
  readonly schema?: string
  /**
   * `apply` (default): `open` brings the tables to the version that this release knows, safely beside other instances. `check`: it
   * refuses to start where they are not, and needs no rights to make tables. Where they are right already, both touch nothing.
   */
  readonly migrations?: 'apply' | 'check'
  /**
   * `transaction`: the address is a pooler that gives each transaction another session, as PgBouncer does. Time limits then
   * travel with each transaction instead of the connection, statements are not prepared, and `listen` is off. Default `none`.
   */
  readonly pooler?: 'none' | 'transaction'
  /** Prepare statements by name, once per connection. Default true; false behind a pooler. */
  readonly prepare?: boolean
  /**
   * Keep one connection that listens, so that commits of other processes are heard at once; without it they are found by
   * polling. Default true; false behind a pooler, unless `listenConnectionString` is given.
   */
  readonly listen?: boolean
  /** Address for the connection that listens, past the pooler. */
  readonly listenConnectionString?: string
  /** Shards of the outbox, 1 to 256: relays share the work by shards. The same in every process of a store. Default 16. */
  readonly shards?: number
  /** Time to get a connection, in milliseconds. Default 5,000. */
  readonly connectTimeoutMs?: number
  /** Time that `open` may take, in milliseconds. Default 10,000. */
  readonly openTimeoutMs?: number
  /** Longest time that the database works on one statement, in milliseconds. Default 25,000. */
  readonly statementTimeoutMs?: number
  /** Longest wait for an answer, in milliseconds; above `statementTimeoutMs`, for a database that is frozen (P-21). Default 30,000. */
  readonly queryTimeoutMs?: number
  /** Longest wait for a lock, in milliseconds. Default 10,000. */
  readonly lockTimeoutMs?: number
  /** Longest pause between two statements of a transaction, in milliseconds. Default 60,000. */
  readonly idleInTransactionTimeoutMs?: number
  /**
   * An instance of the transport that shows no sign of life for this long loses what it has claimed, by the database's clock, in
   * milliseconds. Default 15,000, at least 500. Keep it above the longest time that a handler may block the event loop.
   */
  readonly leaseMs?: number
  /** Time between two looks for news of other processes while nothing happens and nobody is heard of, in milliseconds. Default 1,000. */
  readonly idlePollMs?: number
}

/** An address; the adapter makes the connections and closes them. */
export interface PostgresAddressOptions extends PostgresCommonOptions {
  /** `postgres://user:password@host:port/database`. */
  readonly connectionString?: string
  /** Instead of `connectionString`. Without both, the `PG…` variables of the environment count. */
  readonly connection?: PostgresConnection
  readonly pool?: undefined
  /** Connections at most, 2 to 1,000; the one that listens is not counted. Default 10. */
  readonly poolMax?: number
}

/** A pool that the caller has made and closes. Its limits are the caller's; time limits still travel with each transaction. */
export interface PostgresPoolOptions extends PostgresCommonOptions {
  /** A `Pool` of `pg`, in its ordinary (not pipelined) mode. */
  readonly pool: PgPool
  readonly connectionString?: undefined
  readonly connection?: undefined
}

/** How to reach the database. */
export type PostgresOptions = PostgresAddressOptions | PostgresPoolOptions

/** The options with every default in place. */
export interface PostgresSettings {
  readonly source: { readonly pool: PgPool } | { readonly address: PostgresAddress; readonly poolMax: number }
  readonly schema: string
  readonly isMigrating: boolean
  /** Time limits are sent with each transaction, because the connection's belong to someone else. */
  readonly limitsTravel: boolean
  readonly isPreparing: boolean
  /** Connections of our own send a statement without waiting for the answer to the one before; those of the caller's pool need not. */
  readonly isPipelined: boolean
  /** Where to listen; undefined: not at all. */
  readonly listenAddress: PostgresAddress | undefined
  readonly shards: number
  readonly connectTimeoutMs: number
  readonly openTimeoutMs: number
  readonly statementTimeoutMs: number
  readonly queryTimeoutMs: number
  readonly lockTimeoutMs: number
  readonly idleInTransactionTimeoutMs: number
  readonly idlePollMs: number
  readonly leaseMs: number
}

/** One of the two, as `pg` takes it; nothing where the environment tells. */
export interface PostgresAddress extends PostgresConnection {
  readonly connectionString?: string
}

const TIME_MAX_MS = 3_600_000
const LEASE_MIN_MS = 500
const SCHEMA = /^[a-z_][a-z0-9_]{0,40}$/

const NAMES = optionNames<PostgresAddressOptions & Omit<PostgresPoolOptions, 'pool'>>({
  schema: true, migrations: true, pooler: true, prepare: true, listen: true, listenConnectionString: true, shards: true,
  connectTimeoutMs: true, openTimeoutMs: true, statementTimeoutMs: true, queryTimeoutMs: true, lockTimeoutMs: true,
  idleInTransactionTimeoutMs: true, idlePollMs: true, leaseMs: true, connectionString: true, connection: true, pool: true, poolMax: true,
})
const CONNECTION_NAMES = optionNames<PostgresConnection>({ host: true, port: true, database: true, user: true, password: true, ssl: true })

/**
 * Fills in the defaults.
 *
 * @throws `core.option_invalid` for a value out of its range, or options that exclude each other; `core.option_unknown`.
 */
export function settingsFrom(options: PostgresOptions): PostgresSettings {
  refuseUnknown('postgres options', options, NAMES)
  const isPooled = oneOf('pooler', options.pooler ?? 'none', ['none', 'transaction']) === 'transaction'
  const statementTimeoutMs = checkedMs('statementTimeoutMs', options.statementTimeoutMs ?? 25_000)
  const queryTimeoutMs = checkedMs('queryTimeoutMs', options.queryTimeoutMs ?? 30_000)
  if (queryTimeoutMs <= statementTimeoutMs) throw invalid('queryTimeoutMs', 'longer than statementTimeoutMs', queryTimeoutMs)
  const schema = options.schema ?? 'trunkline'
  if (!SCHEMA.test(schema) || schema.startsWith('pg_')) {
    throw invalid('schema', 'lower-case letters, digits and _, at most 41 characters, not beginning with pg_', schema)
  }
  return {
    source: sourceFrom(options),
    schema,
    isMigrating: oneOf('migrations', options.migrations ?? 'apply', ['apply', 'check']) === 'apply',
    limitsTravel: isPooled || options.pool !== undefined,
    isPreparing: options.prepare ?? !isPooled,
    isPipelined: options.pool === undefined,
    listenAddress: listenAddressFrom(options, isPooled),
    shards: checkedCount('shards', options.shards ?? 16, 1, 256),
    connectTimeoutMs: checkedMs('connectTimeoutMs', options.connectTimeoutMs ?? 5_000),
    openTimeoutMs: checkedMs('openTimeoutMs', options.openTimeoutMs ?? 10_000),
    statementTimeoutMs,
    queryTimeoutMs,
    lockTimeoutMs: checkedMs('lockTimeoutMs', options.lockTimeoutMs ?? 10_000),
    idleInTransactionTimeoutMs: checkedMs('idleInTransactionTimeoutMs', options.idleInTransactionTimeoutMs ?? 60_000),
    idlePollMs: checkedMs('idlePollMs', options.idlePollMs ?? 1_000),
    leaseMs: checkedMs('leaseMs', options.leaseMs ?? 15_000, LEASE_MIN_MS),
  }
}

function sourceFrom(options: PostgresOptions): PostgresSettings['source'] {
  const { pool } = options
  if (pool === undefined) return { address: addressFrom(options), poolMax: checkedCount('poolMax', options.poolMax ?? 10, 2, 1_000) }
  if (options.connectionString !== undefined || options.connection !== undefined) {
    throw new TrunklineError('core.option_invalid', { option: 'pool', expected: 'the only address', actual: 'given beside another one' })
  }
  return { pool }
}

function addressFrom({ connectionString, connection }: PostgresAddressOptions): PostgresAddress {
  if (connectionString !== undefined && connection !== undefined) {
    // Never the values: they can hold a password.
    throw new TrunklineError('core.option_invalid', { option: 'connection', expected: 'left out beside connectionString', actual: 'given' })
  }
  if (connection !== undefined) {
    refuseUnknown('postgres connection', connection, CONNECTION_NAMES)
    return connection
  }
  return connectionString === undefined ? {} : { connectionString: checkedUrl('connectionString', connectionString) }
}

function listenAddressFrom(options: PostgresOptions, isPooled: boolean): PostgresAddress | undefined {
  const { listenConnectionString } = options
  if (listenConnectionString !== undefined && options.listen !== false) return { connectionString: checkedUrl('listenConnectionString', listenConnectionString) }
  const canListen = !isPooled && options.pool === undefined
  if (options.listen === true && !canListen) {
    throw new TrunklineError('core.option_invalid', { option: 'listen', expected: 'given with listenConnectionString beside a pool or a pooler', actual: 'true' })
  }
  return canListen && options.listen !== false ? addressFrom(options) : undefined
}

function checkedUrl(option: string, url: string): string {
  if (typeof url === 'string' && /^(?:postgres(?:ql)?|socket):/.test(url)) return url
  throw new TrunklineError('core.option_invalid', { option, expected: 'a URL that begins with postgres://', actual: 'another text' })
}

function checkedMs(option: string, value: number, least = 1): number {
  if (Number.isInteger(value) && value >= least && value <= TIME_MAX_MS) return value
  throw invalid(option, `whole milliseconds from ${least} to ${TIME_MAX_MS}`, value)
}

function checkedCount(option: string, value: number, least: number, most: number): number {
  if (Number.isInteger(value) && value >= least && value <= most) return value
  throw invalid(option, `a whole number from ${least} to ${most}`, value)
}

function oneOf<T extends string>(option: string, value: T, allowed: readonly T[]): T {
  if (allowed.includes(value)) return value
  throw invalid(option, `one of ${allowed.join(', ')}`, value)
}

function invalid(option: string, expected: string, actual: unknown): TrunklineError {
  return new TrunklineError('core.option_invalid', { option, expected, actual: JSON.stringify(actual) ?? 'undefined' })
}
