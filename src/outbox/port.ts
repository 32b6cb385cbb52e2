import type { DeadLetterRecord, Outbound, Transport } from '../bus/port.ts'
import type { Clock } from '../core/clock.ts'
import type { WireMessage } from '../core/envelope.ts'
import type { Logger } from '../core/logger.ts'
import type { Random } from '../core/random.ts'
import type { CheckpointTable, EventLog, LeaseTable, StoredTimer, StoreTransaction } from '../store/port.ts'

// What a database gives to units of work, outbox, inbox, relay and scheduler: types only.

/** What a database knows of the program that opens it. */
export interface StoreHost {
  readonly clock: Clock
  readonly random: Random
  readonly logger: Logger
  /** The service's name, for the names of connections. */
  readonly service: string
  /** This running process' id; owner of leases. */
  readonly instance: string
  /** True where the bus publishes through this store's own transport: outgoing messages then go straight into its tables. */
  readonly isOwnTransport: boolean
  /** As that of a transport's host. */
  readonly report: (state: 'up' | 'degraded' | 'down', reason: string) => void
}

/**
 * A database behind a store. `Tx` is the handle on which a user writes business rows within the transaction.
 *
 * Opened once at a time; every method but `open` and the getters needs it to be open.
 */
export interface StoreBackend<Tx> {
  /** Short name for people and logs: `postgres`. */
  readonly name: string
  /** The same database as a transport, where it is one. */
  readonly transport: Transport | undefined
  readonly log: EventLog
  readonly checkpoints: CheckpointTable
  readonly leases: LeaseTable
  readonly outbox: OutboxTable
  readonly inbox: InboxTable
  readonly timers: TimerTable
  /** Bodies too large for a message. */
  readonly bodies: BodyTable
  /** Connects and brings the tables to the version that this code knows. @throws `store.down`, `store.refused`. */
  open(host: StoreHost): Promise<void>
  /** Closes what `open` opened and nothing else. */
  close(): Promise<void>
  /**
   * Runs `work` in one transaction and resolves after the commit. When `work` throws, nothing of it is there.
   *
   * It runs `work` once; repeating after `store.conflict` is the caller's.
   *
   * @throws what `work` throws; `store.conflict` for what the database gave up and a repetition may do (deadlock,
   *   serialization); `store.rolled_back` where the commit answered a rollback (P-08); `store.down` where the link
   *   was lost, with the outcome unknown once the commit was under way (P-09).
   */
  transact<T>(work: (tx: UnitTransaction<Tx>) => Promise<T>, options?: TransactOptions): Promise<T>
  /**
   * The same over a handle that the caller opened and will commit: of any library that the adapter knows.
   *
   * @throws `outbox.transaction_missing` for a handle that is not inside a transaction, `core.option_invalid` for one of
   *   a library that it does not know.
   */
  adopt(handle: unknown): Promise<UnitTransaction<unknown>>
  /**
   * Writes messages in such a transaction and commits it, in as few round trips as it can; undefined where the store never can. Where it
   * rejects, the transaction is still to be rolled back.
   *
   * @throws as `adopt` does; `bus.unsupported` for a handle that its library commits itself; `store.rolled_back` where the commit
   *   answered a rollback (P-08).
   */
  readonly commitWith?: ((handle: unknown, rows: readonly NewOutboxRow[]) => Promise<void>) | undefined
  /**
   * The statement with the writing of messages beside it, as one; undefined where the store never can.
   *
   * @throws `bus.unsupported` while the messages go elsewhere than to the outbox.
   */
  readonly statementWith?: ((statement: SqlStatement, rows: readonly NewOutboxRow[]) => SqlStatement) | undefined
  /** Tells `listener` when other processes have committed something to the outbox, an event or a timer, as soon as it hears of it. */
  onCommitted(listener: () => void): () => void
  /** True while commits of other processes are heard of; else readers look more often. */
  readonly hearsOthers: boolean
}

/** One SQL statement with `$1` parameters, as `pg` takes it. */
export interface SqlStatement {
  readonly text: string
  readonly values: unknown[]
  /** A statement with a name is prepared once per connection. Not behind a pooler in transaction mode. */
  readonly name?: string
}

/** How a transaction is run. */
export interface TransactOptions {
  /** Gives it up. A commit under way is not broken off. */
  readonly signal?: AbortSignal | undefined
  /** Longest time that it may take, in milliseconds. */
  readonly timeoutMs?: number
}

/** What a unit of work does in its transaction. */
export interface UnitTransaction<Tx> extends StoreTransaction {
  /** What the user's own statements run on. */
  readonly handle: Tx
  /** Marks a message as handled by a group; the row is written before the handler's effects (I-01). */
  enter(entry: InboxEntry): Promise<InboxVerdict>
  /**
   * The same for many at once, in order.
   */
  enterMany(entries: readonly InboxEntry[]): Promise<readonly InboxVerdict[]>
  /** Keeps the answer of an asked command beside its mark, so that a repetition answers the same. */
  keepAnswer(entry: InboxEntry, answer: Uint8Array): Promise<void>
  /**
   * Writes messages to the outbox, in order. It takes the locks of their keys in a fixed order right before it writes, so that
   * the rows of one key stand in commit order (P-14). Called at most once, as the last statement before the commit.
   */
  write(rows: readonly NewOutboxRow[]): Promise<void>
  /** Takes timers that are due by the database's clock out of their table. They are gone with the commit. */
  takeDue(limit: number): Promise<readonly StoredTimer[]>
}

/** A message on its way out. */
export interface NewOutboxRow extends Outbound {
  /** 0 to `shards - 1`; the same for all messages of one key. */
  readonly shard: number
}

/** A message that waits for the relay. */
export interface OutboxRow extends NewOutboxRow {
  /** Grows in commit order within a key. */
  readonly id: bigint
}

/**
 * The mark of a handled message. There is no form of it that says "everything up to here": a group goes on with other keys while one waits for
 * its retry or an operator, so that no position divides what was handled from what was not. Readers of the log have checkpoints (I-12).
 */
export interface InboxEntry {
  readonly group: string
  readonly source: string
  readonly id: string
  /** SHA-256 of the body: the same id with another body is another message, or an attack (I-06). */
  readonly digest: Uint8Array
}

/** `collision`: known by its id, with another body. */
export type InboxVerdict =
  | { readonly kind: 'new' }
  | { readonly kind: 'seen'; readonly answer: Uint8Array | undefined }
  | { readonly kind: 'collision' }

/** What the relay works on. Only committed rows are visible. */
export interface OutboxTable {
  /** Number of shards that rows are spread over. */
  readonly shards: number
  /** Rows of a shard in order of their ids. */
  read(shard: number, options: OutboxReadOptions): Promise<readonly OutboxRow[]>
  /**
   * Removes what was published and moves what never can be to the dead rows, in one transaction.
   *
   * @throws `store.lease_lost` where a later holder has the shard: then nothing has changed.
   */
  settle(shard: number, epoch: bigint, outcome: OutboxOutcome): Promise<void>
  /** Shards that have rows now. */
  waiting(shards: readonly number[]): Promise<readonly number[]>
  stats(): Promise<OutboxStats>
  /** Messages that were given up, oldest first. */
  dead(limit: number, after: bigint | undefined): Promise<readonly DeadOutboxRow[]>
  /** Puts it back at the end of its shard. False where it does not exist (any more). */
  redrive(id: bigint): Promise<boolean>
  removeDead(id: bigint): Promise<boolean>
}

/** What to read of a shard. */
export interface OutboxReadOptions {
  readonly limit: number
  /** Only rows beyond this id: the earlier ones are on their way already. */
  readonly after: bigint | undefined
  /** No rows of these keys, at most 1,000: they wait for the first one of them, and must not fill the page. */
  readonly withoutKeys: readonly string[]
}

/** What became of rows. */
export interface OutboxOutcome {
  readonly published: readonly bigint[]
  readonly dead: readonly { readonly id: bigint; readonly record: DeadLetterRecord }[]
}

/** How far behind the relay is. */
export interface OutboxStats {
  readonly waiting: number
  /** Age of the oldest waiting row by the database's clock, in milliseconds; 0 where none waits. */
  readonly oldestAgeMs: number
  readonly dead: number
}

/** A message that the relay gave up. */
export interface DeadOutboxRow {
  readonly id: bigint
  readonly kind: 'event' | 'command'
  readonly message: WireMessage
  readonly record: DeadLetterRecord
}

/** Upkeep of the marks. */
export interface InboxTable {
  /** Removes marks older than this by the database's clock, a bounded number at a time; resolves with how many. */
  prune(olderThanMs: number, limit: number): Promise<number>
  /** Number of marks, perhaps estimated. */
  count(): Promise<number>
}

/** Alarms, outside transactions. */
export interface TimerTable {
  /** Milliseconds until the next one is due by the database's clock, 0 where one is due, undefined where there is none. */
  nextInMs(): Promise<number | undefined>
  read(id: string): Promise<StoredTimer | undefined>
  list(limit: number, after: string | undefined): Promise<readonly StoredTimer[]>
}

/** Bodies kept beside messages that carry a reference only. */
export interface BodyTable {
  put(id: string, body: Uint8Array): Promise<void>
  get(id: string): Promise<Uint8Array | undefined>
  /** Removes those older than this, a bounded number at a time; resolves with how many. */
  prune(olderThanMs: number, limit: number): Promise<number>
}
