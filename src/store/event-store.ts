import type { EventContract } from '../contract/contract.ts'
import { backoffMs } from '../core/backoff.ts'
import { sleep } from '../core/clock.ts'
import { TrunklineError, isTrunklineError } from '../core/errors.ts'
import type { Decider } from './decider.ts'
import { type Executed, type Loaded, type StreamAccess, execute, load } from './execution.ts'
import type { EventStoreParts } from './event-store-parts.ts'
import { EventSubscription } from './event-subscription.ts'
import { type Fact, newEvents } from './fact.ts'
import type { Appended, ExpectedRevision, ReadQuery, Selection, Snapshot, StreamMetadata } from './port.ts'
import { EventCodec, type RecordedOf } from './recorded.ts'
import { checkedExpectation, checkedStream } from './streams.ts'
import { type EventSubscriptionOptions, type StoredEventHandler, subscriptionSettings } from './subscription-options.ts'

/** Which events to read, and how. */
export interface ReadOptions {
  /** Default `forwards`. */
  readonly direction?: 'forwards' | 'backwards'
  /** The revision (of a stream) or position (of everything else) of the last event that is not wanted. */
  readonly after?: bigint
  /** Events at most. Default: all. */
  readonly limit?: number
}

/** A part of what is followed. */
export interface FollowedPage<C extends EventContract> {
  /** Those of the contracts; others were passed over. */
  readonly events: readonly RecordedOf<C>[]
  /** What could not be decoded, lifted or validated: `store.event_unreadable`, with stream and revision. */
  readonly unreadable: readonly TrunklineError[]
  /** Where to go on from. */
  readonly cursor: bigint | undefined
  /** True where nothing more was there when it was read. */
  readonly isEnd: boolean
}

/** All events of the log. */
export function all(): Selection {
  return { kind: 'all' }
}

/** The events of all streams of a category: `account` for `account-1`, `account-2`, … */
export function category(name: string): Selection {
  return { kind: 'category', category: name }
}

/** The events of one stream. @throws `core.option_invalid`. */
export function stream(name: string): Selection {
  return { kind: 'stream', stream: checkedStream(name) }
}

const PAGE_MAX = 500
const CONFLICTS_MAX = 10
const CONFLICT_BACKOFF = { initialMs: 2, factor: 2, maxMs: 100 } as const

/** Streams of events in one database. */
export class EventStore<Unit extends object = object> {
  readonly #parts: (operation: string) => EventStoreParts
  readonly #subscriptions: EventSubscription[] = []
  #running: EventStoreParts | undefined

  constructor(parts: (operation: string) => EventStoreParts) {
    this.#parts = parts
  }

  /**
   * Appends events to a stream, all or none; those of public contracts go to the bus with the commit.
   *
   * Give the facts ids of your own, or keep the facts, to repeat an append whose outcome is unknown: the same events with the same
   * expectation are there once.
   *
   * @param expected the revision of the stream's last event, or `noStream`, or `any` to give up the check.
   * @throws `store.wrong_revision`, `contract.*`, `store.down`, `store.refused`, `outbox.not_attached`, `outbox.unit_nested` inside a unit of
   *   work, which has an `append` of its own.
   */
  async append(name: string, expected: ExpectedRevision, facts: readonly Fact[]): Promise<Appended> {
    const { messages, append } = this.#parts('append')
    const events = newEvents(messages, facts)
    return await append(checkedStream(name), checkedExpectation(expected), facts, events.some(({ isPublic }) => isPublic), events)
  }

  /**
   * The events of the given contracts, page by page as they are consumed; those of other contracts are passed over.
   *
   * @throws `store.event_unreadable`, `store.down`, `outbox.not_attached`.
   */
  async *read<const C extends EventContract>(selection: Selection | string, contracts: readonly C[], options: ReadOptions = {}): AsyncGenerator<RecordedOf<C>, void, undefined> {
    const { log } = this.#parts('read')
    const codec = new EventCodec(contracts)
    const from = typeof selection === 'string' ? stream(selection) : selection
    const direction = options.direction ?? 'forwards'
    let left = checkedLimit(options.limit)
    let after = options.after
    // Who wants the last event alone does not fetch five hundred; where others stand between, the next page is a whole one.
    for (let limit = Math.min(PAGE_MAX, left); ; limit = PAGE_MAX) {
      const query: ReadQuery = { selection: from, direction, after, limit }
      const page = await log.read(query)
      for (const event of page.events) {
        const recorded = codec.read(event)
        if (recorded === undefined) continue
        if (left-- <= 0) return
        yield recorded
      }
      if (page.isEnd || page.cursor === undefined || left <= 0) return
      after = page.cursor
    }
  }

  /**
   * Follows the events of the given contracts: those that are there, then those that come, until the signal aborts. Nothing remembers how far it got, and
   * nothing is handled: it is for watching. Use `subscribe` for work.
   *
   * @throws `store.event_unreadable`, `outbox.not_attached`, `store.down` where the link was lost: go on from the last position.
   */
  async *follow<const C extends EventContract>(selection: Selection | string, contracts: readonly C[], options: { readonly after?: bigint; readonly signal: AbortSignal }): AsyncGenerator<RecordedOf<C>, void, undefined> {
    const { log } = this.#parts('follow')
    const codec = new EventCodec(contracts)
    const from = typeof selection === 'string' ? stream(selection) : selection
    for await (const page of log.follow(from, options.after, { pageMax: PAGE_MAX, signal: options.signal })) {
      for (const event of page.events) {
        if (options.signal.aborted) return
        const recorded = codec.read(event)
        if (recorded !== undefined) yield recorded
      }
    }
  }

  /**
   * Follows stored events from a checkpoint on, for projections and reactions: each is handled in the transaction that moves the checkpoint, in
   * order, by one process at a time. It begins when the store is open, and stops with it.
   *
   * @throws `core.option_invalid`, also for a name that is subscribed already.
   */
  subscribe<const C extends EventContract>(options: EventSubscriptionOptions<C>, handler: StoredEventHandler<C, Unit>): EventSubscription {
    const settings = subscriptionSettings(options)
    if (this.#subscriptions.some(({ name }) => name === settings.name)) {
      throw new TrunklineError('core.option_invalid', { option: 'name of a subscription', expected: 'one that this store has not subscribed yet', actual: settings.name })
    }
    // The codec reads events of the contracts that the handler is typed with, and the unit is that of the database.
    const subscription = new EventSubscription(settings, new EventCodec<EventContract>(options.contracts), handler as never)
    this.#subscriptions.push(subscription)
    if (this.#running !== undefined) subscription.start(this.#running)
    return subscription
  }

  /** What is subscribed. */
  get subscriptions(): readonly EventSubscription[] {
    return this.#subscriptions
  }

  /** Starts what is subscribed; the store calls it. */
  start(): void {
    this.#running = this.#parts('start')
    for (const subscription of this.#subscriptions) subscription.start(this.#running)
  }

  /** Stops what is subscribed; the store calls it. */
  async stop(): Promise<void> {
    this.#running = undefined
    await Promise.all(this.#subscriptions.map((subscription) => subscription.stop()))
  }

  /**
   * Follows events from a cursor on, page by page: what is there, and then what comes, for whoever keeps the cursor itself and passes over what cannot
   * be read. It ends when `signal` aborts, and throws where the link is lost; go on from the last cursor then. It reads no further than it is consumed.
   *
   * @param options.after the revision (of a stream) or position (of everything else) of the last event that is not wanted. Default: from the first.
   * @throws `store.down`, `outbox.not_attached`.
   */
  async *followPages<const C extends EventContract>(
    selection: Selection | string, contracts: readonly C[], options: { readonly after?: bigint | undefined; readonly signal: AbortSignal; readonly pageMax?: number },
  ): AsyncGenerator<FollowedPage<C>, void, undefined> {
    const { log } = this.#parts('followPages')
    const codec = new EventCodec(contracts)
    const { after, signal, pageMax = PAGE_MAX } = options
    const from = typeof selection === 'string' ? stream(selection) : selection
    for await (const { events, cursor, isEnd } of log.follow(from, after, { pageMax, signal })) {
      const unreadable: TrunklineError[] = []
      const recorded = events.flatMap((event) => {
        try {
          return codec.read(event) ?? []
        } catch (error) {
          if (!isTrunklineError(error, 'store.event_unreadable')) throw error
          unreadable.push(error)
          return []
        }
      })
      yield { events: recorded, unreadable, cursor, isEnd }
    }
  }

  /** The last position that is safe to pass; undefined in an empty log. */
  head(): Promise<bigint | undefined> {
    return this.#parts('head').log.head()
  }

  /** Settings of a stream. */
  metadata(name: string): Promise<StreamMetadata> {
    return this.#parts('metadata').log.metadata(checkedStream(name))
  }

  /**
   * Replaces the settings of a stream. Events that they end are gone for readers from now on.
   *
   * @throws `core.option_invalid`, `store.*`, `outbox.not_attached`, `outbox.unit_nested` inside a unit of work.
   */
  async setMetadata(name: string, metadata: StreamMetadata): Promise<void> {
    await this.#parts('setMetadata').setMetadata(checkedStream(name), metadata)
  }

  /** The state of a decider's stream, and its last revision. @throws `store.event_unreadable`, `store.down`, `outbox.not_attached`. */
  load<C extends EventContract, Command, State>(decider: Decider<C, Command, State>, id: string): Promise<Loaded<State>> {
    return load(this.#access('load'), decider, id)
  }

  /**
   * Loads a decider's stream, decides, and appends; decides anew where somebody else appended meanwhile, ten times at most.
   *
   * @throws what `decide` throws, `store.wrong_revision` where the stream never stood still, `store.*`, `contract.*`, `outbox.not_attached`.
   */
  async execute<C extends EventContract, Command, State>(decider: Decider<C, Command, State>, id: string, command: Command): Promise<Executed<C, Command, State>> {
    const { clock, random } = this.#parts('execute')
    const access = this.#access('execute')
    for (let attempt = 1; ; attempt++) {
      try {
        return await execute(access, decider, id, command)
      } catch (error) {
        if (!isTrunklineError(error, 'store.wrong_revision') || attempt >= CONFLICTS_MAX) throw error
        await sleep(clock, backoffMs(CONFLICT_BACKOFF, attempt, random))
      }
    }
  }

  #access(operation: string): StreamAccess {
    const { log, checkpoints, transact, logger } = this.#parts(operation)
    return {
      read: (name, query) => log.read({ ...query, selection: { kind: 'stream', stream: name } }),
      append: (name, expected, facts) => this.append(name, expected, facts),
      loadSnapshot: (name, shape) => checkpoints.loadSnapshot(name, shape),
      // The command has been executed: a snapshot that cannot be kept only makes the next load longer.
      saveSnapshot: (snapshot: Snapshot) => transact((tx) => tx.saveSnapshot(snapshot)).catch((error: unknown) => {
        logger.warn({ err: error, stream: snapshot.stream }, 'a snapshot could not be kept')
      }),
    }
  }
}

function checkedLimit(limit: number | undefined): number {
  if (limit === undefined) return Number.POSITIVE_INFINITY
  if (Number.isSafeInteger(limit) && limit >= 1) return limit
  throw new TrunklineError('core.option_invalid', { option: 'limit', expected: 'a whole number from 1', actual: String(limit) })
}
