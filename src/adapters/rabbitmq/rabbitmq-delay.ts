import type { RabbitChannel } from './rabbitmq-client.ts'
import type { RabbitNames } from './rabbitmq-names.ts'
import { QUORUM } from './rabbitmq-queues.ts'

// Delays without a plugin: some quorum queues, one for each doubling of the delay. A waiting message says when it is due,
// and whichever instance consumes its queue moves it on then (rabbitmq-timekeeper.ts).
//
// The broker's own way, a time to live and a dead-letter exchange, is not used. Dead-lettering "at most once" loses messages
// . "At least once" forwards what fell due while the broker was down before the broker knows its exchanges and
// bindings again: it then waits three minutes, or takes an alternate exchange for the only way.

/** Longest delay of the first level, in milliseconds. Each further level holds twice as long as the one before. */
const FIRST_MS = 250
/** With eleven levels the last one holds 256 seconds; a broker may wait for an ack for no less than 300. */
const LEVELS = 11
/** Longest delay that a message waits in one queue, in milliseconds. */
export const DELAY_HELD_MAX_MS: number = levelMs(LEVELS - 1)

/** How a message is delayed. */
export interface Delay {
  /** Level whose messages wait at most twice as long. */
  readonly level: number
  /** Time that it waits there, in milliseconds. */
  readonly heldMs: number
  /** What is left after that; it waits once more then. */
  readonly leftMs: number
}

/** Splits a delay into a wait and what is left. */
export function delayOf(delayMs: number): Delay {
  const heldMs = Math.min(DELAY_HELD_MAX_MS, delayMs)
  return { level: Math.max(0, Math.ceil(Math.log2(heldMs / FIRST_MS))), heldMs, leftMs: delayMs - heldMs }
}

/** Longest time that a message waits on a level, in milliseconds. */
export function levelMs(level: number): number {
  return FIRST_MS * 2 ** level
}

/** Declares the queues of all levels and gives their names, the first level first. All groups of a namespace share them. */
export async function declareDelays(channel: RabbitChannel, names: RabbitNames): Promise<readonly string[]> {
  const queues: string[] = []
  for (let level = 0; level < LEVELS; level++) {
    const queue = names.delay(level)
    // Where an operator's policy sets a length, what no longer fits is refused and not dropped.
    await channel.assertQueue(queue, { durable: true, arguments: { ...QUORUM, 'x-overflow': 'reject-publish' } })
    queues.push(queue)
  }
  return queues
}
