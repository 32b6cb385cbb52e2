import type { ErrorCode } from '../core/errors.ts'
import type { PolicyEvent } from './call-policy.ts'

/** Where a bus is in its life. */
export type BusState = 'idle' | 'starting' | 'running' | 'draining' | 'stopped'

/** How a bus feels, with every reason that makes it less than `up`. */
export interface BusHealth {
  readonly state: 'up' | 'degraded' | 'down'
  readonly reasons: readonly string[]
}

/** Everything a bus tells its observers, told apart by `kind`. */
export type BusEvent =
  | { readonly kind: 'state-changed'; readonly state: BusState }
  | { readonly kind: 'health-changed'; readonly health: BusHealth }
  | { readonly kind: 'delivery-retried'; readonly group: string; readonly type: string; readonly id: string; readonly attempt: number; readonly delayMs: number; readonly code: ErrorCode }
  | { readonly kind: 'delivery-dead-lettered'; readonly group: string; readonly type: string; readonly id: string; readonly attempts: number; readonly code: ErrorCode }
  | { readonly kind: 'subscription-halted'; readonly group: string; readonly code: ErrorCode }
  | { readonly kind: 'handler-late'; readonly group: string; readonly type: string; readonly id: string }
  | { readonly kind: 'reply-late'; readonly token: string }
  | { readonly kind: 'request-expired'; readonly type: string; readonly id: string }
  | { readonly kind: 'broadcast-failed'; readonly type: string; readonly id: string; readonly code: ErrorCode }
  | PolicyEvent

/** Counts since the bus was made. */
export interface BusStats {
  /** Messages given to the transport to store, those that it then could not store included. */
  readonly published: number
  /** Deliveries whose handler succeeded; a message that is handled again counts again. */
  readonly handled: number
  /** Those among them that a store knew as handled before: acknowledged without a call of their handler. */
  readonly repeated: number
  /** Failed attempts that were given back for another one. */
  readonly retried: number
  readonly deadLettered: number
  readonly asked: number
  /** Requests of others that were answered, with errors too. */
  readonly answered: number
  /** Answers that came after the asker had given up; they were dropped. */
  readonly lateReplies: number
  /** Requests that were dropped because their deadline had passed before a handler was free. */
  readonly expiredRequests: number
  /** Broadcasts that were handled here. */
  readonly broadcast: number
  /** Broadcasts whose handler failed or found no room; nothing brings them back. */
  readonly broadcastFailed: number
}

/** The counters behind `BusStats`. */
export class BusCounters {
  published = 0
  handled = 0
  repeated = 0
  retried = 0
  deadLettered = 0
  asked = 0
  answered = 0
  lateReplies = 0
  expiredRequests = 0
  broadcast = 0
  broadcastFailed = 0

  snapshot(): BusStats {
    const { published, handled, repeated, retried, deadLettered, asked, answered, lateReplies, expiredRequests, broadcast, broadcastFailed } = this
    return { published, handled, repeated, retried, deadLettered, asked, answered, lateReplies, expiredRequests, broadcast, broadcastFailed }
  }
}
