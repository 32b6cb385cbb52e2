import { TrunklineError } from '../../core/errors.ts'
import type { WireMessage } from '../../core/envelope.ts'
import type { LightDelivery, LightPlane, LightReply, LightSubscription, TransportHost } from '../../bus/port.ts'
import type { RabbitChannel, RabbitMessage } from './rabbitmq-client.ts'
import type { RabbitLink } from './rabbitmq-link.ts'
import { connectionLost, problemText } from './rabbitmq-problem.ts'
import { contentOf, messageOf, publishOptionsOf, textOf } from './rabbitmq-message.ts'
import { patternOf, type RabbitNames } from './rabbitmq-names.ts'
import { LIGHT } from './rabbitmq-queues.ts'
import { RabbitStation, type StationSettings, type StationWork } from './rabbitmq-station.ts'

/** Between an inbox and a token; neither holds it. */
const ADDRESS_MARK = '#'

/** AMQP type of what comes back from an instance that does not answer the request. */
const NOBODY = 'trunkline.no-responder'

/** What the light plane is built on. */
export interface LightSettings extends StationSettings {
  readonly names: RabbitNames
  readonly consumeLink: RabbitLink
  readonly publishLink: RabbitLink
}

/** A channel that light messages leave on. */
class LightOut implements StationWork {
  readonly name = 'the light publisher'
  readonly confirms = false
  readonly #returned: (token: string) => void
  #channel: RabbitChannel | undefined

  constructor(returned: (token: string) => void) {
    this.#returned = returned
  }

  get channel(): RabbitChannel {
    if (this.#channel === undefined) throw connectionLost('there is no connection for the light plane')
    return this.#channel
  }

  build(channel: RabbitChannel): Promise<void> {
    channel.on('return', (message) => {
      const token = tokenOfReturned(message)
      if (token !== undefined) this.#returned(token)
    })
    this.#channel = channel
    return Promise.resolve()
  }

  lost(): void {
    this.#channel = undefined
  }
}

/** A channel that light messages come in on, without acks. */
class LightIn implements StationWork {
  readonly name: string
  readonly confirms = false
  readonly #declare: (channel: RabbitChannel) => Promise<string>
  readonly #take: (raw: RabbitMessage) => void
  readonly #host: TransportHost
  restart: (problem: string) => void = () => {}

  constructor(name: string, host: TransportHost, declare: (channel: RabbitChannel) => Promise<string>, take: (raw: RabbitMessage) => void) {
    this.name = name
    this.#host = host
    this.#declare = declare
    this.#take = take
  }

  async build(channel: RabbitChannel): Promise<void> {
    const queue = await this.#declare(channel)
    await channel.consume(queue, (raw) => this.#receive(raw), { noAck: true })
  }

  lost(): void {}

  /** Nothing that goes wrong here may reach amqplib's reader. */
  #receive(raw: RabbitMessage | null): void {
    try {
      if (raw === null) this.restart('the broker ended the consumer')
      else this.#take(raw)
    } catch (error) {
      this.#host.logger.error({ err: error }, 'a light message could not be handed over')
    }
  }
}

class LightStation implements LightSubscription {
  readonly #station: RabbitStation
  readonly #end: () => void

  constructor(station: RabbitStation, end: () => void) {
    this.#station = station
    this.#end = end
  }

  async close(): Promise<void> {
    this.#end()
    await this.#station.close()
  }
}

/**
 * Broadcasts and requests: messages without durability on classic queues that belong to an instance or to the instances
 * that answer one query. Sending and receiving have a connection each, as on the durable plane.
 */
export class RabbitLight implements LightPlane {
  readonly address: string
  readonly #settings: LightSettings
  readonly #out: LightOut
  readonly #outStation: RabbitStation
  readonly #inStation: RabbitStation
  readonly #stations = new Set<RabbitStation>()
  #replySink: (token: string, reply: LightReply) => void = () => {}
  /** What answers requests that are sent to this instance's inbox, by type. */
  readonly #directSinks = new Map<string, Set<(delivery: LightDelivery) => void>>()
  #broadcasts = 0

  constructor(settings: LightSettings) {
    this.#settings = settings
    const { names, host } = settings
    this.address = names.inbox(host.instance)
    this.#out = new LightOut((token) => this.#answered(token, { kind: 'no-responder' }))
    this.#outStation = new RabbitStation(settings.publishLink, settings, this.#out)
    const inbox = new LightIn('the inbox', host, (channel) => this.#declareInbox(channel), (raw) => this.#receive(raw))
    this.#inStation = new RabbitStation(settings.consumeLink, settings, inbox)
    inbox.restart = (problem) => this.#inStation.restart(problem)
  }

  async open(): Promise<void> {
    await Promise.all([this.#outStation.open(), this.#inStation.open()])
  }

  async close(): Promise<void> {
    await Promise.all([...this.#stations, this.#inStation, this.#outStation].map((station) => station.close()))
    // It would go by itself, later: no instance with this id comes again.
    await this.#settings.consumeLink.onSpareChannel((channel) => channel.deleteQueue(this.address)).catch(() => undefined)
  }

  onReply(sink: (token: string, reply: LightReply) => void): void {
    this.#replySink = sink
  }

  broadcast(message: WireMessage): Promise<void> {
    return this.#send(this.#settings.names.light, message.type, message, {})
  }

  request(message: WireMessage, token: string, to?: string): Promise<void> {
    if (to !== undefined) return this.#sendDirect(message, token, to)
    return this.#send('', this.#settings.names.query(message.type), message, { mandatory: true, replyTo: this.address, correlationId: token })
  }

  /** To an instance's inbox, where a request is told from an answer by the address that it asks for an answer at. */
  #sendDirect(message: WireMessage, token: string, to: string): Promise<void> {
    if (!this.#settings.names.isInbox(to)) return notAnInbox(message)
    return this.#send('', to, message, { mandatory: true, replyTo: this.address, correlationId: token })
  }

  replyAddress(token: string): string {
    return `${this.address}${ADDRESS_MARK}${token}`
  }

  reply(replyTo: string, message: WireMessage): Promise<void> {
    const mark = replyTo.lastIndexOf(ADDRESS_MARK)
    const queue = mark < 0 ? replyTo : replyTo.slice(0, mark)
    // The address came with a message: without this check it could name any queue of the broker.
    if (!this.#settings.names.isInbox(queue)) return notAnInbox(message)
    return this.#send('', queue, message, mark < 0 ? {} : { correlationId: replyTo.slice(mark + 1) })
  }

  onBroadcast(types: readonly string[], sink: (delivery: LightDelivery) => void): Promise<LightSubscription> {
    const { names, host } = this.#settings
    const queue = names.broadcast(host.instance, ++this.#broadcasts)
    const declare = async (channel: RabbitChannel): Promise<string> => {
      await channel.assertQueue(queue, { durable: true, autoDelete: true, arguments: LIGHT })
      for (const type of types) {
        await channel.bindQueue(queue, names.light, type)
        await channel.bindQueue(queue, names.events, patternOf(type))
      }
      return queue
    }
    return this.#listen(`broadcasts ${types.join(', ').slice(0, 100)}`, declare, (raw) => sink({ message: messageOf(raw), replyTo: undefined }))
  }

  onRequest(type: string, sink: (delivery: LightDelivery) => void): Promise<LightSubscription> {
    const queue = this.#settings.names.query(type)
    const declare = async (channel: RabbitChannel): Promise<string> => {
      // It goes with its last consumer, so that a request which nobody answers is returned at once.
      await channel.assertQueue(queue, { durable: true, autoDelete: true, arguments: LIGHT })
      return queue
    }
    const sinks = this.#directSinks.get(type) ?? new Set()
    this.#directSinks.set(type, sinks)
    sinks.add(sink)
    return this.#listen(`requests ${type}`, declare, (raw) => sink({ message: messageOf(raw), replyTo: replyAddressOf(raw) }), () => sinks.delete(sink))
  }

  async #listen(name: string, declare: (channel: RabbitChannel) => Promise<string>, take: (raw: RabbitMessage) => void, end: () => void = () => {}): Promise<LightSubscription> {
    const input = new LightIn(name, this.#settings.host, declare, take)
    const station = new RabbitStation(this.#settings.consumeLink, this.#settings, input)
    input.restart = (problem) => station.restart(problem)
    this.#stations.add(station)
    try {
      await station.open()
    } catch (error) {
      this.#stations.delete(station)
      end()
      throw error
    }
    return new LightStation(station, () => {
      end()
      this.#stations.delete(station)
    })
  }

  async #declareInbox(channel: RabbitChannel): Promise<string> {
    // Not exclusive: after a reconnect the broker may still hold the dead connection for a while.
    await channel.assertQueue(this.address, { durable: true, arguments: LIGHT })
    return this.address
  }

  async #send(exchange: string, routingKey: string, message: WireMessage, options: { readonly mandatory?: boolean; readonly replyTo?: string; readonly correlationId?: string }): Promise<void> {
    const { channel } = this.#out
    try {
      channel.publish(exchange, routingKey, contentOf(message.body), { ...publishOptionsOf(message, false), mandatory: false, ...options })
    } catch (error) {
      if (error instanceof RangeError || error instanceof TypeError) {
        throw new TrunklineError('bus.publish_refused', { type: message.type, id: message.id, problem: problemText(error) }, { cause: error })
      }
      throw connectionLost(error)
    }
  }

  #receive(raw: RabbitMessage): void {
    const token = textOf(raw.properties.correlationId)
    const replyTo = replyAddressOf(raw)
    if (replyTo !== undefined) this.#asked(raw, replyTo)
    else if (token !== undefined) this.#answered(token, isNobody(raw) ? { kind: 'no-responder' } : { kind: 'reply', message: messageOf(raw) })
  }

  #asked(raw: RabbitMessage, replyTo: string): void {
    const message = messageOf(raw)
    const [sink] = this.#directSinks.get(message.type) ?? []
    if (sink === undefined) this.#nobody(replyTo)
    else sink({ message, replyTo })
  }

  /** Tells whoever asked this instance that it does not answer. */
  #nobody(replyTo: string): void {
    const mark = replyTo.lastIndexOf(ADDRESS_MARK)
    const queue = replyTo.slice(0, Math.max(mark, 0))
    if (!this.#settings.names.isInbox(queue)) return
    try {
      this.#out.channel.publish('', queue, Buffer.alloc(0), { correlationId: replyTo.slice(mark + 1), type: NOBODY, mandatory: false })
    } catch (error) {
      this.#settings.host.logger.warn({ err: error }, 'an asker could not be told that nobody answers')
    }
  }

  #answered(token: string, reply: LightReply): void {
    try {
      this.#replySink(token, reply)
    } catch (error) {
      this.#settings.host.logger.error({ err: error }, 'an answer could not be handed over')
    }
  }
}

function isNobody(raw: RabbitMessage): boolean {
  return textOf(raw.properties.type) === NOBODY
}

function notAnInbox(message: WireMessage): Promise<never> {
  return Promise.reject(new TrunklineError('bus.publish_refused', { type: message.type, id: message.id, problem: 'the address is not an inbox' }))
}

function replyAddressOf(raw: RabbitMessage): string | undefined {
  const replyTo = textOf(raw.properties.replyTo)
  const token = textOf(raw.properties.correlationId)
  if (replyTo === undefined) return undefined
  return token === undefined ? replyTo : `${replyTo}${ADDRESS_MARK}${token}`
}

function tokenOfReturned(message: unknown): string | undefined {
  if (typeof message !== 'object' || message === null || !('properties' in message)) return undefined
  const { properties } = message
  if (typeof properties !== 'object' || properties === null || !('correlationId' in properties)) return undefined
  return textOf(properties.correlationId)
}
