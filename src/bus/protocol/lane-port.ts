import type { Clock } from '../../core/clock.ts'
import type { WireMessage } from '../../core/envelope.ts'
import type { Random } from '../../core/random.ts'
import type { DeadLetterRecord, DeliverySink } from '../port.ts'

// Order per key on brokers without a database: types only. `lanes.ts` is the engine, each broker's adapter gives
// it a `LaneBacking` per lane that it owns and tells the `Lane` what arrives.

/** A message that came from the lane itself and is not acked yet. */
export interface LiveItem {
  readonly message: WireMessage
  /** Attempts that are known to have begun; 0 where the broker cannot tell. */
  readonly attempt: number
  /** True where it was delivered before to an owner that vanished, so that a handler may have begun with it. */
  readonly isSuspect: boolean
  /**
   * Takes the message out of the lane. The engine calls it at most once, and only when the message was handled or
   * is durably in the hold list. It may resolve as soon as the ack was sent: a lost ack means a redelivery.
   */
  ack(): Promise<void>
}

/** Where an entry of the hold list is stored. */
export interface HoldPlace {
  /**
   * Takes the entry out of the hold list. Called at most once. It resolves when the broker has it, or when the broker is
   * certain to apply it before every later `remove` and `append` of this ownership.
   */
  remove(): Promise<void>
}

/**
 * The message at the front of a held key, with what became of it. The last head of a message counts.
 *
 * `retry`: `attempt` attempts have begun and failed, the next one is due at `dueAtMs`. `begun`: attempt number
 * `attempt` began, and nobody has settled it. `dead`: it was given up and its key waits for an operator.
 */
export interface HeadEntry {
  readonly role: 'head'
  /** Unique among all entries ever. For a `dead` head also the id of its dead letter. */
  readonly id: string
  readonly message: WireMessage
  readonly state: 'retry' | 'begun' | 'dead'
  /** Attempts begun so far. */
  readonly attempt: number
  /** Wall-clock milliseconds; 0 where it is due at once. */
  readonly dueAtMs: number
  readonly isRedriven: boolean
  /** Why it was given up; for `dead` only. */
  readonly record: DeadLetterRecord | undefined
}

/** A message that waits behind earlier ones of its key. */
export interface FollowerEntry {
  readonly role: 'follower'
  readonly id: string
  readonly message: WireMessage
  /** Attempts that were known to have begun when it was stored; as in `LiveItem`. */
  readonly attempt: number
  /** As in `LiveItem`. */
  readonly isSuspect: boolean
}

/** An operator's wish, appended by whatever process the operator used. It carries no message. */
export interface ControlEntry {
  readonly role: 'control'
  readonly id: string
  /** Id of the dead letter that it means: the id given to `storeDeadLetter`. */
  readonly target: string
  readonly control: 'redrive' | 'remove'
}

/** One entry of a lane's hold list. */
export type HoldEntry = HeadEntry | FollowerEntry | ControlEntry

/**
 * What the engine needs from the broker for one lane, as long as this process owns it.
 *
 * A promise that cannot be kept because the link is down stays pending until the adapter calls `Lane.lost`, or rejects.
 * After a rejection the engine acks nothing more of that key and calls `giveUp`.
 */
export interface LaneBacking {
  /**
   * Stores an entry at the end of the lane's hold list and resolves **only when it is durable**.
   *
   * The engine calls it again before earlier calls have resolved. Entries are stored in the order of the calls and
   * without holes: where one is not stored, none of a later call may stay stored, or a crash would let a later message of
   * a key overtake an earlier one. An adapter whose broker can refuse one and take the next sends one at a time.
   *
   * Resolves with the place, or with undefined where the entry comes back through `Lane.onHeld` with its place.
   */
  append(entry: HeadEntry | FollowerEntry): Promise<HoldPlace | undefined>
  /**
   * Stores a dead letter and resolves when it is durable; idempotent by `id`. Called after its `dead` head was stored, so
   * that an operator who sees the dead letter can append a control entry with `target` = `id` at once. Redriving or
   * removing it is: append the control entry durably, then delete the dead letter.
   */
  storeDeadLetter(id: string, message: WireMessage, record: DeadLetterRecord): Promise<void>
  /** Stops live items until `resumeLive`: the hold list is full. Items already on their way may still come. */
  pauseLive(): void
  resumeLive(): void
  /** The lane works less well for the reason given, until it is called with undefined. For the adapter's `host.report`. */
  degraded(reason: string | undefined): void
  /**
   * The engine cannot go on with a key because the broker refused something. The adapter calls `Lane.lost`, gives the lane
   * up and takes it (or lets another instance take it) over again after a backoff; recovery then puts all in order.
   * Called at most once.
   */
  giveUp(problem: unknown): void
}

/**
 * What the adapter tells the engine about a lane that it owns. No method throws.
 *
 * Order of calls at take-over: `onHeld` for every entry stored so far, in append order; `recovered` once; then
 * `onLive` for live items in lane order, those unacked by the previous owner first. The adapter keeps at most
 * `liveMax` live items unacked.
 */
export interface Lane {
  readonly number: number
  /**
   * An entry of the hold list. After `recovered` too: control entries of operators, entries that a previous owner
   * appended late, and (allowed, recognised by their id) the engine's own.
   */
  onHeld(entry: HoldEntry, place: HoldPlace): void
  /** The stored entries are all in. */
  recovered(): void
  /** A message of the lane. A newer delivery of the same message may come while an older one is unacked: both are acked. */
  onLive(item: LiveItem): void
  /**
   * Ownership is gone. Nothing is handed out any more, and settling deliveries that still run touches the broker no
   * more. Idempotent.
   */
  lost(): void
  /**
   * Hands out nothing more and resolves when the deliveries that run are settled and stored, or when `signal` aborts. From
   * then on it is as after `lost`; the adapter then gives the ownership up. What is unacked goes to the next owner.
   */
  close(signal: AbortSignal): Promise<void>
}

/** What all lanes of one group in one process share. */
export interface LanesSettings {
  /** The group's name. */
  readonly group: string
  /** The adapter's name; for errors. */
  readonly adapter: string
  readonly clock: Clock
  readonly random: Random
  /** Deliveries of the whole group that may be with the sink, unsettled, at the same time. */
  readonly inFlightMax: number
  readonly sink: DeliverySink
}

/** One lane to work on. */
export interface LaneSettings {
  /** 0-based number of the lane in its group. */
  readonly number: number
  /** Live items that the adapter leaves unacked at most: its prefetch for this lane. At least 1. */
  readonly liveMax: number
  readonly backing: LaneBacking
}

/** The ordered lanes of one group in one process. */
export interface Lanes {
  /** Starts work on a lane that this process has just come to own. */
  open(settings: LaneSettings): Lane
  /** Hands out nothing until `resume`; deliveries with the sink stay valid. */
  pause(): void
  /** Ends a pause. Released deliveries are handed out again. */
  resume(): void
}
