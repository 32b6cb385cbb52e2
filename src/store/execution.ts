import type { EventContract } from '../contract/contract.ts'
import { TrunklineError, errorText } from '../core/errors.ts'
import type { Decider } from './decider.ts'
import type { Fact } from './fact.ts'
import type { Appended, ExpectedRevision, LogPage, ReadQuery, Snapshot } from './port.ts'

/** Where a decider reads and writes: the whole store, or one transaction of it. */
export interface StreamAccess {
  read(stream: string, query: Omit<ReadQuery, 'selection'>): Promise<LogPage>
  append(stream: string, expected: ExpectedRevision, facts: readonly Fact[]): Promise<Appended>
  loadSnapshot(stream: string, shape: string): Promise<Snapshot | undefined>
  saveSnapshot(snapshot: Snapshot): Promise<void>
}

/** A stream folded into its state. */
export interface Loaded<State> {
  readonly state: State
  /** Revision of its last event; undefined for a stream that does not exist. */
  readonly revision: bigint | undefined
  /** Events read since the snapshot. */
  readonly count: number
}

/** What became of a command. */
export class Executed<C extends EventContract, Command, State> {
  readonly facts: readonly Fact<C>[]
  /** Revision of the stream's last event after it; undefined where there is still none. */
  readonly revision: bigint | undefined
  readonly #decider: Decider<C, Command, State>
  readonly #before: State

  constructor(facts: readonly Fact<C>[], revision: bigint | undefined, decider: Decider<C, Command, State>, before: State) {
    this.facts = facts
    this.revision = revision
    this.#decider = decider
    this.#before = before
  }

  /** The state after it, folded when it is asked for. */
  get state(): State {
    return this.#decider.evolveAll(this.#before, this.facts)
  }
}

const PAGE_MAX = 500

/**
 * Folds a stream.
 *
 * @throws `store.event_unreadable` also for an event that the decider does not know, `store.down`.
 */
export async function load<C extends EventContract, Command, State>(access: StreamAccess, decider: Decider<C, Command, State>, id: string): Promise<Loaded<State>> {
  const stream = decider.stream(id)
  const snapshot = decider.shape === undefined ? undefined : await access.loadSnapshot(stream, decider.shape)
  let state = snapshot === undefined ? decider.initialState() : stateOf<State>(snapshot)
  let revision = snapshot?.revision
  let count = 0
  for (;;) {
    const page = await access.read(stream, { direction: 'forwards', after: revision, limit: PAGE_MAX })
    for (const event of page.events) {
      const recorded = decider.codec.read(event)
      if (recorded === undefined) {
        const problem = `${event.message.type} is none of the events of the decider ${decider.category}`
        throw new TrunklineError('store.event_unreadable', { stream, revision: `${event.revision}`, problem })
      }
      state = decider.evolve(state, recorded)
      revision = event.revision
      count++
    }
    if (page.isEnd || page.events.length === 0) return { state, revision, count }
  }
}

function stateOf<State>(snapshot: Snapshot): State {
  try {
    // It was written by the decider whose name and version it bears.
    return JSON.parse(Buffer.from(snapshot.state).toString()) as State
  } catch (cause) {
    throw new TrunklineError('store.event_unreadable', { stream: snapshot.stream, revision: `${snapshot.revision}`, problem: `its snapshot: ${errorText(cause).slice(0, 200)}` }, { cause })
  }
}

/**
 * Loads, decides and appends once.
 *
 * @throws `store.wrong_revision` where somebody else appended meanwhile; what `decide` throws; what `load` throws.
 */
export async function execute<C extends EventContract, Command, State>(
  access: StreamAccess, decider: Decider<C, Command, State>, id: string, command: Command,
): Promise<Executed<C, Command, State>> {
  const { state, revision, count } = await load(access, decider, id)
  const facts = decider.decide(command, state)
  if (facts.length === 0) return new Executed(facts, revision, decider, state)
  const stream = decider.stream(id)
  const appended = await access.append(stream, revision ?? 'noStream', facts)
  if (decider.shape !== undefined && revision !== undefined && count >= decider.everyEvents) {
    await access.saveSnapshot({ stream, shape: decider.shape, revision, state: Buffer.from(JSON.stringify(state)) })
  }
  return new Executed(facts, appended.revision, decider, state)
}
