import { TrunklineError } from '../../core/errors.ts'

// The slice of a NATS client that this adapter uses, in our own words: `nats` 2.29 and
// `@nats-io/transport-node` 3 both fit, and neither client's types reach this package's declarations.

/** A message as a client's subscription callback gets it. */
export interface NatsMessage {
  readonly subject: string
  readonly reply?: string
  readonly data: Uint8Array
  readonly headers?: Iterable<readonly [string, readonly string[]]> & { readonly code: number; readonly description: string }
  /** Bytes of subject, reply, headers and data together; both clients have it and do not declare it. */
  size?(): number
}

/** A subscription of a client. */
export interface NatsClientSubscription {
  unsubscribe(): void
  /** Ends the interest at the server and lets what is already on its way arrive. */
  drain(): Promise<void>
  isClosed(): boolean
}

/** What a client says about its link: at least `disconnect`, `reconnect` and `error`. */
export interface NatsStatus {
  readonly type: string
  readonly data?: unknown
  readonly error?: unknown
}

/** What a server says about itself. */
export interface NatsServerInfo {
  readonly version: string
  readonly max_payload: number
  /** Whether it takes headers; every server from 2.2 on does. */
  readonly headers?: boolean
}

/** An open connection of `nats` 2.29 or `@nats-io/transport-node` 3, as far as it is used here. */
export interface NatsConnection {
  readonly info?: NatsServerInfo
  publish(subject: string, payload?: Uint8Array, options?: { reply?: string; headers?: unknown }): void
  subscribe(
    subject: string,
    options: { queue?: string; callback: (error: Error | null, message: NatsMessage) => void },
  ): NatsClientSubscription
  status(): AsyncIterable<NatsStatus>
  flush(): Promise<void>
  closed(): Promise<unknown>
  close(): Promise<void>
  isClosed(): boolean
}

/** What a client proves itself with; called for every connection it makes. */
export type NatsAuthenticator = (nonce?: string) => object

/** What `connect` of either client is given. */
export interface NatsConnectOptions {
  servers: string[]
  name: string
  maxReconnectAttempts: number
  reconnectDelayHandler: () => number
  pingInterval: number
  maxPingOut: number
  timeout: number
  ignoreAuthErrorAbort: boolean
  noAsyncTraces: boolean
  authenticator?: (nonce?: string) => never
  tls?: { ca?: string; cert?: string; key?: string; servername?: string; handshakeFirst?: boolean }
}

/** The entry point of either client. */
export interface NatsClientModule {
  connect(options: NatsConnectOptions): Promise<NatsConnection>
  credsAuthenticator(credentials: Uint8Array): (nonce?: string) => unknown
}

/**
 * Loads the client that is installed: `nats`, else `@nats-io/transport-node`.
 *
 * @throws `core.peer_missing` when neither is.
 */
export async function loadNatsClient(): Promise<NatsClientModule> {
  try {
    return await import('nats')
  } catch (error) {
    if (!isMissing(error, 'nats')) throw error
  }
  try {
    return await import('@nats-io/transport-node')
  } catch (error) {
    if (!isMissing(error, '@nats-io/transport-node')) throw error
    throw new TrunklineError('core.peer_missing', { package: 'nats', install: 'npm install nats' }, { cause: error })
  }
}

/** A client that is there but broken must not be reported as absent. */
function isMissing(error: unknown, name: string): boolean {
  return error instanceof Error && 'code' in error && error.code === 'ERR_MODULE_NOT_FOUND' && error.message.includes(`'${name}'`)
}
