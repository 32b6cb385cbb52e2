import type { TransportCapabilities, Transport, TransportHost, TransportSubscription, DeadLetterPlane, DeliverySink, LightPlane, Outbound, PublishSignal, Subscription } from '../../bus/port.ts'
import type { WireMessage } from '../../core/envelope.ts'
import { TrunklineError } from '../../core/errors.ts'
import { answered } from './rabbitmq-deadline.ts'
import { RabbitDeadLetters } from './rabbitmq-dead-letters.ts'
import { RabbitGroup, type GroupSettings } from './rabbitmq-group.ts'
import { RabbitHealth } from './rabbitmq-health.ts'
import { RabbitLaneGroup } from './rabbitmq-lane-group.ts'
import { RabbitLight } from './rabbitmq-light.ts'
import { RabbitLink } from './rabbitmq-link.ts'
import { connectionLost, problemText } from './rabbitmq-problem.ts'
import { contentOf, publishOptionsOf } from './rabbitmq-message.ts'
import { RabbitMover } from './rabbitmq-mover.ts'
import { RabbitNames, routingKeyOf } from './rabbitmq-names.ts'
import { checkRabbitmqOptions, dialerOf, namespaceOf, type RabbitDialer, type RabbitmqOptions } from './rabbitmq-options.ts'
import { RabbitPublisher, type Parcel } from './rabbitmq-publisher.ts'
import { RabbitStation } from './rabbitmq-station.ts'
import { RabbitTimekeeper } from './rabbitmq-timekeeper.ts'
import { RabbitTopology } from './rabbitmq-topology.ts'

/** What RabbitMQ can do. Dead letters are found by reading all before them; a queue has no past to replay. */
export const rabbitmqCapabilities: TransportCapabilities = {
  canStore: true,
  canOrderByKey: true,
  canBroadcast: true,
  canRequest: true,
  canManageDeadLetters: true,
  canReplay: false,
  canDelayRetry: true,
  survivesProcessDeath: true,
  survivesBrokerRestart: true,
  spansMachines: true,
  scansDeadLetters: true,
}

const OPEN_TIMEOUT_MS = 10_000
const COMMAND_TIMEOUT_MS = 15_000

/**
 * A transport over RabbitMQ 3.10 or newer, without plugins: quorum queues, publisher confirms, manual acks.
 *
 * `amqplib` is loaded when the bus starts. Publishing and consuming have a connection each; both are supervised, and
 * come back with exchanges, queues, bindings and consumers. Failed deliveries wait in queues of
 * their own, which every instance with an unordered group watches: whoever has one in sight moves it back when it is due.
 *
 * @throws `core.option_invalid` for options that do not fit together.
 */
export function rabbitmq(options: RabbitmqOptions = {}): Transport {
  return new RabbitTransport(options)
}

/** What lives from `open` to `close`. */
interface Running {
  readonly health: RabbitHealth
  readonly publishLink: RabbitLink
  readonly consumeLink: RabbitLink
  readonly publisher: RabbitPublisher
  readonly publisherStation: RabbitStation
  readonly light: RabbitLight
  readonly deadLetters: RabbitDeadLetters
  readonly groups: GroupSettings
}

class RabbitTransport implements Transport {
  readonly name = 'rabbitmq'
  readonly capabilities = rabbitmqCapabilities
  readonly #dialer: RabbitDialer
  readonly #names: RabbitNames
  readonly #openTimeoutMs: number
  readonly #commandTimeoutMs: number
  #clientName = 'trunkline'
  #running: Running | undefined
  /** Command types whose queue is known to exist, by type. */
  readonly #commandQueues = new Map<string, Promise<void> | true>()

  constructor(options: RabbitmqOptions) {
    checkRabbitmqOptions(options)
    this.#names = new RabbitNames(namespaceOf(options))
    this.#openTimeoutMs = options.openTimeoutMs ?? OPEN_TIMEOUT_MS
    this.#commandTimeoutMs = options.commandTimeoutMs ?? COMMAND_TIMEOUT_MS
    this.#dialer = dialerOf(options, () => this.#clientName)
  }

  get deadLetters(): DeadLetterPlane | undefined {
    return this.#running?.deadLetters
  }

  get light(): LightPlane | undefined {
    return this.#running?.light
  }

  get #open(): Running {
    if (this.#running === undefined) throw connectionLost('the transport is not open')
    return this.#running
  }

  async open(host: TransportHost): Promise<void> {
    this.#clientName = `${host.service} ${host.instance}`
    const running = this.#assemble(host)
    this.#running = running
    const { publishLink, consumeLink, publisherStation, light } = running
    try {
      const opening = Promise.all([publishLink.open(), consumeLink.open(), publisherStation.open(), light.open()])
      await answered(host.clock, opening, this.#openTimeoutMs, 'opening')
    } catch (error) {
      const known = running.health.reason
      await this.close()
      if (error instanceof TrunklineError && error.code !== 'bus.connection_lost') throw error
      throw connectionLost(known === '' ? `no connection to ${this.#dialer.place}: ${problemText(error)}` : known, error)
    }
    running.health.begin()
  }

  publish(outbound: Outbound, signal: PublishSignal | undefined): Promise<void> {
    const { message, kind } = outbound
    if (kind === 'event') return this.#open.publisher.send(this.#parcel(message, this.#names.events, signal, this.#repairEvents))
    const repair = (): Promise<void> => this.#declareCommand(message.type)
    const parcel = this.#parcel(message, this.#names.commands, signal, repair)
    if (this.#commandQueues.get(message.type) === true) return this.#open.publisher.send(parcel)
    return this.#ensureCommand(message.type).then(() => this.#open.publisher.send(parcel))
  }

  #parcel(message: WireMessage, exchange: string, signal: PublishSignal | undefined, repair: () => Promise<void>): Parcel {
    const { type, id } = message
    return { exchange, routingKey: routingKeyOf(message), content: contentOf(message.body), options: publishOptionsOf(message, true), type, id, signal, repair }
  }

  async subscribe(subscription: Subscription, sink: DeliverySink): Promise<TransportSubscription> {
    if (subscription.kind === 'event' && subscription.from === 'beginning') {
      throw new TrunklineError('bus.unsupported', { adapter: this.name, capability: 'canReplay', needed: `${subscription.group} from the beginning` })
    }
    const { groups } = this.#open
    const group = subscription.order === 'key' ? new RabbitLaneGroup(subscription, sink, groups) : new RabbitGroup(subscription, sink, groups)
    await group.open()
    return group
  }

  async close(): Promise<void> {
    const running = this.#running
    if (running === undefined) return
    running.health.end()
    await running.light.close()
    await running.groups.timekeeper.close()
    running.publisher.close()
    await running.publisherStation.close()
    await Promise.all([running.publishLink.close(), running.consumeLink.close()])
    this.#running = undefined
    this.#commandQueues.clear()
  }

  #assemble(host: TransportHost): Running {
    const commandTimeoutMs = this.#commandTimeoutMs
    const names = this.#names
    const health = new RabbitHealth((state, reason) => host.report(state, reason))
    const publishLink = new RabbitLink('publishing', this.#dialer, host, health, commandTimeoutMs)
    const consumeLink = new RabbitLink('consuming', this.#dialer, host, health, commandTimeoutMs)
    const topology = new RabbitTopology(names)
    const publisher = new RabbitPublisher(host.clock, async (channel) => {
      // Another broker may have taken over, or an operator may have cleaned up.
      this.#commandQueues.clear()
      await topology.declareBase(channel)
    })
    const station = { host, health, commandTimeoutMs }
    const mover = new RabbitMover(publisher, names, host)
    return {
      health,
      publishLink,
      consumeLink,
      publisher,
      publisherStation: new RabbitStation(publishLink, station, publisher),
      light: new RabbitLight({ ...station, names, consumeLink, publishLink }),
      deadLetters: new RabbitDeadLetters({ host, names, publisher, consumeLink, commandTimeoutMs }),
      groups: { ...station, topology, mover, publisher, consumeLink, publishLink, timekeeper: new RabbitTimekeeper({ ...station, topology, mover, consumeLink, publishLink }) },
    }
  }

  /** Once per type and link: a command is kept, even where nobody handles it yet. Messages of one type stay in order behind it. */
  #ensureCommand(type: string): Promise<void> {
    const known = this.#commandQueues.get(type)
    if (known === true) return Promise.resolve()
    if (known !== undefined) return known
    const declaring = this.#declareCommand(type).then(
      () => {
        this.#commandQueues.set(type, true)
      },
      (error: unknown) => {
        this.#commandQueues.delete(type)
        throw error
      },
    )
    this.#commandQueues.set(type, declaring)
    return declaring
  }

  async #declareCommand(type: string): Promise<void> {
    const { publishLink, groups } = this.#open
    // An ordered group has lanes instead; a missing queue closes the channel that asks for it.
    const hasLanes = await publishLink.onSpareChannel((channel) => groups.topology.hasLanes(channel, 'command', type))
    if (!hasLanes) await publishLink.onSpareChannel((channel) => groups.topology.declareGroup(channel, 'command', type, type))
  }

  /** Events are only returned where somebody deleted the queue behind the alternate exchange. */
  readonly #repairEvents = async (): Promise<void> => {
    const { publishLink, groups } = this.#open
    await publishLink.onSpareChannel((channel) => groups.topology.declareBase(channel))
  }
}
