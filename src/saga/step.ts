import type { AnyCommand, DataInput, DataOutput, EventContract } from '../contract/contract.ts'
import type { InputOf, OutputOf, Schema } from '../contract/schema.ts'
import { type OptionNames, optionNames, refuseUnknown } from '../core/option-names.ts'
import { NOT_MINE, type SagaContract, type SagaDefinition, type SagaEnded, checkedPart, invalid } from './definition.ts'
import type { Due } from './due.ts'
import type { SagaParent } from './saga-events.ts'
import type { Act, CompensationPlan, OutcomePlan, StepPlan, TriesPlan } from './step-plan.ts'

/** How often a step or a compensation is tried, and with which waits between. There is no jitter: a transition knows no chance. */
export interface TryOptions {
  /** Tries in all, the first one included. Default 1 for steps and 10 for compensations. */
  readonly attemptsMax?: number
  /** First wait, in milliseconds. Default 1,000. */
  readonly initialMs?: number
  /** Growth from wait to wait. Default 2. */
  readonly factor?: number
  /** Longest wait, in milliseconds. Default 3,600,000. */
  readonly maxMs?: number
}

/** What a step can be told. */
export interface StepOptions<S extends Schema> {
  /** After a time-out, or a failure that says so, the step is tried again before the saga fails: with the same data and a message id of its own. */
  readonly retry?: TryOptions
  /** The step takes place only where this holds when its turn comes. */
  readonly when?: (state: OutputOf<S>) => boolean
  /** The step is repeated for as long as this holds, asked before each time. In the place of `when`. */
  readonly whilst?: (state: OutputOf<S>) => boolean
  /** Times that a step may be repeated; more put the instance into quarantine. Default 100. */
  readonly timesMax?: number
  /** Whether its failure makes the saga fail, which is the default, or is passed over. */
  readonly onFailure?: 'compensate' | 'continue'
}

/** How long a step waits: exactly one of the three. A step that waits without saying how long does not compile. */
export type Timed<S extends Schema> =
  | { readonly timeoutMs: number }
  /** By duration, instant or calendar. */
  | { readonly timeout: (state: OutputOf<S>) => Due }
  /** Nothing but a message ends the wait. */
  | { readonly waits: 'forever' }

/** How a compensation can be told. */
export interface CompensationOptions {
  /** Default: 10 tries, from a second to an hour between them. */
  readonly retry?: TryOptions
  /** After the last try: `park` quarantines the instance until an operator acts, which is the default; `alert` goes on, and the saga ends as `failed`. */
  readonly otherwise?: 'park' | 'alert'
}

/** What completes a step or a compensation. */
export interface OutcomeOptions<C extends SagaContract, S extends Schema, Sent> {
  /** Tells the instance: the same text as where the saga was started. */
  readonly correlate: (data: DataOutput<C>) => string
  /** Where several runs wait for this contract: whether it is for the one that has sent this. Default: it is. */
  readonly where?: (data: DataOutput<C>, sent: Sent) => boolean
  /** The state after it. Default: as it was. */
  readonly apply?: (state: OutputOf<S>, data: DataOutput<C>) => InputOf<S>
}

/** What makes a step or a compensation fail. */
export interface FailureOptions<C extends SagaContract, S extends Schema, Sent> extends OutcomeOptions<C, S, Sent> {
  /** Why, for people. Default: the contract's type. */
  readonly because?: (data: DataOutput<C>) => string
  /** Whether the step is tried again, as `retry` says. Default false: a refusal is an answer. Compensations are always tried again. */
  readonly isRetried?: boolean
}

/** What is known of the step that is undone. */
export interface Done<Sent, Out> {
  /** What it had sent last, as JSON. */
  readonly sent: Sent
  /** Data of the outcome that completed it; undefined where its outcome is unknown. */
  readonly outcome: Out | undefined
}

/** A step that was written. */
export interface BuiltStep {
  /** For `stepPlan`. */
  readonly parts: StepParts
}

/** A step that was written and waits for nothing. */
export interface InstantStep extends BuiltStep {
  readonly '~waits'?: false
}

/** What a step is made of, its types erased. */
export interface StepParts {
  readonly saga: string
  readonly act: Act | undefined
  readonly outcomes: readonly OutcomePlan[]
  readonly compensation: CompensationPlan | undefined
  readonly subSaga: string | undefined
}

const STEP: OptionNames = optionNames<StepOptions<Schema> & { timeoutMs: number; timeout: unknown; waits: unknown }>({
  retry: true, when: true, whilst: true, timesMax: true, onFailure: true, timeoutMs: true, timeout: true, waits: true,
})
const UNDO: OptionNames = optionNames<CompensationOptions & { timeoutMs: number; waits: unknown }>({ retry: true, otherwise: true, timeoutMs: true, waits: true })
const TRIES: OptionNames = optionNames<TryOptions>({ attemptsMax: true, initialMs: true, factor: true, maxMs: true })
const OUTCOME: OptionNames = optionNames<FailureOptions<SagaContract, Schema, unknown>>({ correlate: true, where: true, apply: true, because: true, isRetried: true })
const TIMES_MAX = 100
/** What a delay may be: a century. */
const TIMEOUT_MAX_MS = 3_155_760_000_000

/** A step or compensation that is being written. Every method gives a new one. */
export class StepBuilder<S extends Schema, Sent, Out, Waits extends boolean> implements BuiltStep {
  declare readonly '~waits'?: Waits
  declare readonly '~out'?: Out
  readonly parts: StepParts

  constructor(parts: StepParts) {
    this.parts = parts
  }

  /** A message that completes it. */
  on<C extends SagaContract>(contract: C, options: OutcomeOptions<C, S, Sent>): StepBuilder<S, Sent, Out | DataOutput<C>, true> {
    return this.#outcome(contract, options, false)
  }

  /** A message that says it was refused or has failed: nothing of it has happened. */
  fails<C extends SagaContract>(contract: C, options: FailureOptions<C, S, Sent>): StepBuilder<S, Sent, Out, true> {
    return this.#outcome(contract, options, true)
  }

  /**
   * How it is undone, when the saga fails later or is called off; also where its outcome is unknown. What is sent has to be idempotent, has to take that there
   * is nothing to undo, and has to keep a late original from happening.
   */
  compensate(options: CompensationOptions & ({ readonly timeoutMs: number } | { readonly waits: 'forever' }), build: (undo: NewUndo<S, Sent, Out>) => BuiltStep): this
  compensate(options: CompensationOptions, build: (undo: NewUndo<S, Sent, Out>) => InstantStep): this
  compensate(build: (undo: NewUndo<S, Sent, Out>) => InstantStep): this
  compensate(...rest: readonly [CompensationOptions & { readonly timeoutMs?: number; readonly waits?: 'forever' }, (undo: NewUndo<S, Sent, Out>) => BuiltStep] | readonly [(undo: NewUndo<S, Sent, Out>) => BuiltStep]): this {
    const [options, build] = rest.length === 1 ? [{}, rest[0]] : rest
    const { saga } = this.parts
    const undo = build(new NewUndo<S, Sent, Out>(saga)).parts
    const next = new StepBuilder<S, Sent, Out, Waits>({ ...this.parts, compensation: compensationPlan(saga, options, undo) })
    // Nothing but the plan differs, and the plan's types are erased.
    return next as this
  }

  #outcome<C extends SagaContract, O, W extends boolean>(contract: C, options: FailureOptions<C, S, Sent>, isFailure: boolean): StepBuilder<S, Sent, O, W> {
    const { saga, outcomes } = this.parts
    refuseUnknown(`${contract.type} in the saga ${saga}`, options, OUTCOME)
    const { correlate, where, apply, because, isRetried } = options
    if (typeof correlate !== 'function') throw invalid(saga, `${contract.type} needs correlate, which tells the instance that it belongs to`)
    const plan: OutcomePlan = {
      contract, correlate: { of: correlate }, isFailure, isRetried: isRetried ?? false,
      matches: where ?? (() => true), apply: apply ?? ((state) => state), because: because ?? (() => contract.type),
    }
    return new StepBuilder<S, Sent, O, W>({ ...this.parts, outcomes: [...outcomes, plan] })
  }
}

/** A step that has sent nothing yet. */
export class NewStep<S extends Schema> extends StepBuilder<S, undefined, never, false> {
  /** The command that it sends. */
  send<C extends AnyCommand>(contract: C, data: (state: OutputOf<S>) => DataInput<C>): StepBuilder<S, DataInput<C>, never, false> {
    return acting(this.parts, contract, data)
  }

  /** The event that it publishes. */
  publish<C extends EventContract>(contract: C, data: (state: OutputOf<S>) => DataInput<C>): StepBuilder<S, DataInput<C>, never, false> {
    return acting(this.parts, contract, data)
  }

  /**
   * Runs another saga to its end, by a message that starts it. It completes when that saga does, and fails when it ends in any other way.
   *
   * @throws `saga.definition_invalid` where the contract does not start it.
   */
  run<C extends SagaContract>(child: SagaDefinition, contract: C, data: (state: OutputOf<S>) => DataInput<C>, options: SubSagaOptions<S> = {}): StepBuilder<S, DataInput<C>, SagaEnded, true> {
    const { saga } = this.parts
    if (child.inputs.get(contract.type)?.isStart !== true) throw invalid(saga, `${contract.type} does not start the saga ${child.name}`)
    const apply = options.apply ?? ((state: OutputOf<S>): InputOf<S> => state)
    const mine = (end: SagaEnded): boolean => end.parent?.saga === saga
    const plan = (isFailure: boolean): OutcomePlan => ({
      contract: child.ended, isFailure, isRetried: false, apply,
      correlate: { of: (end: SagaEnded, { tenant }: { readonly tenant: string | undefined }) => (mine(end) ? instanceOf(end.parent, tenant) : NOT_MINE) },
      matches: (end: SagaEnded, _sent: unknown, run: string) => mine(end) && end.parent?.run === run && (end.outcome === 'completed') !== isFailure,
      because: (end: SagaEnded) => `${child.name} ended as ${end.outcome}${end.reason === null ? '' : `: ${end.reason}`}`,
    })
    return new StepBuilder({ ...this.parts, act: { contract, data, isSubSaga: true }, outcomes: [plan(false), plan(true)], subSaga: child.name })
  }
}

/** How a step that runs another saga can be told. */
export interface SubSagaOptions<S extends Schema> {
  /** The state after its end. */
  readonly apply?: (state: OutputOf<S>, end: SagaEnded) => InputOf<S>
}

/** A compensation that has sent nothing yet. */
export class NewUndo<S extends Schema, Sent, Out> {
  readonly #saga: string

  constructor(saga: string) {
    this.#saga = saga
  }

  /** The command that undoes the step. */
  send<C extends AnyCommand>(contract: C, data: (state: OutputOf<S>, done: Done<Sent, Out>) => DataInput<C>): StepBuilder<S, DataInput<C>, never, false> {
    return undoing(this.#saga, contract, data)
  }

  /** The event whose receivers undo the step. */
  publish<C extends EventContract>(contract: C, data: (state: OutputOf<S>, done: Done<Sent, Out>) => DataInput<C>): StepBuilder<S, DataInput<C>, never, false> {
    return undoing(this.#saga, contract, data)
  }
}

/** A step of a saga to be written. */
export function newStep<S extends Schema>(saga: string): NewStep<S> {
  return new NewStep<S>({ saga, act: undefined, outcomes: [], compensation: undefined, subSaga: undefined })
}

/** @throws `saga.definition_invalid`, `core.option_unknown`. */
export function stepPlan<S extends Schema>(saga: string, name: string, options: StepOptions<S> & { readonly timeoutMs?: number; readonly timeout?: (state: OutputOf<S>) => Due; readonly waits?: 'forever' }, { parts }: BuiltStep): StepPlan {
  refuseUnknown(`the step ${name} of the saga ${saga}`, options, STEP)
  const { timeoutMs, timeout, waits, retry, when, whilst, timesMax, onFailure } = options
  const { act, outcomes, compensation, subSaga } = parts
  const limits = [timeoutMs, timeout, waits].filter((limit) => limit !== undefined).length
  if (limits > 1) throw invalid(saga, `the step ${name} has several time limits`)
  if (outcomes.length > 0 && limits === 0) throw invalid(saga, `the step ${name} waits and has no time limit; give it timeoutMs or timeout, or say waits: 'forever'`)
  if (outcomes.length === 0 && act === undefined && timeout === undefined) throw invalid(saga, `the step ${name} does nothing`)
  if (when !== undefined && whilst !== undefined) throw invalid(saga, `the step ${name} has when and whilst; whilst is asked before the first time, too`)
  if (outcomes.length > 0 && !outcomes.some(({ isFailure }) => !isFailure)) throw invalid(saga, `the step ${name} can only fail; say on(…) what completes it`)
  if (timeoutMs !== undefined) checkTimeout(saga, name, timeoutMs)
  if (timesMax !== undefined && !(Number.isSafeInteger(timesMax) && timesMax >= 1)) throw invalid(saga, `timesMax ${timesMax} of the step ${name} is not a whole number from 1`)
  return {
    kind: 'step', name: checkedPart(saga, 'step', name), act, outcomes, compensation, saga: subSaga, when, whilst,
    timeout: timeout ?? (() => (timeoutMs === undefined || outcomes.length === 0 ? undefined : { afterMs: timeoutMs })),
    hasTimeout: timeoutMs !== undefined || timeout !== undefined, timeoutMs,
    timesOut: 'fails', tries: triesOf(saga, name, retry, 1), timesMax: timesMax ?? TIMES_MAX, onFailure: onFailure ?? 'compensate',
  }
}

function compensationPlan(saga: string, options: CompensationOptions & { readonly timeoutMs?: number; readonly waits?: 'forever' }, { act, outcomes }: StepParts): CompensationPlan {
  refuseUnknown(`a compensation of the saga ${saga}`, options, UNDO)
  const { timeoutMs, waits, retry, otherwise } = options
  if (act === undefined) throw invalid(saga, 'a compensation sends nothing')
  const name = `that ${act.contract.type} undoes`
  if (outcomes.length > 0 && timeoutMs === undefined && waits === undefined) throw invalid(saga, `the compensation of the step ${name} waits and has no time limit`)
  if (timeoutMs !== undefined) checkTimeout(saga, name, timeoutMs)
  return { act, outcomes, timeoutMs, tries: triesOf(saga, name, retry, 10), otherwise: otherwise ?? 'park' }
}

function triesOf(saga: string, step: string, options: TryOptions = {}, attemptsMax: number): TriesPlan {
  refuseUnknown(`retry of the saga ${saga}`, options, TRIES)
  const tries = { attemptsMax: options.attemptsMax ?? attemptsMax, initialMs: options.initialMs ?? 1_000, factor: options.factor ?? 2, maxMs: options.maxMs ?? 3_600_000 }
  const isFit = Number.isSafeInteger(tries.attemptsMax) && tries.attemptsMax >= 1 && tries.initialMs >= 0 && tries.factor >= 1 && tries.maxMs >= 0
  if (!isFit) throw invalid(saga, `the retry ${JSON.stringify(options)} of the step ${step} means nothing`)
  return tries
}

function checkTimeout(saga: string, step: string, timeoutMs: number): void {
  if (!(typeof timeoutMs === 'number' && timeoutMs > 0 && timeoutMs <= TIMEOUT_MAX_MS)) throw invalid(saga, `timeoutMs ${String(timeoutMs)} of the step ${step} is not a number from above 0 to ${TIMEOUT_MAX_MS}`)
}

function acting<S extends Schema, C extends SagaContract>(parts: StepParts, contract: C, data: (state: OutputOf<S>) => DataInput<C>): StepBuilder<S, DataInput<C>, never, false> {
  return new StepBuilder({ ...parts, act: { contract, data, isSubSaga: false } })
}

function undoing<S extends Schema, Sent, Out, C extends SagaContract>(saga: string, contract: C, data: (state: OutputOf<S>, done: Done<Sent, Out>) => DataInput<C>): StepBuilder<S, DataInput<C>, never, false> {
  const act: Act = {
    contract, isSubSaga: false,
    // What a step has sent and got is what its compensation was typed with.
    data: (state: OutputOf<S>, sent: unknown, outcome: unknown) => data(state, { sent: sent as Sent, outcome: outcome as Out | undefined }),
  }
  return new StepBuilder({ saga, act, outcomes: [], compensation: undefined, subSaga: undefined })
}

function instanceOf(parent: SagaParent | null, tenant: string | undefined): string {
  const instance = parent?.instance ?? ''
  return tenant !== undefined && instance.startsWith(`${tenant}:`) ? instance.slice(tenant.length + 1) : instance
}

