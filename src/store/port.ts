import type { WireMessage } from '../core/envelope.ts'

// What the rooms above need from a database: types only. Adapters implement them; everything that is the same on
// every database (validation, upcasting, retries, subscriptions, projections, deciders) lives in `store/` and `outbox/`.

/**
 * Where a stream is expected to be when events are appended. A number is the revision of its last event.
 * `any` gives up the check, and with it the idempotency of a repeated append: it is refused where the library retries (E-05).
 */
export type ExpectedRevision = bigint | 'noStream' | 'any'

/** An event to be appended. */
export interface NewEvent {
  /** Its id makes a repeated append recognisable. The key is what it is published with. */
  readonly message: WireMessage
  /** True where it leaves its stream for the bus in the transaction that appends it. */
  readonly isPublic: boolean
}

/** An event as it was stored. */
export interface StoredEvent {
  readonly stream: string
  /** Its number in the stream, from 0. Gaps are legal where old events were removed. */
  readonly revision: bigint
  /** Its place in the whole log: grows in commit order, with gaps. */
  readonly position: bigint
  /** The database's wall clock when it was stored, in milliseconds. */
  readonly storedAtMs: number
  readonly message: WireMessage
}

/** What an append answers. */
export interface Appended {
  /** Revision of the last event appended. */
  readonly revision: bigint
  /** Position of the last event appended; undefined where it is known only after the commit. */
  readonly position: bigint | undefined
  /** True where exactly these events were there already: an earlier try had been committed. */
  readonly isRepeated: boolean
}

/**
 * Which events. Cursors of `stream` are revisions, those of `category` and `all` are positions.
 * The category of a stream is its name up to the first dash.
 */
export type Selection =
  | { readonly kind: 'stream'; readonly stream: string }
  | { readonly kind: 'category'; readonly category: string }
  | { readonly kind: 'all' }

/** A bounded read. */
export interface ReadQuery {
  readonly selection: Selection
  readonly direction: 'forwards' | 'backwards'
  /** Exclusive: the cursor of the last event that is not wanted. Undefined: from the first, backwards from the last. */
  readonly after: bigint | undefined
  /** Events at most, from 1. Fewer may come although more exist, where they are large; `isEnd` tells. */
  readonly limit: number
}

/** A part of the log. */
export interface LogPage {
  readonly events: readonly StoredEvent[]
  /** Everything selected up to and including here has been given; undefined where nothing was read yet. */
  readonly cursor: bigint | undefined
  /** True where nothing more was there when it was read. */
  readonly isEnd: boolean
}

/** Settings of one stream. */
export interface StreamMetadata {
  /** Events before this revision are gone for readers and may be removed. */
  readonly truncateBefore?: bigint
  /** Events beyond this number are gone for readers, oldest first. */
  readonly countMax?: number
  /** Events older than this are gone for readers. */
  readonly ageMaxMs?: number
  /** The user's own, JSON. */
  readonly custom?: Readonly<Record<string, unknown>>
}

/** What an event log of a database can do. */
export interface LogCapabilities {
  /** Business rows, events and messages commit together; false where a transaction is one append to one stream. */
  readonly canCommitRows: boolean
  /** Events of several streams commit together. */
  readonly canCommitStreams: boolean
  /** What was accepted survives the death of every process that uses the store. */
  readonly survivesProcessDeath: boolean
}

/**
 * The event log of a database.
 *
 * Every reader sees every event exactly once and in commit order: an event never appears behind a cursor
 * that was given out before (P-01). Errors are `TrunklineError`s with the client's error as `cause`.
 */
export interface EventLog {
  readonly capabilities: LogCapabilities
  /**
   * Appends in a transaction of its own. All or nothing. Repeating the same events with the same expectation,
   * `any` excepted, answers what the first one answered (`isRepeated`), however many came after.
   *
   * @throws `store.wrong_revision`, `store.down` where the outcome is unknown (repeat it), `store.refused`.
   */
  append(stream: string, expected: ExpectedRevision, events: readonly NewEvent[]): Promise<Appended>
  /** Reads a page. A stream that does not exist is empty. Within a category or the whole log, only what is safe to pass is given. */
  read(query: ReadQuery): Promise<LogPage>
  /**
   * Follows the log: pages that hold something, and one with `isEnd` each time the reader has caught up. It never ends
   * by itself; a lost link is thrown as `store.down`, and the caller goes on from the last cursor (E-06, N-01).
   * It asks for the next page only when the one before was consumed: that is the backpressure.
   */
  follow(selection: Selection, after: bigint | undefined, options: FollowOptions): AsyncIterable<LogPage>
  /** The last position that is safe to pass; undefined in an empty log. */
  head(): Promise<bigint | undefined>
  metadata(stream: string): Promise<StreamMetadata>
  /** Replaces the settings. Events that they end are removed when the database gets to it; readers do not see them from now on. */
  setMetadata(stream: string, metadata: StreamMetadata): Promise<void>
}

/** How a follower reads. */
export interface FollowOptions {
  readonly pageMax: number
  readonly signal: AbortSignal
}

/** What commits together. Valid until the function that got it has ended. */
export interface StoreTransaction {
  /** As `EventLog.append`, within the transaction. Public events go to the bus with the commit. */
  append(stream: string, expected: ExpectedRevision, events: readonly NewEvent[]): Promise<Appended>
  /** Reads a stream as this transaction sees it. */
  readStream(stream: string, query: Omit<ReadQuery, 'selection'>): Promise<LogPage>
  /**
   * Moves a checkpoint on. `epoch` is that of the lease under which the work was done.
   *
   * @throws `store.lease_lost` where a later holder has taken over: nothing of this transaction may be committed.
   */
  saveCheckpoint(name: string, cursor: bigint, epoch: bigint | undefined): Promise<void>
  /** Keeps the newest snapshot of a stream. */
  saveSnapshot(snapshot: Snapshot): Promise<void>
  /** Puts an alarm, replacing the one with the same id. */
  putTimer(timer: NewTimer): Promise<void>
  /** False where there is none (any more). */
  cancelTimer(id: string): Promise<boolean>
}

/** The folded state of a stream up to a revision. */
export interface Snapshot {
  readonly stream: string
  /** Name and version of what folded it; another one ignores it. */
  readonly shape: string
  readonly revision: bigint
  /** JSON. */
  readonly state: Uint8Array
}

/** Where a reader of the log is. */
export interface CheckpointTable {
  load(name: string): Promise<bigint | undefined>
  loadSnapshot(stream: string, shape: string): Promise<Snapshot | undefined>
  /** Forgets it: the reader begins anew. */
  remove(name: string): Promise<void>
}

/** The right to be the only one who does something, until the database's clock passes its end. */
export interface Lease {
  readonly name: string
  /** Rises with each new holder; what a late holder writes is refused by it (P-15). */
  readonly epoch: bigint
}

/** Leases by the database's own clock; clients' clocks decide nothing. */
export interface LeaseTable {
  /**
   * Takes or keeps the leases that are free, expired or the owner's own, at most `most` in all, and gives back those that
   * the owner holds now. One statement, so that an idle worker costs one transaction a renewal.
   */
  hold(names: readonly string[], owner: string, ttlMs: number, most: number): Promise<readonly Lease[]>
  /** Lets others take them at once. */
  release(names: readonly string[], owner: string): Promise<void>
}

/** An alarm. */
export interface NewTimer {
  /** At most 255 characters; unique in the store. */
  readonly id: string
  /** By the database's clock: never fires before, perhaps later. */
  readonly due: { readonly atMs: number } | { readonly afterMs: number }
  readonly kind: 'event' | 'command'
  /** Written to the outbox when it fires. A recurring one gets an id of its own each time. */
  readonly message: WireMessage
  /** Cron expression and time zone of a recurring one. */
  readonly recurrence: Recurrence | undefined
}

/** When a recurring timer fires again. */
export interface Recurrence {
  /** Five or six fields. */
  readonly cron: string
  /** IANA name. */
  readonly timeZone: string
}

/** An alarm as it is stored. */
export interface StoredTimer {
  readonly id: string
  readonly dueAtMs: number
  readonly kind: 'event' | 'command'
  readonly message: WireMessage
  readonly recurrence: Recurrence | undefined
}
