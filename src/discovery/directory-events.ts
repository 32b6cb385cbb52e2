import type { ContractDrift } from './contract-drift.ts'
import type { Instance } from './directory-state.ts'

/** What became of a view, for those who watch. */
export type DirectoryEvent =
  | { readonly kind: InstanceEventKind; readonly instance: Instance; readonly reason: string }
  /** The reader cannot hear the others: its view stays as it is. */
  | { readonly kind: 'view-stale'; readonly reason: string }
  | { readonly kind: 'view-fresh' }
  /** Two processes use one instance name at the same time. */
  /** Two instances disagree about a contract; one of them is this one. */
  | { readonly kind: 'contract-drift'; readonly drift: ContractDrift }
  | { readonly kind: 'name-taken'; readonly instance: string; readonly process: string }

/** Kinds of events that are about one instance. */
export type InstanceEventKind = `instance-${'up' | 'changed' | 'draining' | 'held' | 'suspect' | 'down' | 'stopped'}`

/** What the reader has to do next. */
export type DirectoryAction =
  /** Ask the instance directly, after a random time below `withinMs`, and fold the outcome. */
  | { readonly kind: 'probe'; readonly instance: string; readonly address: string; readonly withinMs: number }
  /** Announce this instance again, with at least this incarnation: others remember another life of it. */
  | { readonly kind: 'outlive'; readonly incarnation: number }

/** What one input brought about, in order. */
export interface Folded {
  readonly events: readonly DirectoryEvent[]
  readonly actions: readonly DirectoryAction[]
}

/** Collects what one input brings about. */
export interface Outcome {
  readonly events: DirectoryEvent[]
  readonly actions: DirectoryAction[]
}
