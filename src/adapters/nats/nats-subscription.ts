import type { DeliverySink, Subscription, TransportSubscription } from '../../bus/port.ts'
import type { NatsDelivery } from './nats-delivery.ts'
import { NatsFeed, type FeedParts } from './nats-feed.ts'
import { consumerName, groupToken } from './nats-names.ts'
import type { NatsLink } from './nats-link.ts'
import type { NatsSettings } from './nats-options.ts'

const RELEASE_TIMEOUT_MS = 5_000

/**
 * A group without order: two consumers per type, one of the messages and one of those that wait for another attempt.
 *
 * Each consumer has a window of its own, but never more than `inFlightMax` deliveries are with the sink; what comes
 * beyond that waits here, kept alive, and is bounded by the windows.
 */
export class NatsSubscription implements TransportSubscription {
  readonly #feeds: readonly NatsFeed[]
  readonly #sink: DeliverySink
  readonly #inFlightMax: number
  readonly #link: NatsLink
  readonly #waiting: NatsDelivery[] = []
  #inFlight = 0
  #state: 'running' | 'paused' | 'closed' = 'paused'

  constructor(parts: FeedParts, settings: NatsSettings, subscription: Subscription, sink: DeliverySink) {
    const { kind, types, group, inFlightMax } = subscription
    this.#sink = sink
    this.#link = parts.link
    this.#inFlightMax = inFlightMax
    const token = groupToken(kind, group)
    const shared = {
      kind,
      group,
      groupToken: token,
      windowMax: inFlightMax,
      onDelivery: (delivery: NatsDelivery) => this.#take(delivery),
      onSettled: () => this.#onSettled(),
    }
    const { names } = parts
    this.#feeds = types.flatMap((type) => {
      const name = consumerName(token, type)
      const { ackWaitMs } = settings
      const from = kind === 'event' ? subscription.from : 'beginning'
      const main = { stream: names.streamOf(kind), name, filter: names.typeFilter(kind, type), from, ackWaitMs }
      const retry = { stream: names.streams.retry, name, filter: names.retry(token, type), from: 'beginning' as const, ackWaitMs }
      return [new NatsFeed(parts, { ...shared, type, consumer: main }), new NatsFeed(parts, { ...shared, type, consumer: retry })]
    })
  }

  /** Resolves when the group exists durably, and starts. */
  async open(): Promise<void> {
    await Promise.all(this.#feeds.map(async (feed) => await feed.prepare()))
    await this.resume()
  }

  async pause(): Promise<void> {
    if (this.#state !== 'running') return
    this.#state = 'paused'
    await this.#stopFeeds()
  }

  async resume(): Promise<void> {
    if (this.#state !== 'paused') return
    this.#state = 'running'
    for (const feed of this.#feeds) feed.start()
    this.#handOut()
    await Promise.resolve()
  }

  async close(): Promise<void> {
    if (this.#state === 'closed') return
    this.#state = 'closed'
    await this.#stopFeeds()
    // While the link is down nobody can be told; what waited goes to others after the ack wait.
    const released = Promise.all(this.#waiting.splice(0).map(async (delivery) => await delivery.release()))
    if (this.#link.isUp) await this.#link.within(released, RELEASE_TIMEOUT_MS)
    for (const feed of this.#feeds) feed.abandon()
  }

  async #stopFeeds(): Promise<void> {
    await Promise.all(this.#feeds.map(async (feed) => await feed.stop()))
  }

  #take(delivery: NatsDelivery): void {
    if (this.#state === 'running' && this.#inFlight < this.#inFlightMax && this.#waiting.length === 0) {
      this.#inFlight += 1
      this.#sink(delivery)
    } else this.#waiting.push(delivery)
  }

  #onSettled(): void {
    this.#inFlight -= 1
    if (this.#waiting.length > 0) this.#handOut()
  }

  #handOut(): void {
    while (this.#state === 'running' && this.#inFlight < this.#inFlightMax) {
      const delivery = this.#waiting.shift()
      if (delivery === undefined) return
      this.#inFlight += 1
      this.#sink(delivery)
    }
  }
}
