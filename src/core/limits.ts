/**
 * Every bound of the library in one place, with its unit in its name.
 * Relations that must hold between bounds are asserted by `test/core/limits.test.ts`.
 */

/** Largest message body. NATS accepts 1 MiB by default; headers and dead-letter records need room. */
export const BODY_BYTES_MAX = 262_144
/** Deepest nesting of a body. Deeper JSON can be parsed but no longer written (stack overflow). */
export const BODY_DEPTH_MAX = 64
/** Most headers a user may set on one message. */
export const HEADER_COUNT_MAX = 64
/** Names and values of all user headers of one message together. */
export const HEADER_BYTES_MAX = 8_192
/** Longest type name, so that every broker's subject, routing key and queue name has room. */
export const TYPE_LENGTH_MAX = 100
/** Longest service, group or namespace name. */
export const NAME_LENGTH_MAX = 60
/** Longest ordering key in UTF-8 bytes. */
export const KEY_BYTES_MAX = 255
/** Longest id of a message. */
export const ID_LENGTH_MAX = 255
/** A message that has caused this many others in a row is a loop. */
export const HOPS_MAX = 32
/** Buckets that keys are hashed into where a broker has to keep order. Part of the wire format. */
export const KEY_BUCKETS = 64

/** Attempts at one delivery before it becomes a dead letter. */
export const ATTEMPTS_MAX = 5
/** Attempts that follow the first one at once, before the delayed ones. */
export const IMMEDIATE_RETRIES = 0
/** First delay between attempts (upper bound of the jitter). */
export const RETRY_INITIAL_MS = 500
/** Growth of the delay from one attempt to the next. */
export const RETRY_FACTOR = 2
/** Longest delay between attempts. */
export const RETRY_DELAY_MAX_MS = 300_000
/** Longest delay that a policy may ask for. */
export const RETRY_DELAY_LIMIT_MS = 86_400_000
/** Shortest delay of a backoff, so that nothing hot-loops. */
export const BACKOFF_DELAY_MIN_MS = 100

/** Deliveries of one subscription handled at the same time. */
export const IN_FLIGHT_MAX = 16
/** Most deliveries of one subscription that a user may handle at the same time. */
export const IN_FLIGHT_LIMIT = 10_000
/** Largest batch given to a batch handler. */
export const BATCH_MAX = 100
/** Longest wait for a batch to fill. */
export const BATCH_WAIT_MS = 20
/** Time a handler has for one attempt. */
export const HANDLER_TIMEOUT_MS = 30_000
/** Time a publish has to be stored, reconnects included. */
export const PUBLISH_TIMEOUT_MS = 30_000
/** Time an ask has to be answered. */
export const ASK_TIMEOUT_MS = 5_000
/** Publishes of one bus that wait for storage at the same time; further ones are refused. */
export const PUBLISH_PENDING_MAX = 100_000
/** Asks of one bus that wait for an answer at the same time; further ones are refused. */
export const ASK_PENDING_MAX = 100_000
/** Time that stopping may take before unfinished deliveries are left to others. */
export const DRAIN_TIMEOUT_MS = 10_000
/** Longest first wait between two tries to reach a broker. */
export const RECONNECT_INITIAL_MS = 100
/** Longest wait between two tries to reach a broker. With a longer one, a restart that takes seconds is waited for twice. */
export const RECONNECT_DELAY_MAX_MS = 5_000
/** A link that shows no sign of life for this long is given up. */
export const LINK_SILENCE_MAX_MS = 30_000
/** Text of an error kept in a dead letter. */
export const ERROR_TEXT_MAX = 2_048
/** Errors kept of a chain of causes. */
export const ERROR_CHAIN_MAX = 8
/** Dead letters on one page of a listing. */
export const DEAD_LETTER_PAGE_MAX = 500
/** Messages that one ordered lane holds back before it stops taking new ones. */
export const LANE_HELD_MAX = 10_000
/** Handled messages that an ordered lane remembers, so that a late redelivery is not handled after its successors. */
export const LANE_SETTLED_MAX = 1_024
/** Time that a lane's window may be mostly blocked by busy keys before their messages move to the hold list. */
export const LANE_STALL_MS = 100
