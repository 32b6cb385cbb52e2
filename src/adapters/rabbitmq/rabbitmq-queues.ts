import type { RabbitTable } from './rabbitmq-client.ts'

/**
 * Arguments of every durable queue. 4.x drops a message at its 20th return unless a limit is set; this one
 * is never reached, and unlike -1 every version reads it the same way. Attempts are counted by the bus.
 */
export const QUORUM: RabbitTable = { 'x-queue-type': 'quorum', 'x-delivery-limit': 2_000_000_000 }

/** Commands that no longer fit, where an operator's policy sets a length, are refused and not dropped. */
export const COMMAND: RabbitTable = { ...QUORUM, 'x-overflow': 'reject-publish' }

/** Longest that a queue without consumers and declarations lives, where it belongs to one instance or serves requests. */
export const LIGHT_EXPIRES_MS = 60_000
/** Most messages that wait in a light queue; the oldest go first. */
export const LIGHT_MESSAGES_MAX = 10_000

/** Arguments of the light plane's queues. Durable by name only (R-18: others are refused by 4.3): their messages are not. */
export const LIGHT: RabbitTable = { 'x-queue-type': 'classic', 'x-expires': LIGHT_EXPIRES_MS, 'x-max-length': LIGHT_MESSAGES_MAX, 'x-overflow': 'drop-head' }

/** Most events kept that no group wanted; the oldest go first. */
export const UNROUTED_MESSAGES_MAX = 10_000

/** Lanes of an ordered group: one for each upper digit of a bucket. Part of the protocol between versions. */
export const LANES = 8
/**
 * Live messages of a lane that its owner has unacked. Part of the protocol between versions: messages that come back
 * keep their order only where the next owner's prefetch takes all of them at once, so it may only ever grow.
 */
export const LANE_PREFETCH = 128
