import type { Backoff } from '../core/backoff.ts'
import type { Contract } from '../contract/contract.ts'
import type { Due } from './due.ts'
import type { Correlate } from './definition.ts'

// What the steps of a saga are compiled to: plain values and pure functions, their types erased. Methods, so that functions of the user's own types fit.

/** What a step or a compensation sends. */
export interface Act {
  readonly contract: Contract
  /** The data to send, from the state; a compensation also gets what its step had sent, and the outcome's data where there was one. */
  data(state: unknown, sent: unknown, outcome: unknown): unknown
  /** True where the receiver is a saga that is to tell its end. */
  readonly isSubSaga: boolean
}

/** One message that ends a wait. */
export interface OutcomePlan {
  readonly contract: Contract
  readonly correlate: Correlate
  /** True where the step has failed with it. */
  readonly isFailure: boolean
  /** A refusal after which the step is tried again, as after a time-out. */
  readonly isRetried: boolean
  /** Tells which of several waiting runs a message is for. */
  matches(data: unknown, sent: unknown, run: string): boolean
  /** The state after it. */
  apply(state: unknown, data: unknown): unknown
  /** Why it failed, for people. */
  because(data: unknown): string
}

/** How often something is tried, and with which waits between. */
export interface TriesPlan extends Backoff {
  readonly attemptsMax: number
}

/** How a step is undone. */
export interface CompensationPlan {
  readonly act: Act
  readonly outcomes: readonly OutcomePlan[]
  /** Undefined where it waits for nothing, or for ever. */
  readonly timeoutMs: number | undefined
  readonly tries: TriesPlan
  /** What happens when it has failed for the last time. */
  readonly otherwise: 'park' | 'alert'
}

/** One leg of a saga. */
export interface StepPlan {
  readonly kind: 'step'
  readonly name: string
  /** Undefined where it only waits. */
  readonly act: Act | undefined
  readonly outcomes: readonly OutcomePlan[]
  /** Undefined where it waits for nothing, or for ever. */
  timeout(state: unknown): Due | undefined
  readonly hasTimeout: boolean
  /** Its time limit, where it is the same for every instance. */
  readonly timeoutMs: number | undefined
  /** What the end of its time means. */
  readonly timesOut: 'fails' | 'completes'
  readonly tries: TriesPlan
  /** Undefined where it always takes place. */
  readonly when: ((state: unknown) => boolean) | undefined
  /** Undefined where it takes place once. */
  readonly whilst: ((state: unknown) => boolean) | undefined
  readonly timesMax: number
  readonly compensation: CompensationPlan | undefined
  /** Whether its failure is that of the saga. */
  readonly onFailure: 'compensate' | 'continue'
  /** Name of the saga that it runs. */
  readonly saga: string | undefined
}

/** Legs that run at the same time. */
export interface GroupPlan {
  readonly kind: 'group'
  readonly name: string
  /** Members that have to complete. */
  readonly need: number
  readonly members: readonly StepPlan[]
}

/** One place in the line. */
export type NodePlan = StepPlan | GroupPlan

/** A message that calls a saga off. */
export interface CancelPlan {
  readonly contract: Contract
  readonly correlate: Correlate
  because(data: unknown): string
  /** What happens when the saga has completed already. */
  readonly afterEnd: 'ignore' | 'compensate'
}

/** The whole line. */
export interface StepsPlan {
  readonly saga: string
  readonly nodes: readonly NodePlan[]
  readonly cancels: readonly CancelPlan[]
  /** Time for the whole, in milliseconds; undefined: the sum of its parts. */
  readonly timeoutMs: number | undefined
  /** What becomes of a message of a step that has not begun. */
  readonly ahead: 'keep' | 'ignore' | 'deadLetter'
}
