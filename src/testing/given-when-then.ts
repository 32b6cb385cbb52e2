import { deepEqual, fail } from 'node:assert/strict'
import { type EventContract, defined } from '../contract/contract.ts'
import { errorText, isTrunklineError } from '../core/errors.ts'
import type { Decider } from '../store/decider.ts'
import type { Fact } from '../store/fact.ts'

/** What a refusal is recognised by: its code or a part of its text, a pattern, or its class. */
export type RefusalMark = string | RegExp | (abstract new (...parts: never[]) => Error)

/** What was decided, to be compared with what was expected. */
export class DecidedOutcome<C extends EventContract, State> {
  readonly #facts: readonly Fact<C>[]
  readonly #refusal: { readonly thrown: unknown } | undefined
  readonly #state: () => State

  constructor(facts: readonly Fact<C>[], refusal: { readonly thrown: unknown } | undefined, state: () => State) {
    this.#facts = facts
    this.#refusal = refusal
    this.#state = state
  }

  /** Exactly these facts, in this order; ids do not count. @throws `AssertionError` of `node:assert` that shows both. */
  thenDecides(...expected: readonly Fact[]): this {
    if (this.#refusal !== undefined) fail(`it refused: ${errorText(this.#refusal.thrown)}`)
    deepEqual(this.#facts.map(plain), expected.map(plain))
    return this
  }

  /** It refused, as marked. @throws `AssertionError`. */
  thenRefused(mark?: RefusalMark): this {
    if (this.#refusal === undefined) fail(`it did not refuse, but decided ${JSON.stringify(this.#facts.map(plain))}`)
    const { thrown } = this.#refusal
    if (mark !== undefined && !fits(thrown, mark)) fail(`it refused: ${errorText(thrown)}`)
    return this
  }

  /** The state after it. @throws `AssertionError`. */
  thenState(expected: State): this {
    deepEqual(this.#state(), expected)
    return this
  }
}

/** A decider with a history. */
export class GivenHistory<C extends EventContract, Command, State> {
  readonly #decider: Decider<C, Command, State>
  readonly #history: readonly Fact<C>[]

  constructor(decider: Decider<C, Command, State>, history: readonly Fact<C>[]) {
    this.#decider = decider
    this.#history = history
  }

  /** Gives it a command. What it decides has to fit its contracts, as it has to when it is appended. */
  when(command: Command): DecidedOutcome<C, State> {
    const state = this.#decider.evolveAll(this.#decider.initialState(), this.#history)
    try {
      const facts = this.#decider.decide(command, state)
      const after = this.#decider.evolveAll(state, facts)
      return new DecidedOutcome(facts, undefined, () => after)
    } catch (thrown) {
      return new DecidedOutcome<C, State>([], { thrown }, () => state)
    }
  }
}

/**
 * Tests a decider without a store: `given(account, fact(Opened, { owner })).when({ do: 'close' }).thenDecides(fact(Closed, {}))`.
 *
 * @throws `contract.*` at `when`, for a history that does not fit its contracts.
 */
export function given<C extends EventContract, Command, State>(decider: Decider<C, Command, State>, ...history: readonly Fact<C>[]): GivenHistory<C, Command, State> {
  return new GivenHistory(decider, history)
}

function plain({ contract, data }: Fact): { readonly type: string; readonly data: unknown } {
  const known = defined(contract)
  return { type: contract.type, data: known.decode(known.version, known.encode(data).body) }
}

function fits(thrown: unknown, mark: RefusalMark): boolean {
  if (typeof mark === 'function') return thrown instanceof mark
  if (mark instanceof RegExp) return mark.test(errorText(thrown))
  return (isTrunklineError(thrown) && thrown.code === mark) || errorText(thrown).includes(mark)
}
