import { sleep, type Clock } from '../../core/clock.ts'
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

interface Consumer {
  readonly consumerTag: string
  readonly queue: string
}

/** Longest wait for a consumer's window to fill or its queue to come to rest. */
const REST_MAX_MS = 1_000
/** A queue from which nothing came for this long is at rest: what comes next will hardly come in the very moment of the cancel. */
const QUIET_MS = 100
const REST_POLL_MS = 5
const SETTLE_ROUNDS = 3

/** A channel that consumes some queues and can be paused; rebuilt by its station. */
export class GroupChannel implements StationWork {
  readonly name: string
  readonly confirms = false
  readonly #plan: GroupChannelPlan
  #channel: RabbitChannel | undefined
  #intake: RabbitIntake | undefined
  #queues: readonly string[] = []
  #consumers: Consumer[] = []
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

  /**
   * Sends the acks that wait and gives the broker time to apply them: beyond 32 that are on their way to a quorum queue, its
   * channels keep acks back, and forget them when they close.
   */
  async settle(): Promise<void> {
    this.#intake?.flush()
    const channel = this.#channel
    const [queue] = this.#queues
    if (channel === undefined || queue === undefined) return
    for (let round = 0; round < SETTLE_ROUNDS; round++) {
      await channel.checkQueue(queue)
      await sleep(this.#plan.clock, REST_POLL_MS)
    }
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
      this.#consumers.push({ consumerTag, queue })
    }
  }

  /**
   * Ends the consumers. RabbitMQ puts messages that are on their way to a cancelled consumer back as though it had had
   * them, which makes suspects of them; so each is cancelled when its window is full or its queue is at rest.
   */
  async #cancelAll(): Promise<void> {
    const channel = this.#channel
    const intake = this.#intake
    const consumers = this.#consumers
    this.#consumers = []
    if (channel === undefined || intake === undefined) return
    intake.withholdAcks()
    try {
      for (const consumer of consumers) {
        await this.#comeToRest(channel, intake, consumer)
        await channel.cancel(consumer.consumerTag)
      }
    } finally {
      intake.sendAcks()
    }
  }

  /** Two answers on the channel have passed what was on its way when the first was asked for. */
  async #comeToRest(channel: RabbitChannel, intake: RabbitIntake, { consumerTag, queue }: Consumer): Promise<void> {
    const { clock, prefetch } = this.#plan
    const endMs = clock.monotonicMs() + REST_MAX_MS
    for (;;) {
      const { messageCount } = await channel.checkQueue(queue)
      await channel.checkQueue(queue)
      const nowMs = clock.monotonicMs()
      if (intake.unackedOf(consumerTag) >= prefetch || nowMs >= endMs) return
      if (messageCount === 0 && nowMs - intake.lastTakenAtMs >= QUIET_MS) return
      await sleep(clock, REST_POLL_MS)
    }
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
