import type { TransportHost } from '../../bus/port.ts'
import { backoffMs } from '../../core/backoff.ts'
import { sleep, type Timer } from '../../core/clock.ts'
import { errorText, TrunklineError } from '../../core/errors.ts'
import { RECONNECT_DELAY_MAX_MS, RECONNECT_INITIAL_MS } from '../../core/limits.ts'
import type { EsdbConsumer, EsdbDelivered, EsdbGroupSettings } from './eventstoredb-client.ts'
import type { EsdbLink } from './eventstoredb-link.ts'

const AGAIN = { initialMs: RECONNECT_INITIAL_MS, factor: 2, maxMs: RECONNECT_DELAY_MAX_MS }
/** The server never gives up a message by itself: reasons and counts are ours. */
const RETRIES_MAX = 2_147_483_647
const ACK_BATCH_MAX = 500

/** What a consumer's messages go to. */
export interface Consuming {
  /** One message; `source` is where it can be acked. */
  onDelivered(delivered: EsdbDelivered, source: EsdbConsuming): void
}

/** How a persistent subscription is made and read. */
export interface ConsumePlan {
  readonly link: EsdbLink
  readonly host: TransportHost
  readonly stream: string
  readonly group: string
  readonly from: 'start' | 'end'
  readonly bufferSize: number
  /** Longest time that a message can be in the hands of this process. */
  readonly messageTimeoutMs: number
  /** Silence after which it is opened again. */
  readonly silenceMaxMs: number
}

/**
 * One consumer of one persistent subscription, opened again whenever it ends (guard 8). An ack on a consumer that has ended does nothing
 * (guard 22): its messages come again.
 */
export class EsdbConsuming {
  readonly #plan: ConsumePlan
  readonly #work: Consuming
  readonly #ended = new AbortController()
  #consumer: EsdbConsumer | undefined
  #acks: EsdbDelivered[] = []
  #isConfirmed = false
  #isHeard = false
  #watchdog: Timer | undefined
  #running: Promise<void> = Promise.resolve()

  constructor(plan: ConsumePlan, work: Consuming) {
    this.#plan = plan
    this.#work = work
  }

  /** Resolves when the persistent subscription exists. @throws `bus.connection_lost`, `bus.subscription_conflict`. */
  async open(): Promise<void> {
    const { link, stream, group, host } = this.#plan
    for (let tries = 1; ; tries++) {
      const result = await link.call((client) => client.createPersistentSubscriptionToStream(stream, group, this.#settings(), link.callOptions))
      if (result.kind === 'done' || result.failure.kind === 'group-exists') break
      if (result.failure.kind === 'refused') throw new TrunklineError('bus.subscription_conflict', { subscription: group, problem: result.failure.problem }, { cause: result.failure.cause })
      if (link.closed.aborted || tries >= 5) throw new TrunklineError('bus.connection_lost', { adapter: 'eventstoredb', problem: result.failure.problem }, { cause: result.failure.cause })
      await sleep(host.clock, backoffMs(AGAIN, tries, host.random), link.closed)
    }
    this.#running = this.#supervise()
  }

  /** Acks with the next batch. */
  ack(delivered: EsdbDelivered): void {
    this.#acks.push(delivered)
    if (this.#acks.length > 1) return
    this.#plan.host.clock.defer(() => this.flush())
  }

  /** Sends the acks that wait. */
  flush(): void {
    while (this.#acks.length > 0) {
      const batch = this.#acks.splice(0, ACK_BATCH_MAX)
      // A message whose ack is lost comes again.
      this.#consumer?.ack(...batch).catch(() => undefined)
    }
  }

  /** Takes no more messages; those that are not acked go to others. */
  async close(): Promise<void> {
    this.#watchdog?.cancel()
    this.flush()
    // The acks are written to the call before it is cancelled.
    await new Promise<void>((resolve) => {
      this.#plan.host.clock.defer(resolve)
    })
    this.#ended.abort()
    this.#drop()
    await this.#running
  }

  async #supervise(): Promise<void> {
    const { link, host } = this.#plan
    const { signal } = this.#ended
    for (let tries = 1; !signal.aborted && !link.closed.aborted; tries++) {
      this.#isConfirmed = false
      const thrown = await this.#consume()
      this.#drop()
      if (signal.aborted || link.closed.aborted) return
      if (thrown === undefined) continue
      const failure = link.notice(thrown)
      if (failure.kind === 'group-missing') await this.#remake()
      if (this.#isConfirmed) tries = 1
      host.logger.debug({ stream: this.#plan.stream, problem: failure.problem }, 'a persistent subscription ended and is opened again')
      await sleep(host.clock, backoffMs(AGAIN, tries, host.random), signal)
    }
  }

  /** Reads until it ends; gives back why, or undefined where it was ended here. */
  async #consume(): Promise<unknown> {
    const { link, stream, group, bufferSize } = this.#plan
    this.#isHeard = true
    this.#watch()
    try {
      const consumer = link.client.subscribeToPersistentSubscriptionToStream(stream, group, { ...link.callOptions, bufferSize })
      this.#consumer = consumer
      consumer.on('error', () => undefined) // guard 9
      consumer.on('confirmation', () => {
        this.#isConfirmed = true
        link.host.report('up', '')
      })
      for await (const delivered of consumer) {
        if (this.#consumer !== consumer) return undefined
        this.#isHeard = true
        this.#work.onDelivered(delivered, this)
      }
      return { type: 'cancelled', message: 'the server ended a persistent subscription' }
    } catch (error) {
      if (this.#consumer === undefined) return undefined
      return error ?? { type: 'cancelled', message: errorText(error) }
    }
  }

  /** A consumer can be dropped without a word (E-06, guard 24): one that is silent for long is opened again. */
  #watch(): void {
    this.#watchdog?.cancel()
    const { clock } = this.#plan.host
    this.#watchdog = clock.setTimer(this.#plan.silenceMaxMs, () => {
      if (this.#ended.signal.aborted) return
      if (!this.#isHeard) this.#drop()
      this.#isHeard = false
      this.#watch()
    }, { background: true })
  }

  /** Somebody has deleted it. */
  async #remake(): Promise<void> {
    const { link, stream, group } = this.#plan
    await link.call((client) => client.createPersistentSubscriptionToStream(stream, group, this.#settings(), link.callOptions))
  }

  #drop(): void {
    const consumer = this.#consumer
    if (consumer === undefined) return
    this.#consumer = undefined
    this.#acks = []
    const destroy = (): void => void consumer.destroy()
    consumer.unsubscribe().then(destroy, destroy)
  }

  #settings(): EsdbGroupSettings {
    const { from, messageTimeoutMs, bufferSize } = this.#plan
    return {
      startFrom: from,
      resolveLinkTos: false,
      extraStatistics: false,
      messageTimeout: messageTimeoutMs,
      maxRetryCount: RETRIES_MAX,
      checkPointAfter: 1_000,
      checkPointLowerBound: 1,
      checkPointUpperBound: 500,
      maxSubscriberCount: 'unbounded',
      liveBufferSize: Math.max(500, bufferSize * 2),
      readBatchSize: 100,
      historyBufferSize: Math.max(500, bufferSize * 2),
      consumerStrategyName: 'RoundRobin',
    }
  }
}
