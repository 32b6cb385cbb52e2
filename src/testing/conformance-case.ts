import type { TransportCapabilities } from '../bus/port.ts'
import type { PlacePart } from './conformance-subject.ts'
import type { Stage } from './conformance-stage.ts'

/** What a case is about; one file of cases each. */
export type ConformanceFamily =
  | 'delivery' | 'batches' | 'retry' | 'order' | 'dead letters' | 'calls' | 'broadcast' | 'bad input' | 'lifecycle' | 'processes' | 'faults'

/** The families in the order of the matrix. `faults` break the broker, so they share it with no other case. */
export const conformanceFamilies: readonly ConformanceFamily[] = [
  'delivery', 'batches', 'retry', 'order', 'dead letters', 'calls', 'broadcast', 'bad input', 'lifecycle', 'processes', 'faults',
]

/** One behaviour that every transport shows, or refuses, or declares that it does not promise. */
export interface ConformanceCase {
  readonly family: ConformanceFamily
  /** A fact in the present tense; unique. */
  readonly name: string
  /**
   * Where one of these is declared false: an operation (`can…`) must be refused with `bus.unsupported` when
   * the case runs, and a guarantee is reported as not promised.
   */
  readonly needs?: readonly (keyof TransportCapabilities)[]
  /** The part of a place without which the case cannot run. */
  readonly uses?: PlacePart
  /** Rejects where the behaviour is different. */
  run(stage: Stage): Promise<void>
}

/** The cases of one family, without repeating it, and what all of them need, on each. */
export function casesOf(
  family: ConformanceFamily,
  needs: ConformanceCase['needs'],
  cases: readonly Omit<ConformanceCase, 'family'>[],
): readonly ConformanceCase[] {
  return cases.map((one) => ({ ...one, family, needs: [...(needs ?? []), ...(one.needs ?? [])] }))
}
