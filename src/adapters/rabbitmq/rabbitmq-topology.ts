import { TrunklineError, errorText } from '../../core/errors.ts'
import type { RabbitChannel, RabbitQueueState, RabbitTable } from './rabbitmq-client.ts'
import { declareDelays } from './rabbitmq-delay.ts'
import { patternOf, type RabbitNames } from './rabbitmq-names.ts'
import { COMMAND, LANES, LIGHT, QUORUM, UNROUTED_MESSAGES_MAX } from './rabbitmq-queues.ts'

/** Kind of a message, which decides its exchange. */
export type Kind = 'event' | 'command'

/** Declares what the adapter needs on the broker. Everything is idempotent, and nothing that exists is ever changed. */
export class RabbitTopology {
  readonly names: RabbitNames
  #usesDelays = false

  constructor(names: RabbitNames) {
    this.names = names
  }

  /** Exchanges, the queue of events that nobody wants, the dead letters; and the delays where a group uses them. */
  async declareBase(channel: RabbitChannel): Promise<void> {
    const { names } = this
    await this.#exchange(channel, names.unrouted, 'fanout')
    await this.queue(channel, names.unrouted, { ...QUORUM, 'x-max-length': UNROUTED_MESSAGES_MAX, 'x-overflow': 'drop-head' })
    await channel.bindQueue(names.unrouted, names.unrouted, '')
    await this.#exchange(channel, names.events, 'topic', names.unrouted)
    await this.#exchange(channel, names.commands, 'topic')
    await this.#exchange(channel, names.light, 'topic')
    // A delayed message whose queue was deleted must have somewhere to go, or it would be moved again and again.
    await this.#exchange(channel, names.due, 'direct', names.unrouted)
    await this.queue(channel, names.dead, QUORUM)
    if (this.#usesDelays) await declareDelays(channel, names)
  }

  /** The queues of delayed messages, from now on also with the base. Gives their names, the shortest delay first. */
  declareDelays(channel: RabbitChannel): Promise<readonly string[]> {
    this.#usesDelays = true
    return declareDelays(channel, this.names)
  }

  /** The queues of one type in an unordered group, bound. Returns the name of the first. */
  async declareGroup(channel: RabbitChannel, kind: Kind, group: string, type: string): Promise<string> {
    const queue = this.names.group(kind, group, type)
    await this.queue(channel, queue, kind === 'command' ? COMMAND : QUORUM)
    await this.queue(channel, this.names.suspects(queue), QUORUM)
    await channel.bindQueue(queue, kind === 'command' ? this.names.commands : this.names.events, patternOf(type))
    await this.bindDue(channel, queue)
    return queue
  }

  /**
   * The lanes of an ordered group, bound for all its types: one for each upper half of a bucket. Messages without key
   * go to the first. Returns the names of the lanes' queues.
   */
  async declareLanes(channel: RabbitChannel, kind: Kind, group: string, types: readonly string[]): Promise<readonly string[]> {
    const queues: string[] = []
    for (let lane = 0; lane < LANES; lane++) {
      const queue = this.names.lane(kind, group, lane)
      queues.push(queue)
      await this.queue(channel, queue, kind === 'command' ? COMMAND : QUORUM)
      await this.queue(channel, this.names.hold(queue), QUORUM)
      for (const type of types) {
        const exchange = kind === 'command' ? this.names.commands : this.names.events
        await channel.bindQueue(queue, exchange, `${type}.${lane}.*`)
        if (lane === 0) await channel.bindQueue(queue, exchange, `${type}.-.-`)
      }
    }
    await this.queue(channel, this.names.members(kind, group), LIGHT)
    return queues
  }

  /** True where the group has lanes. Where it has none, the channel is closed by the broker. */
  hasLanes(channel: RabbitChannel, kind: Kind, group: string): Promise<boolean> {
    return this.exists(channel, this.names.lane(kind, group, 0))
  }

  /** True where the queue exists. Where it does not, the channel is closed by the broker. */
  async exists(channel: RabbitChannel, queue: string): Promise<boolean> {
    try {
      await channel.checkQueue(queue)
      return true
    } catch (error) {
      if (replyCodeOf(error) === NOT_FOUND) return false
      throw error
    }
  }

  /**
   * Notes whether a group is ordered, so that it cannot be used both ways: its messages would go to two places.
   *
   * @throws `bus.subscription_conflict`.
   */
  async declareOrder(channel: RabbitChannel, kind: Kind, group: string, order: 'key' | 'none'): Promise<void> {
    await this.queue(channel, this.names.order(kind, group), { 'x-queue-type': 'classic', 'x-max-length': order === 'key' ? 1 : 2 })
  }

  /** Lets delayed messages for a queue come back to it. */
  async bindDue(channel: RabbitChannel, queue: string): Promise<void> {
    await channel.bindQueue(queue, this.names.due, queue)
  }

  /**
   * Declares a queue.
   *
   * @throws `bus.subscription_conflict` where it exists with other arguments.
   */
  async queue(channel: RabbitChannel, name: string, args: RabbitTable): Promise<RabbitQueueState> {
    try {
      return await channel.assertQueue(name, { durable: true, arguments: args })
    } catch (error) {
      throw declareError(name, error)
    }
  }

  async #exchange(channel: RabbitChannel, name: string, type: string, alternateExchange?: string): Promise<void> {
    try {
      await channel.assertExchange(name, type, { durable: true, ...(alternateExchange === undefined ? {} : { alternateExchange }) })
    } catch (error) {
      throw declareError(name, error)
    }
  }
}

/** AMQP reply codes. */
const ACCESS_REFUSED = 403
const NOT_FOUND = 404
const PRECONDITION_FAILED = 406

/** The AMQP reply code of an error of amqplib's, or undefined. */
export function replyCodeOf(error: unknown): number | undefined {
  return typeof error === 'object' && error !== null && 'code' in error && typeof error.code === 'number' ? error.code : undefined
}

function declareError(name: string, error: unknown): unknown {
  const code = replyCodeOf(error)
  if (code !== ACCESS_REFUSED && code !== PRECONDITION_FAILED) return error
  const advice = code === PRECONDITION_FAILED ? 'it exists with other settings; drain and delete it, or use another namespace or group' : 'the user lacks the permission'
  return new TrunklineError('bus.subscription_conflict', { subscription: name, problem: `${advice}: ${errorText(error).slice(0, 300)}` }, { cause: error })
}
