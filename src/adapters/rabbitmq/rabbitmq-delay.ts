import type { RabbitChannel } from './rabbitmq-client.ts'
import type { RabbitNames } from './rabbitmq-names.ts'
import { QUORUM } from './rabbitmq-queues.ts'

// Delays without a plugin and without head-of-line blocking: a ladder of queues, each with one fixed time
// to live, as in the RabbitMQ transport of NServiceBus. The routing key holds the delay in binary, one word
// a level, and behind it the queue that the message goes to. On each level a topic exchange sends the
// message into the level's queue where its bit is 1 and past it where it is 0; a queue's expired messages go to
// the level below. Every queue's messages live equally long, so the oldest one is always the first to go.

/** Shortest delay and step of all delays, in milliseconds. */
export const DELAY_UNIT_MS = 50
/** Levels of the ladder: together they hold 819 seconds, more than the longest delay of the default policy. */
const LEVELS = 14
const UNITS_MAX = 2 ** LEVELS - 1
/** Longest delay that one trip down the ladder gives, in milliseconds. */
export const DELAY_TRIP_MAX_MS: number = UNITS_MAX * DELAY_UNIT_MS

/** How a message is delayed. */
export interface DelayRoute {
  /** Level at which it enters: its highest bit. */
  readonly level: number
  readonly routingKey: string
  /** What one trip cannot hold; the receiver sends the message round again. */
  readonly leftMs: number
}

/** The way of a message that is to reach `queue` after `delayMs`; never early, at most 50 ms late by itself. */
export function delayRoute(delayMs: number, queue: string): DelayRoute {
  const units = Math.min(UNITS_MAX, Math.max(1, Math.ceil(delayMs / DELAY_UNIT_MS)))
  const bits = units.toString(2).padStart(LEVELS, '0')
  return { level: 31 - Math.clz32(units), routingKey: `${bits.split('').join('.')}.${queue}`, leftMs: Math.max(0, delayMs - DELAY_TRIP_MAX_MS) }
}

/** Pattern that leads messages for a queue from the foot of the ladder to it. */
export function duePattern(queue: string): string {
  return `${'*.'.repeat(LEVELS)}${queue}`
}

/** Declares the ladder above the exchange at its foot; cheap where it exists. All groups of a namespace share it. */
export async function declareDelays(channel: RabbitChannel, names: RabbitNames): Promise<void> {
  for (let level = 0; level < LEVELS; level++) {
    const name = names.delay(level)
    const below = level === 0 ? names.due : names.delay(level - 1)
    await channel.assertExchange(name, 'topic', { durable: true })
    await channel.assertQueue(name, {
      durable: true,
      arguments: {
        ...QUORUM,
        'x-message-ttl': DELAY_UNIT_MS * 2 ** level,
        'x-dead-letter-exchange': below,
        // the default strategy loses messages while the target is not reachable.
        'x-dead-letter-strategy': 'at-least-once',
        'x-overflow': 'reject-publish',
      },
    })
    const before = '*.'.repeat(LEVELS - 1 - level)
    await channel.bindQueue(name, name, `${before}1.#`)
    await channel.bindExchange(below, name, `${before}0.#`)
  }
}
