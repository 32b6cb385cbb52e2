import type {
  DeadLetterPlane,
  DeliverySink,
  LightPlane,
  Outbound,
  Subscription,
  Transport,
  TransportCapabilities,
  TransportHost,
  TransportSubscription,
} from '../../bus/port.ts'
import { sleep } from '../../core/clock.ts'
import { assert, errorText, isTrunklineError, TrunklineError } from '../../core/errors.ts'
import { NatsAttempts } from './nats-attempts.ts'
import type { NatsConnection } from './nats-client.ts'
import { connectNats } from './nats-connect.ts'
import { NatsDeadLetters } from './nats-dead-letters.ts'
import { NatsHold } from './nats-hold.ts'
import { NatsLaneGroup, type LaneParts } from './nats-lane-group.ts'
import { NatsLeases } from './nats-lease.ts'
import { NatsLight } from './nats-light.ts'
import { connectionLost, NatsLink } from './nats-link.ts'
import { storedLines } from './nats-message.ts'
import { NatsNames } from './nats-names.ts'
import { checkNatsOptions, settingsOf, targetOf, type NatsOptions, type NatsSettings, type NatsTarget } from './nats-options.ts'
import { NatsPublisher } from './nats-publisher.ts'
import { NatsPulse } from './nats-pulse.ts'
import { NatsSubscription } from './nats-subscription.ts'
import { NatsTopology } from './nats-topology.ts'

/** What NATS JetStream with core NATS can do. */
export const natsCapabilities: TransportCapabilities = {
  canStore: true,
  canOrderByKey: true,
  canBroadcast: true,
  canRequest: true,
  canManageDeadLetters: true,
  canReplay: true,
  canDelayRetry: true,
  survivesProcessDeath: true,
  survivesBrokerRestart: true,
  spansMachines: true,
  scansDeadLetters: false,
}

/** Wait between two looks at a server whose JetStream is not ready. */
const OPEN_AGAIN_MS = 250
/** Servers before this one can lose acknowledged messages in rare cases (N-10); they are used, and it is said. */
const SERVER_RECOMMENDED: readonly number[] = [2, 10, 26]

/**
 * Messages over NATS: JetStream for what is stored, core NATS for requests and broadcasts.
 *
 * With one replica a stored message survives the death of every process, the server's included. The server writes it
 * to the disk itself only every two minutes unless it is configured with `sync_interval: always`, so a crash of
 * the operating system or a power loss can take acknowledged messages with it (N-07); three replicas close that gap.
 *
 * @throws `core.option_unknown`, `core.option_invalid` for options outside their range, and for credentials that would travel in plain text.
 */
export function nats(options: NatsOptions): Transport {
  return new NatsTransport(options)
}

/** Everything that lives between `open` and `close`. */
interface Running extends LaneParts {
  readonly connection: NatsConnection
  readonly light: NatsLight
  readonly deadLetters: NatsDeadLetters
}

class NatsTransport implements Transport {
  readonly name = 'nats'
  readonly capabilities = natsCapabilities
  readonly #settings: NatsSettings
  readonly #target: NatsTarget | undefined
  readonly #given: NatsConnection | undefined
  #running: Running | undefined

  constructor(options: NatsOptions) {
    checkNatsOptions(options)
    this.#settings = settingsOf(options)
    this.#given = 'connection' in options ? options.connection : undefined
    this.#target = 'connection' in options ? undefined : targetOf(options)
  }

  get deadLetters(): DeadLetterPlane | undefined {
    return this.#running?.deadLetters
  }

  get light(): LightPlane | undefined {
    return this.#running?.light
  }

  async open(host: TransportHost): Promise<void> {
    assert(this.#running === undefined, 'a transport is open once at a time')
    const { openTimeoutMs } = this.#settings
    const startMs = host.clock.monotonicMs()
    const connection = this.#given ?? (this.#target === undefined ? undefined : await connectNats(this.#target, host, openTimeoutMs))
    assert(connection !== undefined, 'options name servers or a connection')
    const running = this.#assemble(connection, host)
    const leftMs = openTimeoutMs - (host.clock.monotonicMs() - startMs)
    try {
      await this.#ready(running, leftMs)
    } catch (error) {
      await this.#dismantle(running)
      throw error instanceof TrunklineError ? error : connectionLost(errorText(error), error)
    }
    this.#running = running
    host.report('up', durabilityNote(running.link.serverVersion))
  }

  publish(outbound: Outbound, signal: AbortSignal | undefined): Promise<void> {
    const { publisher, names } = this.#need()
    const { message, kind } = outbound
    const store = {
      stream: names.streamOf(kind),
      subject: names.subjectOf(kind, message),
      lines: storedLines(message),
      storageId: undefined,
      body: message.body,
      type: message.type,
      id: message.id,
    }
    return publisher.keep(store, signal)
  }

  async subscribe(subscription: Subscription, sink: DeliverySink): Promise<TransportSubscription> {
    const running = this.#need()
    const opened =
      subscription.order === 'key'
        ? new NatsLaneGroup(running, this.#settings, subscription, sink)
        : new NatsSubscription(running, this.#settings, subscription, sink)
    await opened.open()
    return opened
  }

  async close(): Promise<void> {
    const running = this.#running
    if (running === undefined) return
    this.#running = undefined
    // Acks are sent without waiting for anything: this makes sure that the server has the last of them.
    await running.link.flush()
    await this.#dismantle(running)
  }

  #assemble(connection: NatsConnection, host: TransportHost): Running {
    const names = new NatsNames(this.#settings.namespace)
    const link = new NatsLink(connection, host, this.#settings.inboxPrefix ?? `_INBOX_${host.service}`, this.#given === undefined)
    const topology = new NatsTopology(link, names, this.#settings)
    const publisher = new NatsPublisher(link, (stream) => {
      topology.ensureStream(stream).catch((error: unknown) => {
        host.logger.warn({ stream, problem: errorText(error) }, 'a stream of NATS is not available')
      })
    })
    const pulse = new NatsPulse(host.clock, Math.min(this.#settings.ackWaitMs, this.#settings.leaseMs) / 3)
    const attempts = new NatsAttempts(link, names, publisher)
    const hold = new NatsHold(link, names, publisher)
    const deadLetters = new NatsDeadLetters(link, names, publisher, hold)
    const light = new NatsLight(link, names)
    const leases = new NatsLeases(link, names, publisher)
    return { connection, host, link, names, topology, publisher, pulse, attempts, hold, leases, deadLetters, light }
  }

  /** A server that has just started answers before JetStream does: tries until the time is over. */
  async #ready({ topology, link, host }: Running, timeoutMs: number): Promise<void> {
    const endMs = host.clock.monotonicMs() + timeoutMs
    for (;;) {
      const ensuring = topology.ensureStreams().then(
        () => 'ready' as const,
        (error: unknown) => (isTrunklineError(error) ? error : connectionLost(errorText(error), error)),
      )
      const outcome = await link.within(ensuring, endMs - host.clock.monotonicMs())
      if (outcome === 'ready') return
      if (outcome === undefined) throw connectionLost('JetStream did not answer in time')
      const isHopeless = !isTrunklineError(outcome, 'bus.connection_lost')
      if (isHopeless || host.clock.monotonicMs() + OPEN_AGAIN_MS >= endMs) throw outcome
      await sleep(host.clock, OPEN_AGAIN_MS)
    }
  }

  async #dismantle({ publisher, link }: Running): Promise<void> {
    publisher.close()
    await link.close(this.#given === undefined)
  }

  #need(): Running {
    if (this.#running === undefined) throw new TrunklineError('bus.not_running', { operation: 'use of the transport', state: 'closed' })
    return this.#running
  }
}

/** What the bus' health says about an old server; empty for others. */
function durabilityNote(version: string): string {
  const parts = version.split('.').map((part) => Number.parseInt(part, 10))
  for (let index = 0; index < SERVER_RECOMMENDED.length; index++) {
    const difference = (parts[index] ?? 0) - (SERVER_RECOMMENDED[index] ?? 0)
    if (difference > 0) return ''
    if (difference < 0) return `nats-server ${version} is older than ${SERVER_RECOMMENDED.join('.')}: in rare cases it can lose acknowledged messages`
  }
  return ''
}
