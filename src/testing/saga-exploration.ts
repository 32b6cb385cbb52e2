import { fail } from 'node:assert/strict'
import type { SagaOutcome } from '../saga/saga-events.ts'
import type { SagaFault } from './saga-rules.ts'

/** How far `explore` goes. */
export interface ExploreBound {
  /** Different states that are looked at. Default 50,000. */
  readonly statesMax?: number
  /** Moves from the start. Default 200. */
  readonly depthMax?: number
  /** Time, in milliseconds of the clock. Default 60,000. */
  readonly timeMaxMs?: number
}

/** Numbers of an exploration while it runs. */
export interface ExploreProgress {
  /** Different states that were found. */
  readonly states: number
  readonly transitions: number
  /** Moves from the start to what is looked at now. */
  readonly depth: number
  /** States that were found and not looked at yet. */
  readonly waiting: number
}

/** A run that breaks a rule. */
export interface Counterexample {
  readonly fault: SagaFault
  readonly problem: string
  /** The moves that lead there, as short as possible, as people read them. Empty for an end that is never reached. */
  readonly trace: string
}

/** What an exploration found. */
export interface ExplorationResult extends Omit<ExploreProgress, 'waiting'> {
  /** Whether every state was looked at. Where it is false, nothing is proven but what was found. */
  readonly isComplete: boolean
  /** Which bound was reached. */
  readonly reached: keyof ExploreBound | undefined
  /** States in which it had ended, by outcome; `parked` where a compensation waits for an operator. */
  readonly ends: Readonly<Record<SagaOutcome | 'parked', number>>
  readonly counterexample: Counterexample | undefined
}

/** The outcome of `explore`. */
export class Exploration {
  readonly result: ExplorationResult

  constructor(result: ExplorationResult) {
    this.result = result
  }

  /**
   * Every rule holds in every state, and all states were looked at; with `upToBound`, in all that were looked at.
   *
   * @throws `AssertionError` of `node:assert` with the shortest counterexample.
   */
  thenHolds({ upToBound = false }: { readonly upToBound?: boolean } = {}): this {
    const { counterexample, isComplete, reached, states } = this.result
    if (counterexample !== undefined) fail(counterexampleText(counterexample))
    if (!isComplete && !upToBound) fail(`not every state was looked at: ${reached} was reached after ${states} states; raise it, make the saga smaller, or say upToBound`)
    return this
  }

  /** A run breaks a rule of this kind. @throws `AssertionError`. */
  thenFinds(fault: SagaFault): this {
    const { counterexample } = this.result
    if (counterexample === undefined) fail(`no rule is broken in ${this.result.states} states`)
    if (counterexample.fault !== fault) fail(counterexampleText(counterexample))
    return this
  }
}

/** A counterexample as it is printed. */
export function counterexampleText({ fault, problem, trace }: Counterexample): string {
  return `${fault}: ${problem}${trace === '' ? '' : `\n${trace}`}`
}
