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
  /** Messages that were handled: not acked yet, or acked out of turn, by tag. */
  readonly #settled = new Map<number, RabbitMessage | 'acked'>()
  #ready: RabbitMessage[] = []
  /** The oldest tag that may still be unsettled. Tags of a channel start at 1 and have no gaps. */
  #lowest = 1

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

  /** Takes the message out of its queue. Without effect once the channel is gone. */
  ack(message: RabbitMessage): void {
    if (this.#lost.signal.aborted) return
    this.#settled.set(message.fields.deliveryTag, message)
    this.#ready.push(message)
    if (this.#ready.length === 1) this.#clock.defer(this.#flush)
  }

  /** Puts the message back into its queue. */
  requeue(message: RabbitMessage): void {
    if (this.#lost.signal.aborted) return
    this.#settled.set(message.fields.deliveryTag, 'acked')
    this.#quietly(() => this.#channel.nack(message, false, true))
  }

  /** Sends the acks that wait; then a closing channel takes them along. */
  flush(): void {
    this.#flush()
  }

  /** The channel is gone. */
  lose(): void {
    this.#lost.abort()
    this.#settled.clear()
    this.#ready = []
  }

  readonly #flush = (): void => {
    if (this.#ready.length === 0) return
    const ready = this.#ready
    this.#ready = []
    let last: RabbitMessage | undefined
    let run = 0
    for (let found = this.#settled.get(this.#lowest); found !== undefined; found = this.#settled.get(this.#lowest)) {
      this.#settled.delete(this.#lowest++)
      if (found === 'acked') continue
      last = found
      run++
    }
    this.#quietly(() => {
      if (last !== undefined) this.#channel.ack(last, run > 1)
      if (run === ready.length) return
      for (const message of ready) {
        const tag = message.fields.deliveryTag
        if (tag < this.#lowest) continue
        this.#settled.set(tag, 'acked')
        this.#channel.ack(message)
      }
    })
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
