import type { LogCapabilities } from '../store/port.ts'
import type { StoreStage } from './store-conformance-stage.ts'
import type { StoreFamily, StorePart } from './store-conformance-subject.ts'

/** One behaviour that every store shows, or refuses, or declares that it does not promise. */
export interface StoreCase {
  readonly family: StoreFamily
  /** A fact in the present tense; unique. */
  readonly name: string
  /**
   * Where one of these is declared false: `canCommitStreams` must be refused with `bus.unsupported` when the case
   * runs, the others are reported as not promised.
   */
  readonly needs?: readonly (keyof LogCapabilities)[]
  /** Parts of a store without which the case cannot run, beside its family. */
  readonly uses?: readonly StorePart[]
  /** Rejects where the behaviour is different. */
  run(stage: StoreStage): Promise<void>
}

/** The cases of one family, without repeating it on each. */
export function storeCasesOf(family: StoreFamily, cases: readonly Omit<StoreCase, 'family'>[]): readonly StoreCase[] {
  return cases.map((one) => ({ ...one, family }))
}
