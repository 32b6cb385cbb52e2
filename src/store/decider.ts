import { type EventContract, defined } from '../contract/contract.ts'
import { TrunklineError } from '../core/errors.ts'
import type { Fact } from './fact.ts'
import { EventCodec, type RecordedEvent, type RecordedOf } from './recorded.ts'
import { checkedStream } from './streams.ts'

/** What a decider gives: nothing, one fact or several. */
export type Decision<C extends EventContract> = Fact<C> | readonly Fact<C>[] | undefined

/** What `decider` takes. */
export interface DeciderOptions<C extends EventContract, Command, State> {
  /** Category of its streams: letters, digits and underscores. A stream is named `category-id`. */
  readonly category: string
  /** Every contract whose events its streams may hold. */
  readonly events: readonly C[]
  /** The state before the first event. */
  readonly initialState: () => State
  /** What happens for a command in a state: a pure function. It refuses by throwing. */
  readonly decide: (command: Command, state: State) => Decision<C>
  /** The state after an event: a pure function. */
  readonly evolve: (state: State, event: RecordedOf<C>) => State
  /** Keeps the state now and then, so that long streams are not read from their beginning. The state must be JSON. */
  readonly snapshot?: SnapshotOptions
}

/** When and as what a state is kept. */
export interface SnapshotOptions {
  /** Events between two snapshots. */
  readonly everyEvents: number
  /** Raise it when the state's shape or `evolve` changes: older snapshots are then ignored. Default 1. */
  readonly version?: number
}

const CATEGORY = /^[A-Za-z][A-Za-z0-9_]*$/

/**
 * One thing whose history is a stream of events: what is decided depends only on what happened before
 * (J. Chassaing, "Functional Event Sourcing Decider", 2021).
 */
export class Decider<C extends EventContract, Command, State> {
  readonly category: string
  /** Name and version of its snapshots; undefined where it keeps none. */
  readonly shape: string | undefined
  readonly everyEvents: number
  readonly codec: EventCodec<C>
  readonly #options: DeciderOptions<C, Command, State>

  constructor(options: DeciderOptions<C, Command, State>) {
    const { category, snapshot } = options
    if (!CATEGORY.test(category)) {
      throw new TrunklineError('core.option_invalid', { option: 'category', expected: 'letters, digits and underscores, a letter first', actual: JSON.stringify(category).slice(0, 100) })
    }
    if (snapshot !== undefined && !(Number.isSafeInteger(snapshot.everyEvents) && snapshot.everyEvents >= 1)) {
      throw new TrunklineError('core.option_invalid', { option: 'snapshot.everyEvents', expected: 'a whole number from 1', actual: String(snapshot.everyEvents) })
    }
    this.category = category
    this.everyEvents = snapshot?.everyEvents ?? Number.POSITIVE_INFINITY
    this.shape = snapshot === undefined ? undefined : `${category}@${snapshot.version ?? 1}`
    this.codec = new EventCodec(options.events)
    this.#options = options
  }

  /** The stream of one of them. @throws `core.option_invalid`. */
  stream(id: string): string {
    return checkedStream(`${this.category}-${id}`)
  }

  initialState(): State {
    return this.#options.initialState()
  }

  /** @throws what the user's function throws. */
  decide(command: Command, state: State): readonly Fact<C>[] {
    const decision = this.#options.decide(command, state)
    if (decision === undefined) return []
    return isList(decision) ? decision : [decision]
  }

  /** @throws what the user's function throws. */
  evolve(state: State, event: RecordedOf<C>): State {
    return this.#options.evolve(state, event)
  }

  /** The state after facts that were not stored: for tests and for thinking ahead. */
  evolveAll(state: State, facts: readonly Fact<C>[]): State {
    return facts.reduce((current, { contract, data }, index) => {
      const known = defined(contract)
      const event: RecordedEvent = {
        // As it is read back: with its defaults filled in, and what its schema changes changed.
        type: contract.type, data: known.decode(known.version, known.encode(data).body), id: `fact-${index}`, stream: `${this.category}-`, revision: BigInt(index), position: BigInt(index), storedAtMs: 0,
        version: contract.version, source: '', key: undefined, correlationId: `fact-${index}`, causationId: undefined, tenant: undefined,
      }
      // The contract of this very type has validated the data.
      return this.evolve(current, event as RecordedOf<C>)
    }, state)
  }
}

/**
 * Defines a decider.
 *
 * @throws `core.option_invalid`, `contract.definition_conflict`.
 */
export function decider<const C extends EventContract, Command, State>(options: DeciderOptions<C, Command, State>): Decider<C, Command, State> {
  return new Decider(options)
}

function isList<C extends EventContract>(decision: Fact<C> | readonly Fact<C>[]): decision is readonly Fact<C>[] {
  return Array.isArray(decision)
}
