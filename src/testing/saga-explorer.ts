import { type Clock, systemClock } from '../core/clock.ts'
import { TrunklineError } from '../core/errors.ts'
import { type OptionNames, optionNames, refuseUnknown } from '../core/option-names.ts'
import type { SagaDefinition } from '../saga/definition.ts'
import type { SagaOutcome } from '../saga/saga-events.ts'
import { transition } from '../saga/transition.ts'
import type { TransitionFunction } from './saga-bench.ts'
import { Exploration, type ExploreBound, type ExploreProgress } from './saga-exploration.ts'
import type { TestMessage, TestReply } from './saga-message.ts'
import { SagaSearch } from './saga-search.ts'

/** What `explore` takes. */
export interface ExploreOptions {
  /** The message that starts the saga. */
  readonly start: TestMessage
  /**
   * What may come of everything that the saga sends. One that has none is never answered, and what the saga does not take never comes; a saga that a step
   * runs ends in each of the four ways.
   */
  readonly answers?: readonly TestReply[]
  /** Messages that may come at any time, or never: before the start, too. */
  readonly mayCome?: readonly TestMessage[]
  /** Messages and alarms of one run that come again later on, beside what comes again after a crash. Default 1. */
  readonly duplicates?: number
  /** Whether the process may die before and after every commit. Default true. */
  readonly crashes?: boolean
  /** Ends that have to be reachable; no other one may be reached. Default: those that follow from the definition, and for a process manager any. */
  readonly ends?: readonly SagaOutcome[]
  readonly bound?: ExploreBound
  /** Called for every hundredth state that is looked at. */
  readonly onProgress?: (progress: ExploreProgress) => void
  /** Measures `timeMaxMs`. Default: the machine's clock. */
  readonly clock?: Clock
}

const NAMES: OptionNames = optionNames<ExploreOptions>({ start: true, answers: true, mayCome: true, duplicates: true, crashes: true, ends: true, bound: true, onProgress: true, clock: true })
const BOUNDS: OptionNames = optionNames<ExploreBound>({ statesMax: true, depthMax: true, timeMaxMs: true })

/**
 * Runs a small saga in every way that it can go: every order of answers, refusals, alarms that go off, messages that come again, answers that come after all
 * is undone, and processes that die before or after a commit. What decides is the function that decides in production.
 *
 * It proves for all of them, up to the bound, that each declared end is reached; that none stands still or goes round for ever; that whatever waits has an
 * alarm, or says that it may wait for ever; that nothing is handled, begun or completed twice; that what has an effect, or may have one, is
 * undone in reverse order before it ends as undone; and that the same input to the same stream sends the same messages with the same ids.
 *
 * @throws `core.option_unknown`, `core.option_invalid`, `bus.type_unhandled` for a start that the saga does not take.
 */
export function explore(definition: SagaDefinition, options: ExploreOptions): Exploration {
  return exploreWith(transition, definition, options)
}

/** `explore` with another function in the place of the engine's, to see that it finds what is wrong with that one. @throws as `explore`. */
export function exploreWith(decide: TransitionFunction, definition: SagaDefinition, options: ExploreOptions): Exploration {
  refuseUnknown('explore', options, NAMES)
  refuseUnknown('bound of explore', options.bound ?? {}, BOUNDS)
  const { start, answers = [], mayCome = [], duplicates = 1, crashes = true, ends, bound = {}, onProgress, clock = systemClock } = options
  const { statesMax = 50_000, depthMax = 200, timeMaxMs = 60_000 } = bound
  for (const [name, value] of Object.entries({ duplicates, statesMax, depthMax, timeMaxMs })) {
    if (!(typeof value === 'number' && value >= 0)) throw new TrunklineError('core.option_invalid', { option: `${name} of explore`, expected: 'a number from 0', actual: String(value) })
  }
  const search = new SagaSearch(decide, definition, { start, answers, mayCome, duplicates, crashes, ends, bound: { statesMax, depthMax, timeMaxMs }, onProgress, clock })
  return new Exploration(search.run())
}
