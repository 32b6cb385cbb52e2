import { readFileSync } from 'node:fs'
import { checkedName } from '../../contract/names.ts'
import { errorText, TrunklineError } from '../../core/errors.ts'
import { type OptionNames, optionNames, refuseUnknown } from '../../core/option-names.ts'
import type { NatsConnection } from './nats-client.ts'

/** TLS towards the servers. Certificates are verified, always. */
export interface NatsTlsOptions {
  /** PEM text of the authorities to trust; the platform's own where it is left out. */
  readonly ca?: string
  /** PEM text of the client's certificate, for servers that ask for one; together with `key`. */
  readonly cert?: string
  readonly key?: string
  /** Name to verify instead of the host in the url. */
  readonly servername?: string
  /** True for servers that expect the handshake before they say anything (`handshake_first`). Default false. */
  readonly handshakeFirst?: boolean
}

/** A secret, or what gives it. A function is called for every connection that is made, so that secrets can rotate. */
export type NatsSecret = string | (() => string)

/** Options that do not depend on who opens the connection. */
export interface NatsSharedOptions {
  /** First token of every subject and, in capitals, the beginning of every stream's name. Default `trunkline`. */
  readonly namespace?: string
  /**
   * Time after which the server delivers a message again when its holder has shown no sign of life, in
   * milliseconds. Holders show one every third of it. Default 30,000; at least 500.
   */
  readonly ackWaitMs?: number
  /** Copies of every stream in a cluster: 1, 3 or 5. Two give no safety over one. Default 1. */
  readonly replicas?: 1 | 3 | 5
  /** How long events are kept, in milliseconds, read or not. Default seven days. */
  readonly eventsAgeMaxMs?: number
  /** How long the server recognises a repeated message id, in milliseconds. Default ten minutes. */
  readonly duplicateWindowMs?: number
  /** Lanes of an ordered group: 8, or 1 or 64 where a group has very little or very much to do. Default 8. */
  readonly lanes?: 1 | 8 | 64
  /** Time after which a lane whose owner shows no sign of life is taken over, in milliseconds. Default 10,000; at least 500. */
  readonly leaseMs?: number
  /** First part of this process' reply subjects. Default `_INBOX_<service>`, so that servers can restrict it per service. */
  readonly inboxPrefix?: string
  /** Longest time that `open` may take, in milliseconds. Default 10,000. */
  readonly openTimeoutMs?: number
}

/** How to reach the servers; this adapter connects, supervises and closes. */
export interface NatsServerOptions extends NatsSharedOptions {
  /** Urls such as `nats://host:4222` or `tls://host:4222`. User and password in a url are taken, and kept out of every text. */
  readonly servers: string | readonly string[]
  readonly user?: NatsSecret
  readonly pass?: NatsSecret
  readonly token?: NatsSecret
  /** The text of a `.creds` file. */
  readonly credentials?: NatsSecret
  /** Path of a `.creds` file; it is read again for every connection. */
  readonly credentialsFile?: string
  readonly tls?: NatsTlsOptions
  /** Allows credentials over a link without TLS to hosts other than this machine. Default false. */
  readonly allowPlaintextCredentials?: boolean
}

/** An open connection of `nats` 2.29 or `@nats-io/transport-node` 3. Whoever opened it closes it. */
export interface NatsConnectionOptions extends NatsSharedOptions {
  readonly connection: NatsConnection
}

/** What `nats` takes. */
export type NatsOptions = NatsServerOptions | NatsConnectionOptions

/** Shared options with their defaults. */
export interface NatsSettings {
  readonly namespace: string
  readonly ackWaitMs: number
  readonly replicas: number
  readonly eventsAgeMaxMs: number
  readonly duplicateWindowMs: number
  readonly lanes: 1 | 8 | 64
  readonly leaseMs: number
  readonly inboxPrefix: string | undefined
  readonly openTimeoutMs: number
}

const SHARED = {
  namespace: true, ackWaitMs: true, replicas: true, eventsAgeMaxMs: true, duplicateWindowMs: true, lanes: true, leaseMs: true, inboxPrefix: true, openTimeoutMs: true,
} as const
const SERVER: OptionNames = optionNames<NatsServerOptions>({
  ...SHARED, servers: true, user: true, pass: true, token: true, credentials: true, credentialsFile: true, tls: true, allowPlaintextCredentials: true,
})
const CONNECTION: OptionNames = optionNames<NatsConnectionOptions>({ ...SHARED, connection: true })
const TLS: OptionNames = optionNames<NatsTlsOptions>({ ca: true, cert: true, key: true, servername: true, handshakeFirst: true })

/**
 * Checks what a caller without types can get wrong.
 *
 * @throws `core.option_unknown`, `core.option_invalid`.
 */
export function checkNatsOptions(options: NatsOptions): void {
  const shape = "an object such as { servers: 'nats://host:4222' } or { connection }"
  const isConnection = typeof options === 'object' && options !== null && 'connection' in options
  refuseUnknown('nats()', options, isConnection ? CONNECTION : SERVER, shape)
  if ('tls' in options && options.tls !== undefined) refuseUnknown('tls of nats()', options.tls, TLS)
  if (isConnection) return
  const servers: unknown = 'servers' in options ? options.servers : undefined
  const list: readonly unknown[] = Array.isArray(servers) ? servers : [servers]
  if (!list.every((one) => typeof one === 'string')) throw invalid('servers', 'a url or several, such as nats://host:4222', servers === undefined ? 'missing' : 'something else than text')
}

const DAY_MS = 86_400_000
const ACK_WAIT_MIN_MS = 500
const LEASE_MIN_MS = 500

/**
 * Checks the shared options and fills in the defaults.
 *
 * @throws `core.option_invalid`.
 */
export function settingsOf(options: NatsSharedOptions): NatsSettings {
  return {
    namespace: checkedName('namespace', options.namespace ?? 'trunkline'),
    ackWaitMs: atLeast('ackWaitMs', options.ackWaitMs ?? 30_000, ACK_WAIT_MIN_MS),
    replicas: oneOf('replicas', options.replicas ?? 1, [1, 3, 5]), // N-08
    eventsAgeMaxMs: atLeast('eventsAgeMaxMs', options.eventsAgeMaxMs ?? 7 * DAY_MS, 60_000),
    duplicateWindowMs: atLeast('duplicateWindowMs', options.duplicateWindowMs ?? 600_000, 1_000),
    lanes: oneOf('lanes', options.lanes ?? 8, [1, 8, 64]),
    leaseMs: atLeast('leaseMs', options.leaseMs ?? 10_000, LEASE_MIN_MS),
    inboxPrefix: options.inboxPrefix === undefined ? undefined : inbox(options.inboxPrefix),
    openTimeoutMs: atLeast('openTimeoutMs', options.openTimeoutMs ?? 10_000, 100),
  }
}

/** Where and how to connect, secrets apart from everything that is ever shown. */
export interface NatsTarget {
  /** `host:port`, without credentials. */
  readonly servers: readonly string[]
  readonly tls: NatsTlsOptions | undefined
  /** Undefined where no credentials were given. */
  readonly secrets: NatsSecrets | undefined
}

/** Gives the credentials of one connection. Private fields, so that nothing prints them. */
export class NatsSecrets {
  readonly #options: NatsServerOptions
  readonly #user: NatsSecret | undefined
  readonly #pass: NatsSecret | undefined

  constructor(options: NatsServerOptions, user: NatsSecret | undefined, pass: NatsSecret | undefined) {
    this.#options = options
    this.#user = user
    this.#pass = pass
  }

  /** Text of a `.creds` file, where those are used. */
  credentials(): Uint8Array | undefined {
    const { credentials, credentialsFile } = this.#options
    if (credentials !== undefined) return Buffer.from(textOf(credentials))
    return credentialsFile === undefined ? undefined : readFileSync(credentialsFile)
  }

  /** What goes into the connect message otherwise. */
  plain(): object {
    const { token } = this.#options
    if (token !== undefined) return { auth_token: textOf(token) }
    return { user: this.#user === undefined ? undefined : textOf(this.#user), pass: this.#pass === undefined ? undefined : textOf(this.#pass) }
  }
}

/**
 * Takes urls apart and refuses to send credentials where others can read them.
 *
 * @throws `core.option_invalid`.
 */
export function targetOf(options: NatsServerOptions): NatsTarget {
  const given = typeof options.servers === 'string' ? [options.servers] : options.servers
  if (given.length === 0) throw invalid('servers', 'at least one url', 'none')
  const urls = given.map(serverUrl)
  const withUser = urls.find((url) => url.username !== '')
  const user = options.user ?? (withUser === undefined ? undefined : decodeURIComponent(withUser.username))
  const pass = options.pass ?? (withUser === undefined ? undefined : decodeURIComponent(withUser.password))
  const isTls = options.tls !== undefined || urls.some((url) => url.protocol === 'tls:')
  const hasSecret = [user, options.token, options.credentials, options.credentialsFile].some((part) => part !== undefined)
  const open = urls.find((url) => !isLoopback(url.hostname))
  if (hasSecret && !isTls && open !== undefined && options.allowPlaintextCredentials !== true) {
    const expected = 'tls:// or the tls option where credentials are sent to another machine, or allowPlaintextCredentials: true'
    throw invalid('servers', expected, `credentials in plain text to ${open.hostname}`)
  }
  return {
    servers: urls.map((url) => `${url.hostname}:${url.port === '' ? '4222' : url.port}`),
    tls: options.tls ?? (isTls ? {} : undefined),
    secrets: hasSecret ? new NatsSecrets(options, user, pass) : undefined,
  }
}

function serverUrl(text: string): URL {
  let url: URL
  try {
    url = new URL(/^[a-z]+:\/\//.test(text) ? text : `nats://${text}`)
  } catch {
    throw invalid('servers', 'urls such as nats://host:4222', 'a text that is no url')
  }
  if (url.protocol !== 'nats:' && url.protocol !== 'tls:') throw invalid('servers', 'urls that begin with nats:// or tls://', url.protocol)
  if (url.hostname === '') throw invalid('servers', 'urls with a host', 'a url without one')
  return url
}

function isLoopback(host: string): boolean {
  return host === 'localhost' || host === '[::1]' || /^127\.\d+\.\d+\.\d+$/.test(host)
}

function textOf(secret: NatsSecret): string {
  return typeof secret === 'string' ? secret : secret()
}

function atLeast(option: string, value: number, min: number): number {
  if (!Number.isFinite(value) || value < min) throw invalid(option, `a number of milliseconds from ${min}`, errorText(value))
  return value
}

function oneOf<T extends number>(option: string, value: T, allowed: readonly T[]): T {
  if (!allowed.includes(value)) throw invalid(option, allowed.join(' or '), errorText(value))
  return value
}

function inbox(prefix: string): string {
  if (/^[A-Za-z0-9_-]+(?:\.[A-Za-z0-9_-]+)*$/.test(prefix)) return prefix
  throw invalid('inboxPrefix', 'tokens of letters, digits, "_" and "-" with dots between them', JSON.stringify(prefix))
}

function invalid(option: string, expected: string, actual: string): TrunklineError {
  return new TrunklineError('core.option_invalid', { option, expected, actual })
}
