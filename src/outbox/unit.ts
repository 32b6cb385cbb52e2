import type { MessageMaker, MessageMakerOptions, ScheduleOptions } from '../bus/port.ts'
import type { AnyCommand, Contract, DataInput, EventContract } from '../contract/contract.ts'
import { TrunklineError, isTrunklineError } from '../core/errors.ts'
import type { Clock } from '../core/clock.ts'
import type { Random } from '../core/random.ts'
import type { Decider } from '../store/decider.ts'
import { type Executed, type Loaded, type StreamAccess, execute, load } from '../store/execution.ts'
import { type Fact, newEvents } from '../store/fact.ts'
import type { Appended, ExpectedRevision, LogPage, NewEvent, ReadQuery, Selection, Snapshot, StoredEvent } from '../store/port.ts'
import { categoryOf, checkedExpectation, checkedStream } from '../store/streams.ts'
import type { NewOutboxRow, UnitTransaction } from './port.ts'
import { timerOf } from './schedule-options.ts'
import type { Sharder } from './shards.ts'

/** What the units of one store share. */
export interface UnitParts {
  readonly store: string
  readonly clock: Clock
  readonly random: Random
  readonly messages: MessageMaker
  readonly sharder: Sharder
  /** @throws `bus.overloaded` while too many messages wait. */
  readonly checkBacklog: () => void
  readonly loadSnapshot: (stream: string, shape: string) => Promise<Snapshot | undefined>
  /** Projections that are part of every append. */
  readonly inline: readonly InlineProjection[]
}

/** A projection whose types nobody needs to know any more. */
export interface InlineProjection {
  readonly version: number
  readonly codec: { read(event: StoredEvent): unknown }
  readonly options: { readonly from?: Selection; readonly apply: (event: never, unit: never) => unknown }
}

/** Messages of one unit of work; more are a mistake, or a batch job that wants several units. */
const MESSAGES_MAX = 10_000

/**
 * One transaction with everything in it: business rows on `tx`, events, and messages that leave with the commit and not otherwise.
 *
 * Its methods may be taken off it. They are refused with `outbox.unit_over` once its function has ended.
 */
export class Unit<Tx> {
  /** The handle that business rows are written on, within the transaction. */
  readonly tx: Tx
  readonly #transaction: UnitTransaction<Tx>
  readonly #parts: UnitParts
  readonly #rows: NewOutboxRow[] = []
  #isOver = false
  #dueInMs: number | undefined

  constructor(transaction: UnitTransaction<Tx>, parts: UnitParts) {
    this.tx = transaction.handle
    this.#transaction = transaction
    this.#parts = parts
  }

  /**
   * Publishes an event with the commit, after all that was published before in this unit. Checked now.
   *
   * @throws `contract.*`, `outbox.unit_over`, `bus.overloaded` beyond `outboxWaitingMax` of the store.
   */
  readonly publish = <C extends EventContract>(contract: C, data: DataInput<C>, options?: MessageMakerOptions): void => {
    this.#out('publish', contract, data, options)
  }

  /** Sends a command with the commit. @throws as `publish` does. */
  readonly send = <C extends AnyCommand>(contract: C, data: DataInput<C>, options?: MessageMakerOptions): void => {
    this.#out('send', contract, data, options)
  }

  /**
   * Schedules an event or command; the commit makes it so. Resolves with the id to cancel it by.
   *
   * @throws `contract.*`, `outbox.timer_invalid`, `outbox.unit_over`.
   */
  readonly schedule = async <C extends EventContract | AnyCommand>(contract: C, data: DataInput<C>, options: ScheduleOptions): Promise<string> => {
    this.#mustRun('schedule')
    const { clock, random } = this.#parts
    const nowMs = clock.nowMs()
    const id = options.id ?? random.id(nowMs)
    const { id: _id, at: _at, afterMs: _afterMs, cron: _cron, timeZone: _timeZone, ...message } = options
    const timer = timerOf(id, this.#parts.messages.make(contract, data, message), options, nowMs)
    const inMs = 'atMs' in timer.due ? timer.due.atMs - nowMs : timer.due.afterMs
    this.#dueInMs = Math.min(this.#dueInMs ?? inMs, inMs)
    await this.#transaction.putTimer(timer)
    return id
  }

  /** Cancels what was scheduled. False where it has fired, or never was. @throws `outbox.unit_over`. */
  readonly cancel = (id: string): Promise<boolean> => {
    this.#mustRun('cancel')
    return this.#transaction.cancelTimer(id)
  }

  /**
   * Appends events to a stream; those of public contracts go to the bus with the commit.
   *
   * @param expected the revision of the stream's last event, or `noStream`, or `any` to give up the check.
   * @throws `store.wrong_revision`, `contract.*`, `outbox.unit_over`.
   */
  readonly append = async (stream: string, expected: ExpectedRevision, facts: readonly Fact[]): Promise<Appended> => {
    this.#mustRun('append')
    const events = newEvents(this.#parts.messages, facts)
    const appended = await this.#transaction.append(checkedStream(stream), checkedExpectation(expected), events)
    if (appended.isRepeated) return appended
    for (const { isPublic, message } of events) if (isPublic) this.#add({ kind: 'event', message })
    for (const one of this.#parts.inline) await this.#project(one, stream, appended.revision, events)
    return appended
  }

  /**
   * Loads a decider's stream within the transaction, decides, and appends. Where somebody else appended meanwhile, the whole unit runs again.
   *
   * @throws what `decide` throws, `store.conflict`, `contract.*`, `outbox.unit_over`.
   */
  readonly execute = async <C extends EventContract, Command, State>(decider: Decider<C, Command, State>, id: string, command: Command): Promise<Executed<C, Command, State>> => {
    this.#mustRun('execute')
    try {
      return await execute(this.#access, decider, id, command)
    } catch (error) {
      if (!isTrunklineError(error, 'store.wrong_revision')) throw error
      throw new TrunklineError('store.conflict', { store: this.#parts.store, problem: `the stream ${error.details.stream} went on meanwhile` }, { cause: error })
    }
  }

  /** The state of a decider's stream as this transaction sees it. @throws `store.event_unreadable`, `outbox.unit_over`. */
  readonly load = <C extends EventContract, Command, State>(decider: Decider<C, Command, State>, id: string): Promise<Loaded<State>> => {
    this.#mustRun('load')
    return load(this.#access, decider, id)
  }

  get #access(): StreamAccess {
    return {
      read: this.readStream,
      append: this.append,
      loadSnapshot: this.#parts.loadSnapshot,
      saveSnapshot: this.saveSnapshot,
    }
  }

  /** Reads raw events of a stream as this transaction sees them. The typed way is `events.load`. @throws `outbox.unit_over`. */
  readonly readStream = (stream: string, query: Omit<ReadQuery, 'selection'>): Promise<LogPage> => {
    this.#mustRun('readStream')
    return this.#transaction.readStream(checkedStream(stream), query)
  }

  /** Keeps a snapshot of a stream. @throws `outbox.unit_over`. */
  readonly saveSnapshot = (snapshot: Snapshot): Promise<void> => {
    this.#mustRun('saveSnapshot')
    return this.#transaction.saveSnapshot(snapshot)
  }

  /** Moves a checkpoint on. @throws `store.lease_lost`, `outbox.unit_over`. */
  readonly saveCheckpoint = (name: string, cursor: bigint, epoch: bigint | undefined): Promise<void> => {
    this.#mustRun('saveCheckpoint')
    return this.#transaction.saveCheckpoint(name, cursor, epoch)
  }

  async #project(inline: InlineProjection, stream: string, lastRevision: bigint, events: readonly NewEvent[]): Promise<void> {
    const { codec, version, options } = inline
    if (!isSelected(options.from, stream)) return
    for (const [index, { message }] of events.entries()) {
      const revision = lastRevision - BigInt(events.length - 1 - index)
      const event = codec.read({ stream, revision, position: 0n, storedAtMs: 0, message })
      // The codec reads what `apply` was typed with, and the unit is that of the projection's store.
      if (event !== undefined) await options.apply(event as never, Object.assign({ version }, this) as never)
    }
  }

  #out(operation: string, contract: Contract, data: unknown, options: MessageMakerOptions | undefined): void {
    this.#mustRun(operation)
    this.#add(this.#parts.messages.make(contract, data, options))
  }

  #add(outbound: Pick<NewOutboxRow, 'kind' | 'message'>): void {
    this.#parts.checkBacklog()
    if (this.#rows.length >= MESSAGES_MAX) throw new TrunklineError('bus.overloaded', { what: 'messages of one unit of work', limit: MESSAGES_MAX })
    this.#rows.push(this.#parts.sharder.place(outbound))
  }

  #mustRun(operation: string): void {
    if (this.#isOver) throw new TrunklineError('outbox.unit_over', { operation })
  }

  /** Milliseconds until the earliest of what it scheduled is due, about. */
  get dueInMs(): number | undefined {
    return this.#dueInMs
  }

  /** Ends it and gives what is to be written to the outbox. */
  end(): readonly NewOutboxRow[] {
    this.#isOver = true
    return this.#rows
  }
}

function isSelected(selection: Selection | undefined, stream: string): boolean {
  if (selection === undefined || selection.kind === 'all') return true
  return selection.kind === 'stream' ? selection.stream === stream : selection.category === categoryOf(stream)
}
