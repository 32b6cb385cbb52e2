import type { Clock } from '../../core/clock.ts'
import type { RabbitChannel, RabbitMessage, RabbitTable } from './rabbitmq-client.ts'
import { RabbitIntake } from './rabbitmq-intake.ts'
import type { StationWork } from './rabbitmq-station.ts'

/** What one channel of a subscription consumes, and what becomes of it. */
export interface GroupChannelPlan {
  readonly name: string
  readonly clock: Clock
  readonly prefetch: number
  /** Longest time that the broker may wait for an ack, in milliseconds. */
  readonly ackWaitMs: number
  /** Declares on a new channel, and gives the queues to consume. */
  readonly declare: (channel: RabbitChannel) => Promise<readonly string[]>
  readonly take: (queue: string, raw: RabbitMessage, intake: RabbitIntake) => void
  /** A consumer was ended by the broker, which happens when its queue is deleted. */
  readonly cancelled: (queue: string) => void
  readonly failed: (error: unknown) => void
}

/** A channel that consumes some queues and can be paused; rebuilt by its station. */
export class GroupChannel implements StationWork {
  readonly name: string
  readonly confirms = false
  readonly #plan: GroupChannelPlan
  #channel: RabbitChannel | undefined
  #intake: RabbitIntake | undefined
  #queues: readonly string[] = []
  #consumers: string[] = []
  #isPaused = false
  /** Consuming and cancelling follow each other. */
  #turn: Promise<void> = Promise.resolve()

  constructor(plan: GroupChannelPlan) {
    this.name = plan.name
    this.#plan = plan
  }

  async build(channel: RabbitChannel): Promise<void> {
    const intake = new RabbitIntake(channel, this.#plan.clock)
    this.#intake = intake
    this.#queues = await this.#plan.declare(channel)
    await channel.prefetch(this.#plan.prefetch)
    this.#channel = channel
    this.#consumers = []
    await this.#follow()
  }

  lost(): void {
    this.#intake?.lose()
    this.#intake = undefined
    this.#channel = undefined
    this.#consumers = []
  }

  /** Stops new messages; resolves when the broker sends none any more. */
  pause(): Promise<void> {
    this.#isPaused = true
    return this.#follow()
  }

  resume(): Promise<void> {
    this.#isPaused = false
    return this.#follow()
  }

  /** Sends the acks that wait. */
  flush(): void {
    this.#intake?.flush()
  }

  #follow(): Promise<void> {
    this.#turn = this.#turn.catch(() => undefined).then(() => (this.#isPaused ? this.#cancelAll() : this.#consumeAll()))
    return this.#turn
  }

  async #consumeAll(): Promise<void> {
    const channel = this.#channel
    const intake = this.#intake
    if (channel === undefined || intake === undefined || this.#consumers.length > 0) return
    const consumerArguments: RabbitTable = { 'x-consumer-timeout': this.#plan.ackWaitMs }
    for (const queue of this.#queues) {
      const { consumerTag } = await channel.consume(queue, (raw) => this.#take(queue, raw, intake), { arguments: consumerArguments })
      if (this.#channel !== channel) return
      this.#consumers.push(consumerTag)
    }
  }

  async #cancelAll(): Promise<void> {
    const channel = this.#channel
    const consumers = this.#consumers
    this.#consumers = []
    if (channel === undefined) return
    for (const consumer of consumers) await channel.cancel(consumer)
  }

  /** Nothing that goes wrong here may reach amqplib's reader: it would close the connection. */
  #take(queue: string, raw: RabbitMessage | null, intake: RabbitIntake): void {
    try {
      if (raw === null) this.#plan.cancelled(queue)
      else if (!intake.isLost) {
        intake.took(raw)
        this.#plan.take(queue, raw, intake)
      }
    } catch (error) {
      this.#plan.failed(error)
    }
  }
}
