import type { Clock } from '../../core/clock.ts'
import type { RabbitChannel, RabbitMessage } from './rabbitmq-client.ts'

/**
 * One channel that messages come in on, and the acks that go back on it (R-07: an ack on another channel, or a second
 * one, closes the channel and brings all its messages back).
 *
 * Acks leave at the end of the event loop's turn. Where they form an unbroken run from the oldest message
 * on they leave as one, which is half the cost of a fast consumer.
 */
export class RabbitIntake {
  readonly #channel: RabbitChannel
  readonly #clock: Clock
  readonly #lost = new AbortController()
  /** Tags that are neither acked nor put back, in the order of their arrival; as many as the prefetch allows. */
  readonly #open = new Set<number>()
  #ready: RabbitMessage[] = []
  /** Unacked messages by consumer. */
  readonly #unacked = new Map<string, number>()
  #lastTakenAtMs = -Infinity
  #isWithholding = false

  constructor(channel: RabbitChannel, clock: Clock) {
    this.#channel = channel
    this.#clock = clock
  }

  /** Aborts when the channel is gone: then every message that was not acked comes again. */
  get signal(): AbortSignal {
    return this.#lost.signal
  }

  get isLost(): boolean {
    return this.#lost.signal.aborted
  }

  /** Monotonic time at which the last message came in. */
  get lastTakenAtMs(): number {
    return this.#lastTakenAtMs
  }

  /** Messages of a consumer that the broker counts against its prefetch. */
  unackedOf(consumerTag: string): number {
    return this.#unacked.get(consumerTag) ?? 0
  }

  /** Notes a message that came in; call it for each one, in order. */
  took(message: RabbitMessage): void {
    this.#lastTakenAtMs = this.#clock.monotonicMs()
    this.#open.add(message.fields.deliveryTag)
    this.#count(message, 1)
  }

  /** Keeps acks back until `sendAcks`, so that the broker's window can only fill. */
  withholdAcks(): void {
    this.#isWithholding = true
  }

  /** Sends what was kept back. */
  sendAcks(): void {
    this.#isWithholding = false
    this.#flush()
  }

  /** Takes the message out of its queue. Without effect once the channel is gone, or where it was settled before. */
  ack(message: RabbitMessage): void {
    if (!this.#open.delete(message.fields.deliveryTag)) return
    this.#ready.push(message)
    if (this.#ready.length === 1) this.#clock.defer(this.#flush)
  }

  /** Puts the message back into its queue. */
  requeue(message: RabbitMessage): void {
    if (!this.#open.delete(message.fields.deliveryTag)) return
    this.#count(message, -1)
    this.#quietly(() => this.#channel.nack(message, false, true))
  }

  /** Sends the acks that wait at once. */
  flush(): void {
    this.#flush()
  }

  /** The channel is gone. */
  lose(): void {
    this.#lost.abort()
    this.#open.clear()
    this.#ready = []
  }

  readonly #flush = (): void => {
    if (this.#ready.length === 0 || this.#isWithholding) return
    const ready = this.#ready
    this.#ready = []
    for (const message of ready) this.#count(message, -1)
    const oldest = this.#open.values().next().value ?? Infinity
    let last: RabbitMessage | undefined
    let run = 0
    for (const message of ready) {
      if (message.fields.deliveryTag >= oldest) continue
      run++
      if (last === undefined || message.fields.deliveryTag > last.fields.deliveryTag) last = message
    }
    this.#quietly(() => {
      if (last !== undefined) this.#channel.ack(last, run > 1)
      if (run === ready.length) return
      for (const message of ready) if (message.fields.deliveryTag > oldest) this.#channel.ack(message)
    })
  }

  #count(message: RabbitMessage, step: number): void {
    const consumerTag = message.fields.consumerTag ?? ''
    this.#unacked.set(consumerTag, this.unackedOf(consumerTag) + step)
  }

  /** amqplib throws on a channel that is closing; what was not acked comes again. */
  #quietly(send: () => void): void {
    try {
      send()
    } catch {
      // Its `close` event follows and calls `lose`.
    }
  }
}
