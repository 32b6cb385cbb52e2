import type { DeliverySink, Subscription, TransportHost, TransportSubscription } from '../../bus/port.ts'
import type { RabbitChannel, RabbitMessage } from './rabbitmq-client.ts'
import { answered } from './rabbitmq-deadline.ts'
import { RabbitDelivery, type DeliveryDesk } from './rabbitmq-delivery.ts'
import { GroupChannel } from './rabbitmq-group-channel.ts'
import type { RabbitIntake } from './rabbitmq-intake.ts'
import type { RabbitLink } from './rabbitmq-link.ts'
import { ATTEMPTS_HEADER, countOf, deliveriesBefore, messageOf, REDRIVEN_HEADER, stateHeadersOf } from './rabbitmq-message.ts'
import type { Moved, RabbitMover } from './rabbitmq-mover.ts'
import type { RabbitPublisher } from './rabbitmq-publisher.ts'
import { RabbitStation, type StationSettings } from './rabbitmq-station.ts'
import type { RabbitTimekeeper } from './rabbitmq-timekeeper.ts'
import type { RabbitTopology } from './rabbitmq-topology.ts'

/** What the subscriptions of one transport share. */
export interface GroupSettings extends StationSettings {
  readonly topology: RabbitTopology
  readonly mover: RabbitMover
  readonly timekeeper: RabbitTimekeeper
  readonly publisher: RabbitPublisher
  readonly consumeLink: RabbitLink
  readonly publishLink: RabbitLink
}

/** Shortest time that the broker is asked to wait for an ack; it advises against less. */
const ACK_WAIT_MIN_MS = 300_000

/**
 * An unordered group: a queue per type, and beside each a queue of suspects.
 *
 * A message that was given out before and not settled may have killed its process, or may only have waited beside
 * the one that did: its count says nothing. It is moved to the suspects as it is, and those are given out one at
 * a time, so that the broker's count of a suspect is its own.
 */
export class RabbitGroup implements TransportSubscription {
  readonly #subscription: Subscription
  readonly #sink: DeliverySink
  readonly #settings: GroupSettings
  readonly #desks = new Map<string, DeliveryDesk>()
  readonly #main: GroupChannel
  readonly #suspects: GroupChannel
  readonly #mainStation: RabbitStation
  readonly #suspectStation: RabbitStation
  readonly #open = new Set<RabbitDelivery>()
  /** Came in while the subscription was being paused. */
  readonly #held: RabbitDelivery[] = []
  readonly #moving = new Set<Promise<void>>()
  #isPaused = false
  #closing: Promise<void> | undefined

  constructor(subscription: Subscription, sink: DeliverySink, settings: GroupSettings) {
    this.#subscription = subscription
    this.#sink = sink
    this.#settings = settings
    this.#main = this.#channel(false)
    this.#suspects = this.#channel(true)
    this.#mainStation = new RabbitStation(settings.consumeLink, settings, this.#main)
    this.#suspectStation = new RabbitStation(settings.consumeLink, settings, this.#suspects)
  }

  /** Resolves when the group exists and its messages come. */
  async open(): Promise<void> {
    try {
      // Long before the first retry: a queue declared a moment before the broker is killed can come back dead.
      await this.#settings.timekeeper.open()
      await this.#mainStation.open()
      await this.#suspectStation.open()
    } catch (error) {
      await this.close()
      throw error
    }
  }

  /** What comes in until the broker has stopped goes back to the queue, for others to handle. */
  async pause(): Promise<void> {
    this.#isPaused = true
    await this.#onBoth((channel) => channel.pause())
    for (const delivery of this.#held.splice(0)) this.#track(delivery.release())
  }

  async resume(): Promise<void> {
    this.#isPaused = false
    for (const delivery of this.#held.splice(0)) this.#sink(delivery)
    await this.#onBoth((channel) => channel.resume())
  }

  close(): Promise<void> {
    this.#closing ??= this.#close()
    return this.#closing
  }

  async #close(): Promise<void> {
    await this.pause()
    for (const delivery of this.#open) this.#track(delivery.abandon())
    const moved = Promise.allSettled(this.#moving)
    await answered(this.#settings.host.clock, moved, this.#settings.commandTimeoutMs, 'moving messages').catch(() => undefined)
    await this.#onBoth((channel) => channel.settle())
    await Promise.all([this.#mainStation.close(), this.#suspectStation.close()])
  }

  async #onBoth(act: (channel: GroupChannel) => Promise<void>): Promise<void> {
    const { host, commandTimeoutMs } = this.#settings
    // A channel that dies meanwhile is rebuilt in the state that is wanted by then.
    const both = Promise.allSettled([act(this.#main), act(this.#suspects)])
    await answered(host.clock, both, commandTimeoutMs, 'pausing').catch(() => undefined)
  }

  #channel(isSuspects: boolean): GroupChannel {
    const { group, inFlightMax, handlerTimeoutMs } = this.#subscription
    return new GroupChannel({
      name: `the consumer of ${group}${isSuspects ? ' (suspects)' : ''}`,
      clock: this.#settings.host.clock,
      prefetch: isSuspects ? 1 : inFlightMax,
      ackWaitMs: Math.max(ACK_WAIT_MIN_MS, handlerTimeoutMs * 2),
      declare: (channel) => this.#declare(channel, isSuspects),
      take: (queue, raw, intake) => (isSuspects ? this.#takeSuspect(queue, raw, intake) : this.#take(queue, raw, intake)),
      cancelled: (queue) => (isSuspects ? this.#suspectStation : this.#mainStation).restart(`the broker ended the consumer of ${queue}`),
      failed: (error) => this.#host.logger.error({ err: error, group }, 'a message could not be handed over; it comes again'),
    })
  }

  get #host(): TransportHost {
    return this.#settings.host
  }

  async #declare(channel: RabbitChannel, isSuspects: boolean): Promise<readonly string[]> {
    const { kind, group, types } = this.#subscription
    const { topology } = this.#settings
    const queues: string[] = []
    await topology.declareOrder(channel, kind, group, 'none')
    for (const type of types) {
      const queue = await topology.declareGroup(channel, kind, group, type)
      const consumed = isSuspects ? topology.names.suspects(queue) : queue
      this.#desks.set(consumed, this.#desk(queue, type))
      queues.push(consumed)
    }
    return queues
  }

  #desk(queue: string, type: string): DeliveryDesk {
    const { kind, group } = this.#subscription
    const { mover, topology, publishLink } = this.#settings
    const repair = (): Promise<void> =>
      publishLink.onSpareChannel(async (channel) => {
        await topology.declareBase(channel)
        await topology.declareGroup(channel, kind, group, type)
      })
    return { kind, group, queue, mover, repair, open: this.#open }
  }

  #take(queue: string, raw: RabbitMessage, intake: RabbitIntake): void {
    const desk = this.#desks.get(queue)
    if (desk === undefined) return
    const headers = raw.properties.headers
    const message = messageOf(raw)
    const attempts = countOf(headers, ATTEMPTS_HEADER)
    const isRedriven = headers?.[REDRIVEN_HEADER] !== undefined
    if (raw.fields.redelivered) {
      const moved: Moved = { raw, message, intake, queue: desk.queue, repair: desk.repair }
      this.#track(desk.mover.toQueue(moved, this.#settings.topology.names.suspects(desk.queue), stateHeadersOf(raw)))
    } else {
      this.#hand(new RabbitDelivery(desk, intake, raw, message, { attempt: attempts + 1, isSuspect: false, isRedriven }))
    }
  }

  #takeSuspect(queue: string, raw: RabbitMessage, intake: RabbitIntake): void {
    const desk = this.#desks.get(queue)
    if (desk === undefined) return
    const headers = raw.properties.headers
    const attempt = countOf(headers, ATTEMPTS_HEADER) + deliveriesBefore(raw) + 1
    const isRedriven = headers?.[REDRIVEN_HEADER] !== undefined
    this.#hand(new RabbitDelivery(desk, intake, raw, messageOf(raw), { attempt, isSuspect: true, isRedriven }))
  }

  #hand(delivery: RabbitDelivery): void {
    if (this.#isPaused) this.#held.push(delivery)
    else this.#sink(delivery)
  }

  #track(move: Promise<void>): void {
    this.#moving.add(move)
    const end = (): void => {
      this.#moving.delete(move)
    }
    move.then(end, end)
  }
}
