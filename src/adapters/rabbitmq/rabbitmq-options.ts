import { checkedName } from '../../contract/names.ts'
import { TrunklineError } from '../../core/errors.ts'
import { type OptionNames, optionNames, refuseUnknown } from '../../core/option-names.ts'
import { loadAmqplib, type RabbitAddress, type RabbitConnect, type RabbitConnection, type RabbitSocketOptions } from './rabbitmq-client.ts'
import { connectionLost, problemText } from './rabbitmq-problem.ts'
import { joinWrites } from './rabbitmq-socket.ts'

/** Certificates for `amqps:`. The server's certificate is always checked, against `ca` where it is given. */
export interface RabbitmqTls {
  /** Certificates that are trusted, in PEM form. Default: those of the platform. */
  readonly ca?: string | Uint8Array | readonly (string | Uint8Array)[]
  /** This service's own certificate and key, in PEM form, where the server asks for one. */
  readonly cert?: string | Uint8Array
  readonly key?: string | Uint8Array
  readonly passphrase?: string
  /** Name that the server's certificate must carry. Default: the host of the URL. */
  readonly servername?: string
}

/** What every way of connecting shares. */
export interface RabbitmqSharedOptions {
  /** First part of the name of everything on the broker. Default `trunkline`. Services that talk to each other use the same. */
  readonly namespace?: string
  /** Time that opening may take, in milliseconds. Default 10,000. */
  readonly openTimeoutMs?: number
  /** Time that a command of the broker (declare, cancel, close) may take before its channel is given up, in milliseconds. Default 15,000. */
  readonly commandTimeoutMs?: number
}

/** The adapter opens its connections, supervises and closes them. */
export interface RabbitmqServerOptions extends RabbitmqSharedOptions {
  /** `amqp://user:password@host:port/vhost` or `amqps://…`, without query. Default `amqp://127.0.0.1:5672`. */
  readonly url?: string
  /** Several nodes of one cluster, instead of `url`; tried in turn. */
  readonly urls?: readonly string[]
  /** Instead of the one in the URL. Default `guest`. */
  readonly user?: string
  /** Instead of the one in the URL. Default `guest`. It is never part of an error or a log line. */
  readonly password?: string
  readonly tls?: RabbitmqTls
  /** Lets the password travel unencrypted to another machine. Default false: `amqp:` is refused beyond loopback. */
  readonly allowPlaintext?: boolean
  /** Interval of heartbeats in milliseconds, at least 1,000; a dead link is noticed after two to three of them. Default 10,000. */
  readonly heartbeatMs?: number
  /** Time that one connection may take to open, in milliseconds. Default 5,000. */
  readonly dialTimeoutMs?: number
}

/** The caller opens connections; the adapter asks for one whenever it needs one, supervises it, and closes it. */
export interface RabbitmqConnectOptions extends RabbitmqSharedOptions {
  /** Opens a connection. Called twice at first (one to publish, one to consume), and after every loss. Set `noDelay` on it. */
  readonly connect: () => Promise<RabbitConnection>
}

/** The caller's one open connection, for publishing and consuming. The caller closes it; when it is lost, the transport stays down. */
export interface RabbitmqConnectionOptions extends RabbitmqSharedOptions {
  readonly connection: RabbitConnection
}

/** How to reach the broker. */
export type RabbitmqOptions = RabbitmqServerOptions | RabbitmqConnectOptions | RabbitmqConnectionOptions

/** Opens connections for the adapter. */
export interface RabbitDialer {
  /** Opens a connection, or gives the shared one. */
  dial(): Promise<RabbitConnection>
  /** True where the adapter closes what `dial` gave. */
  readonly isOwner: boolean
  /** Where it dials, for people; without credentials. */
  readonly place: string
}

const HEARTBEAT_MS = 10_000
const DIAL_TIMEOUT_MS = 5_000
const DEFAULT_URL = 'amqp://127.0.0.1:5672'

const SHARED = { namespace: true, openTimeoutMs: true, commandTimeoutMs: true } as const
const SERVER: OptionNames = optionNames<RabbitmqServerOptions>({
  ...SHARED, url: true, urls: true, user: true, password: true, tls: true, allowPlaintext: true, heartbeatMs: true, dialTimeoutMs: true,
})
const CONNECT: OptionNames = optionNames<RabbitmqConnectOptions>({ ...SHARED, connect: true })
const CONNECTION: OptionNames = optionNames<RabbitmqConnectionOptions>({ ...SHARED, connection: true })
const TLS: OptionNames = optionNames<RabbitmqTls>({ ca: true, cert: true, key: true, passphrase: true, servername: true })
const TIME_MAX_MS = 3_600_000

/**
 * Checks what a caller without types can get wrong.
 *
 * @throws `core.option_unknown`, `core.option_invalid`.
 */
export function checkRabbitmqOptions(options: RabbitmqOptions): void {
  refuseUnknown('rabbitmq()', options, namesFor(options), "an object such as { url: 'amqps://host/vhost' }")
  if ('tls' in options && options.tls !== undefined) refuseUnknown('tls of rabbitmq()', options.tls, TLS)
  const times = { openTimeoutMs: options.openTimeoutMs, commandTimeoutMs: options.commandTimeoutMs, dialTimeoutMs: 'dialTimeoutMs' in options ? options.dialTimeoutMs : undefined }
  for (const [name, value] of Object.entries(times)) {
    if (value !== undefined && !(value >= 1 && value <= TIME_MAX_MS)) throw invalid(name, `a number of milliseconds from 1 to ${TIME_MAX_MS}`, `${value}`)
  }
}

function namesFor(options: RabbitmqOptions): OptionNames {
  if (typeof options !== 'object' || options === null) return SERVER
  if ('connection' in options) return CONNECTION
  return 'connect' in options ? CONNECT : SERVER
}

/** @throws `core.option_invalid`. */
export function dialerOf(options: RabbitmqOptions, clientName: () => string): RabbitDialer {
  if ('connection' in options) return new GivenConnection(options.connection)
  if ('connect' in options) return { dial: () => options.connect(), isOwner: true, place: 'what connect() opens' }
  return new ServerDialer(options, clientName)
}

/** @throws `core.option_invalid` for a namespace outside the grammar. */
export function namespaceOf(options: RabbitmqOptions): string {
  return checkedName('namespace', options.namespace ?? 'trunkline')
}

class GivenConnection implements RabbitDialer {
  readonly isOwner = false
  readonly place = 'the given connection'
  readonly #connection: RabbitConnection
  #isClosed = false

  constructor(connection: RabbitConnection) {
    this.#connection = connection
    connection.on('close', () => {
      this.#isClosed = true
    })
  }

  dial(): Promise<RabbitConnection> {
    if (!this.#isClosed) return Promise.resolve(this.#connection)
    return Promise.reject(new TrunklineError('bus.connection_lost', { adapter: 'rabbitmq', problem: 'the given connection is closed; only its owner can open another' }))
  }
}

class ServerDialer implements RabbitDialer {
  readonly isOwner = true
  readonly #addresses: readonly RabbitAddress[]
  readonly #tls: RabbitmqTls | undefined
  readonly #timeoutMs: number
  readonly #clientName: () => string
  #connect: RabbitConnect | undefined
  #turn = 0

  constructor(options: RabbitmqServerOptions, clientName: () => string) {
    const urls = options.urls ?? [options.url ?? DEFAULT_URL]
    if (urls.length === 0) throw invalid('urls', 'at least one URL', 'an empty list')
    this.#addresses = urls.map((url) => addressOf(url, options))
    this.#tls = options.tls
    this.#timeoutMs = options.dialTimeoutMs ?? DIAL_TIMEOUT_MS
    this.#clientName = clientName
  }

  get place(): string {
    return this.#addresses.map(({ hostname, port }) => `${hostname}:${port}`).join(', ')
  }

  async dial(): Promise<RabbitConnection> {
    this.#connect ??= await loadAmqplib()
    const address = this.#addresses[this.#turn++ % this.#addresses.length]
    if (address === undefined) throw invalid('urls', 'at least one URL', 'an empty list')
    try {
      const connection = await this.#connect(address, this.#socketOptions(address))
      joinWrites(connection)
      return connection
    } catch (error) {
      // The client's own words name an address at best, and nothing where a name has several.
      throw connectionLost(`${address.hostname}:${address.port}: ${problemText(error)}`, error)
    }
  }

  #socketOptions(address: RabbitAddress): RabbitSocketOptions {
    const socket = {
      // amqplib leaves Nagle's algorithm on, which costs 40 ms for a message between acks.
      noDelay: true,
      keepAlive: true,
      timeout: this.#timeoutMs,
      clientProperties: { connection_name: this.#clientName() },
    }
    if (address.protocol === 'amqp') return socket
    // Whatever else was given, the certificate is checked.
    return { ...socket, ...this.#tls, rejectUnauthorized: true, minVersion: 'TLSv1.2' }
  }
}

/** Reads a URL. Errors never hold the URL itself: it may carry a password. */
function addressOf(text: string, options: RabbitmqServerOptions): RabbitAddress {
  const url = URL.canParse(text) ? new URL(text) : undefined
  if (url === undefined) throw invalid('url', 'amqp://host:port/vhost', 'text that is not a URL')
  if (url.protocol !== 'amqp:' && url.protocol !== 'amqps:') throw invalid('url', 'the protocol amqp: or amqps:', `the protocol ${url.protocol}`)
  // In other libraries a query can switch certificate checks off or lower limits.
  if (url.search !== '' || url.hash !== '') throw invalid('url', 'a URL without "?" and "#"', 'a URL with a query')
  const protocol = url.protocol === 'amqps:' ? 'amqps' : 'amqp'
  const hostname = url.hostname.replace(/^\[|\]$/g, '')
  if (hostname === '') throw invalid('url', 'a host', 'a URL without one')
  if (protocol === 'amqp' && options.tls !== undefined) throw invalid('tls', 'an amqps: URL', 'an amqp: URL')
  if (protocol === 'amqp' && !isLoopback(hostname) && options.allowPlaintext !== true) {
    throw invalid('url', 'amqps:, or allowPlaintext where the network is trusted', `amqp: to ${hostname}, which would send the password unencrypted`)
  }
  const heartbeatMs = options.heartbeatMs ?? HEARTBEAT_MS
  if (!(heartbeatMs >= 1_000 && heartbeatMs <= 60_000)) throw invalid('heartbeatMs', '1000 to 60000', `${heartbeatMs}`)
  return {
    protocol,
    hostname,
    port: url.port === '' ? (protocol === 'amqps' ? 5671 : 5672) : Number(url.port),
    vhost: url.pathname.length > 1 ? url.pathname.slice(1) : '/',
    username: options.user ?? (url.username === '' ? 'guest' : decoded(url.username)),
    password: options.password ?? (url.password === '' ? 'guest' : decoded(url.password)),
    heartbeat: Math.round(heartbeatMs / 1_000),
  }
}

function decoded(text: string): string {
  try {
    return decodeURIComponent(text)
  } catch {
    throw invalid('url', 'percent-encoded user and password', 'a URL that cannot be decoded')
  }
}

function isLoopback(hostname: string): boolean {
  return hostname === 'localhost' || hostname === '::1' || /^127(?:\.\d{1,3}){3}$/.test(hostname)
}

function invalid(option: string, expected: string, actual: string): TrunklineError {
  return new TrunklineError('core.option_invalid', { option: `rabbitmq.${option}`, expected, actual })
}
