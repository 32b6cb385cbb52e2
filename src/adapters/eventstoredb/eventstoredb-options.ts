import { checkedName } from '../../contract/names.ts'
import { errorText, TrunklineError } from '../../core/errors.ts'
import type { EsdbConnect, EsdbCredentials } from './eventstoredb-client.ts'

/** TLS towards the servers. Certificates are verified, always. */
export interface EventStoreDbTlsOptions {
  /** Path of a PEM file with the authorities to trust; the platform's own where it is left out. */
  readonly caFile?: string
  /** Paths of the client's certificate and key, where the server asks for one. */
  readonly certFile?: string
  readonly keyFile?: string
}

/** Options that do not depend on who makes the client. */
export interface EventStoreDbSharedOptions {
  /** Part of the name of every stream that the transport uses. Default `trunkline`. */
  readonly namespace?: string
  /** Longest time that one call may take before its outcome counts as unknown, in milliseconds. Default 10,000; at least 100. */
  readonly callTimeoutMs?: number
  /** Longest time that `open` may take, in milliseconds. Default 10,000. */
  readonly openTimeoutMs?: number
  /** How long published events are kept, in milliseconds, read or not; whole seconds. Default seven days. */
  readonly eventsAgeMaxMs?: number
  /** Time after which a lease whose owner shows no sign of life may be taken over, in milliseconds. Default 10,000; at least 500. */
  readonly leaseMs?: number
  /** Lanes of an ordered group: 8, or 1 or 64 where a group has very little or very much to do. Default 8. */
  readonly lanes?: 1 | 8 | 64
  /** A subscription that says nothing for this long is looked at, and opened again where it has missed something. Default 30,000. */
  readonly silenceMaxMs?: number
}

/** How to reach the servers; this adapter connects, replaces clients that cannot go on, and closes. */
export interface EventStoreDbServerOptions extends EventStoreDbSharedOptions {
  /** `host:port`, one or the members of a cluster. Port 2113 where it is left out. */
  readonly hosts: string | readonly string[]
  /** True where `hosts` is one DNS name that stands for a cluster. Default false. */
  readonly isDiscovered?: boolean
  readonly user?: string
  readonly password?: string
  /** False for a link without TLS: to this machine alone, and without credentials, which the client then does not send. Default TLS. */
  readonly tls?: EventStoreDbTlsOptions | false
  /** Allows a link without TLS to other machines. Default false. */
  readonly allowPlaintext?: boolean
  /** Time between two signs of life on the link, and time for an answer to one, in milliseconds. Default 10,000 both. */
  readonly keepAliveIntervalMs?: number
  readonly keepAliveTimeoutMs?: number
}

/** A client made by the caller: of `@kurrent/kurrentdb-client`, or with options of its own. */
export interface EventStoreDbClientOptions extends EventStoreDbSharedOptions {
  /** Makes a client. Called at open, and again where a client cannot go on; the adapter disposes of what it made. */
  readonly connect: EsdbConnect
  /** Credentials for each call, so that appends take the way on which clients are independent of each other. */
  readonly credentials?: EsdbCredentials
}

/** What `eventStoreDb` takes. */
export type EventStoreDbOptions = EventStoreDbServerOptions | EventStoreDbClientOptions

/** Shared options with their defaults. */
export interface EsdbSettings {
  readonly namespace: string
  readonly callTimeoutMs: number
  readonly openTimeoutMs: number
  readonly eventsAgeMaxMs: number
  readonly leaseMs: number
  readonly lanes: 1 | 8 | 64
  readonly silenceMaxMs: number
}

/** Where to connect to. */
export interface EsdbTarget {
  /** For the client; holds the password. */
  readonly connectionString: (connectionName: string) => string
  /** Given with each call; undefined where TLS is on and there are none. */
  readonly credentials: EsdbCredentials | undefined
  /** What is odd about the options, for the log. */
  readonly warning: string | undefined
}

const DAY_MS = 86_400_000

/**
 * Checks the shared options and fills in the defaults.
 *
 * @throws `core.option_invalid`.
 */
export function settingsOf(options: EventStoreDbSharedOptions): EsdbSettings {
  const lanes = options.lanes ?? 8
  if (![1, 8, 64].includes(lanes)) throw invalid('lanes', '1, 8 or 64', errorText(lanes))
  return {
    namespace: checkedName('namespace', options.namespace ?? 'trunkline'),
    callTimeoutMs: atLeast('callTimeoutMs', options.callTimeoutMs ?? 10_000, 100),
    openTimeoutMs: atLeast('openTimeoutMs', options.openTimeoutMs ?? 10_000, 100),
    eventsAgeMaxMs: atLeast('eventsAgeMaxMs', options.eventsAgeMaxMs ?? 7 * DAY_MS, 60_000),
    leaseMs: atLeast('leaseMs', options.leaseMs ?? 10_000, 500),
    lanes,
    silenceMaxMs: atLeast('silenceMaxMs', options.silenceMaxMs ?? 30_000, 100),
  }
}

/** Without TLS the client sends no credentials, and giving some makes appends independent of other clients' (guard 4). */
const UNSENT: EsdbCredentials = { username: 'nobody', password: 'nothing' }

/**
 * Builds the connection string from checked parts: the client ignores most mistakes in one, and cuts a password at a colon (guard 20).
 *
 * @throws `core.option_invalid`, also for a link without TLS to another machine.
 */
export function targetOf(options: EventStoreDbServerOptions): EsdbTarget {
  const { user, password, tls } = options
  const hosts = (typeof options.hosts === 'string' ? [options.hosts] : options.hosts).map(checkedHost)
  if (hosts.length === 0) throw invalid('hosts', 'at least one host', 'none')
  if (options.isDiscovered === true && hosts.length > 1) throw invalid('hosts', 'one DNS name where isDiscovered is true', `${hosts.length} hosts`)
  if ((user === undefined) !== (password === undefined)) throw invalid('user', 'given together with password', 'one of the two')
  const open = hosts.find((host) => !isLoopback(host))
  if (tls === false && open !== undefined && options.allowPlaintext !== true) {
    throw invalid('tls', 'left on for other machines, or allowPlaintext: true', `false for ${open}`)
  }
  const given = user === undefined || password === undefined ? undefined : { username: user, password }
  const secret = given === undefined || tls === false ? '' : `${encodeURIComponent(given.username)}:${encodeURIComponent(given.password)}@`
  const fixed = [...tlsParts(tls), ...keepAliveParts(options)]
  const scheme = options.isDiscovered === true ? 'esdb+discover' : 'esdb'
  return {
    connectionString: (name) => `${scheme}://${secret}${hosts.join(',')}?${[...fixed, `connectionName=${encodeURIComponent(name)}`].join('&')}`,
    credentials: tls === false ? UNSENT : given,
    warning: tls === false && given !== undefined ? 'user and password are not sent, because TLS is off' : undefined,
  }
}

function tlsParts(tls: EventStoreDbTlsOptions | false | undefined): readonly string[] {
  if (tls === false) return ['tls=false']
  const parts = ['tls=true']
  if ((tls?.certFile === undefined) !== (tls?.keyFile === undefined)) throw invalid('tls.certFile', 'given together with keyFile', 'one of the two')
  if (tls?.caFile !== undefined) parts.push(`tlsCAFile=${encodeURIComponent(tls.caFile)}`)
  if (tls?.certFile !== undefined && tls.keyFile !== undefined) {
    parts.push(`userCertFile=${encodeURIComponent(tls.certFile)}`, `userKeyFile=${encodeURIComponent(tls.keyFile)}`)
  }
  return parts
}

function keepAliveParts(options: EventStoreDbServerOptions): readonly string[] {
  const intervalMs = atLeast('keepAliveIntervalMs', options.keepAliveIntervalMs ?? 10_000, 100)
  const timeoutMs = atLeast('keepAliveTimeoutMs', options.keepAliveTimeoutMs ?? 10_000, 100)
  return [`keepAliveInterval=${intervalMs}`, `keepAliveTimeout=${timeoutMs}`]
}

function checkedHost(host: string): string {
  const match = /^([A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?)(?::(\d{1,5}))?$/.exec(host)
  const port = Number(match?.[2] ?? 2113)
  if (match === null || port < 1 || port > 65_535) throw invalid('hosts', 'host:port, without scheme and credentials; the client takes no IPv6 addresses', 'another text')
  return `${match[1]}:${port}`
}

function isLoopback(host: string): boolean {
  return /^(?:localhost|127\.\d+\.\d+\.\d+):/.test(host)
}

function atLeast(option: string, value: number, min: number): number {
  if (!Number.isFinite(value) || value < min) throw invalid(option, `a number of milliseconds from ${min}`, errorText(value))
  return Math.floor(value)
}

function invalid(option: string, expected: string, actual: string): TrunklineError {
  return new TrunklineError('core.option_invalid', { option, expected, actual })
}
