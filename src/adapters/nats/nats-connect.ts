import { backoffMs } from '../../core/backoff.ts'
import { sleep } from '../../core/clock.ts'
import { errorText, isTrunklineError, TrunklineError } from '../../core/errors.ts'
import { RECONNECT_DELAY_MAX_MS, RECONNECT_INITIAL_MS } from '../../core/limits.ts'
import type { TransportHost } from '../../bus/port.ts'
import { loadNatsClient, type NatsClientModule, type NatsConnection, type NatsConnectOptions } from './nats-client.ts'
import type { NatsTarget } from './nats-options.ts'

const RECONNECT = { initialMs: RECONNECT_INITIAL_MS, factor: 2, maxMs: RECONNECT_DELAY_MAX_MS }
/** N-03: with two missed answers a dead link is noticed within 30 s. */
const PING_INTERVAL_MS = 10_000
const DIAL_TIMEOUT_MS = 5_000
const CALM_MS = 1_000

/** Waits between reconnects: full jitter, one draw per try however often the client asks. */
class ReconnectPace {
  readonly #host: TransportHost
  #tries = 0
  #drawnAtMs = Number.NEGATIVE_INFINITY
  #delayMs = 0

  constructor(host: TransportHost) {
    this.#host = host
  }

  /** The wait in milliseconds. */
  next(): number {
    const nowMs = this.#host.clock.monotonicMs()
    // Nobody has asked for a while: the link has been up since, or the last try took so long that it was no storm.
    if (nowMs - this.#drawnAtMs > this.#delayMs + CALM_MS) this.#tries = 0
    if (nowMs - this.#drawnAtMs >= this.#delayMs) {
      this.#tries += 1
      this.#delayMs = backoffMs(RECONNECT, this.#tries, this.#host.random)
      this.#drawnAtMs = nowMs
    }
    return this.#delayMs
  }
}

/**
 * Opens a connection, trying again until `timeoutMs` has passed; wrong credentials fail at once.
 *
 * @throws `bus.connection_lost`, `core.peer_missing`.
 */
export async function connectNats(target: NatsTarget, host: TransportHost, timeoutMs: number): Promise<NatsConnection> {
  const client = await loadNatsClient()
  const endMs = host.clock.monotonicMs() + timeoutMs
  for (let tries = 1; ; tries++) {
    const leftMs = endMs - host.clock.monotonicMs()
    try {
      return await withinTime(client.connect(optionsOf(client, target, host, leftMs)), host, leftMs)
    } catch (error) {
      const waitMs = backoffMs(RECONNECT, tries, host.random)
      if (isRefusal(error) || host.clock.monotonicMs() + waitMs >= endMs) throw lost(target, error)
      await sleep(host.clock, waitMs)
    }
  }
}

function optionsOf(client: NatsClientModule, target: NatsTarget, host: TransportHost, leftMs: number): NatsConnectOptions {
  const pace = new ReconnectPace(host)
  const options: NatsConnectOptions = {
    servers: [...target.servers],
    name: `${host.service} ${host.instance}`,
    maxReconnectAttempts: -1, // N-01
    reconnectDelayHandler: () => pace.next(),
    pingInterval: PING_INTERVAL_MS,
    maxPingOut: 2,
    timeout: Math.max(1, Math.min(DIAL_TIMEOUT_MS, leftMs)),
    ignoreAuthErrorAbort: true, // N-02
    noAsyncTraces: true,
  }
  const { secrets, tls } = target
  if (tls !== undefined) options.tls = { ...tls }
  if (secrets !== undefined) {
    options.authenticator = (nonce) => {
      try {
        const credentials = secrets.credentials()
        // The clients type this as a union of their own; both only copy the fields into the connect message.
        return (credentials === undefined ? secrets.plain() : client.credsAuthenticator(credentials)(nonce)) as never
      } catch (error) {
        // An exception here closes the connection for good in both clients; without credentials it is refused and tried again.
        host.logger.error({ problem: errorText(error) }, 'credentials for NATS could not be read')
        return {} as never // see above
      }
    }
  }
  return options
}

/** The clients bound each dial by `timeout`, not the whole of several servers. */
async function withinTime(connecting: Promise<NatsConnection>, host: TransportHost, timeoutMs: number): Promise<NatsConnection> {
  let isLate = false
  const late = new Promise<never>((_resolve, reject) => {
    host.clock.setTimer(timeoutMs, () => {
      isLate = true
      reject(new TrunklineError('bus.connection_lost', { adapter: 'nats', problem: 'no server answered in time' }))
    }, { background: true })
  })
  connecting.then(
    async (connection) => {
      if (isLate) await connection.close()
    },
    () => undefined,
  ).catch(() => undefined)
  return await Promise.race([connecting, late])
}

function isRefusal(error: unknown): boolean {
  return error instanceof Error && /authorization|authentication|permissions/i.test(`${error.name} ${error.message}`)
}

/** Says where it was tried; the clients' own words do not. */
function lost({ servers }: NatsTarget, error: unknown): TrunklineError {
  if (isTrunklineError(error) && error.code !== 'bus.connection_lost') return error
  const reason = isTrunklineError(error, 'bus.connection_lost') ? error.details.problem : errorText(error)
  return new TrunklineError('bus.connection_lost', { adapter: 'nats', problem: `no connection to ${servers.join(', ').slice(0, 300)}: ${reason}` }, { cause: error })
}
