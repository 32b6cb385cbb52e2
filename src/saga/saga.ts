import type { AnyCommand, Contract, DataInput, DataOutput, EventContract } from '../contract/contract.ts'
import type { InputOf, OutputOf, Schema } from '../contract/schema.ts'
import { type OptionNames, optionNames, refuseUnknown } from '../core/option-names.ts'
import { type Correlate, type InputPlan, type Migration, type SagaContract, SagaDefinition, type SagaPolicies, checkedPart, invalid, mergedInputs } from './definition.ts'
import type { Due } from './due.ts'
import type { CancelPlan, NodePlan, StepPlan } from './step-plan.ts'
import { type BuiltStep, type InstantStep, type NewStep, type StepOptions, type Timed, newStep, stepPlan } from './step.ts'
import { StepsBrain } from './steps-brain.ts'

/** What `saga` takes. */
export interface SagaOptions<S extends Schema> extends SagaPolicies {
  /** Of the state. What it gives back has to be JSON in its input form, as with contracts. */
  readonly state: S
  /** Raise it when the line or the state changes: instances keep the version that they were started with. Default 1. */
  readonly version?: number
  /** Time for the whole, in milliseconds; when it is over, everything is undone. Default: the time of its parts. */
  readonly timeoutMs?: number
  /**
   * What becomes of a message of a step that has not begun: it waits for it in the instance, which is the default, is recorded and changes nothing, or becomes a
   * dead letter.
   */
  readonly ahead?: 'keep' | 'ignore' | 'deadLetter'
  /** From older versions to this one. Instances of a version that is named here go on by this definition. */
  readonly migrations?: Readonly<Record<number, SagaMigration<S>>>
}

/** How an instance of an older version becomes one of this version. */
export interface SagaMigration<S extends Schema> {
  /** The state now, from the state as it was stored. A method, so that the parameter may be typed as it was then. */
  state(old: never): InputOf<S>
  /** New names of steps that were renamed. A step that an instance has begun, and that there is no more, puts it into quarantine. */
  readonly steps?: Readonly<Record<string, string>>
}

/** How a message starts a saga. */
export interface StartOptions<C extends SagaContract, S extends Schema> {
  /** Tells the instance: 1 to 128 bytes, unique for this saga, and within a tenant where the message has one. */
  readonly correlate: (data: DataOutput<C>) => string
  /** The state to begin with. */
  readonly state: (data: DataOutput<C>) => InputOf<S>
}

/** How a message calls a saga off. */
export interface CancelOptions<C extends SagaContract> {
  readonly correlate: (data: DataOutput<C>) => string
  /** Why, for people. Default: the type of the message. */
  readonly because?: (data: DataOutput<C>) => string
  /** What happens when the saga has completed already: `ignore`, the default, or everything is undone nevertheless. */
  readonly afterEnd?: 'ignore' | 'compensate'
}

const NAMES: OptionNames = optionNames<SagaOptions<Schema>>({ state: true, version: true, timeoutMs: true, ahead: true, migrations: true, early: true, earlyMaxMs: true, late: true })
const STEPS_MAX = 200

interface SagaParts {
  readonly name: string
  readonly options: SagaOptions<Schema>
  readonly starts: readonly StartPlan[]
  readonly nodes: readonly NodePlan[]
  readonly cancels: readonly CancelPlan[]
}

interface StartPlan {
  readonly contract: Contract
  readonly correlate: Correlate
  state(data: unknown): unknown
}

/**
 * A saga as a line of steps: each sends something, waits for one of its outcomes, and says how it is undone. Say what starts it first, then its
 * steps in order, then `end()`.
 *
 * @param name lower-case words with dashes between, at most 40 characters; unique among all sagas of the bus.
 * @throws `saga.definition_invalid`, `core.option_unknown`.
 */
export function saga<S extends Schema>(name: string, options: SagaOptions<S>): SagaBuilder<S> {
  refuseUnknown(`saga(${JSON.stringify(name)})`, options, NAMES)
  return new SagaBuilder<S>({ name, options, starts: [], nodes: [], cancels: [] })
}

/** A saga that is being written. Every method gives a new one. */
export class SagaBuilder<S extends Schema> {
  readonly #parts: SagaParts

  constructor(parts: SagaParts) {
    this.#parts = parts
  }

  /** A message that starts it; there may be several. */
  startedBy<C extends SagaContract>(contract: C, { correlate, state }: StartOptions<C, S>): SagaBuilder<S> {
    return this.#with({ starts: [...this.#parts.starts, { contract, correlate: { of: correlate }, state }] })
  }

  /** A message that calls it off: what it has done is undone, and it ends as `cancelled`. One that comes before the start counts, too. */
  cancelledBy<C extends SagaContract>(contract: C, options: CancelOptions<C>): SagaBuilder<S> {
    const { correlate, because, afterEnd } = options
    return this.#with({ cancels: [...this.#parts.cancels, { contract, correlate: { of: correlate }, because: because ?? (() => contract.type), afterEnd: afterEnd ?? 'ignore' }] })
  }

  /**
   * The next step. One that waits for something needs a time limit, `timeoutMs` or `timeout`, or says `waits: 'forever'`.
   *
   * @throws `saga.definition_invalid`.
   */
  step(name: string, options: StepOptions<S> & Timed<S>, build: (step: NewStep<S>) => BuiltStep): SagaBuilder<S>
  step(name: string, options: StepOptions<S>, build: (step: NewStep<S>) => InstantStep): SagaBuilder<S>
  step(name: string, build: (step: NewStep<S>) => InstantStep): SagaBuilder<S>
  step(name: string, ...rest: readonly [StepOptions<S> & Partial<Timed<S>>, (step: NewStep<S>) => BuiltStep] | readonly [(step: NewStep<S>) => BuiltStep]): SagaBuilder<S> {
    const [options, build] = rest.length === 1 ? [{}, rest[0]] : rest
    return this.#node(stepPlan(this.#parts.name, name, options, build(newStep<S>(this.#parts.name))))
  }

  /** Publishes an event, and goes on. */
  publish<C extends EventContract>(name: string, contract: C, data: (state: OutputOf<S>) => DataInput<C>): SagaBuilder<S> {
    return this.step(name, (step) => step.publish(contract, data))
  }

  /** Sends a command, and goes on without waiting for what comes of it. */
  send<C extends AnyCommand>(name: string, contract: C, data: (state: OutputOf<S>) => DataInput<C>): SagaBuilder<S> {
    return this.step(name, (step) => step.send(contract, data))
  }

  /** Goes on at an instant, after a time, or when a cron expression next fits. */
  wait(name: string, due: Due | ((state: OutputOf<S>) => Due)): SagaBuilder<S> {
    const { name: of } = this.#parts
    return this.#node({ ...stepPlan(of, name, { timeout: typeof due === 'function' ? due : () => due }, newStep<S>(of)), timesOut: 'completes' })
  }

  /** Steps at the same time; it goes on when all of them have completed, and fails with the first that fails. */
  allOf(name: string, build: (group: GroupBuilder<S>) => GroupBuilder<S>): SagaBuilder<S> {
    const members = this.#members(build)
    return this.#group(name, members.length, members)
  }

  /** Steps at the same time; it goes on with the first that completes. The others are undone, also those that complete later. */
  anyOf(name: string, build: (group: GroupBuilder<S>) => GroupBuilder<S>): SagaBuilder<S> {
    return this.#group(name, 1, this.#members(build))
  }

  /** Steps at the same time; it goes on when `need` of them have completed. The others are undone, also those that complete later. */
  quorum(name: string, need: number, build: (group: GroupBuilder<S>) => GroupBuilder<S>): SagaBuilder<S> {
    return this.#group(name, need, this.#members(build))
  }

  /**
   * The definition.
   *
   * @throws `saga.definition_invalid`.
   */
  end(): SagaDefinition<OutputOf<S>> {
    const { name, options, starts, nodes, cancels } = this.#parts
    const steps = nodes.flatMap((node) => (node.kind === 'group' ? node.members : [node]))
    if (steps.length === 0) throw invalid(name, 'it has no steps')
    if (steps.length > STEPS_MAX) throw invalid(name, `it has ${steps.length} steps, at most ${STEPS_MAX}`)
    if (new Set(steps.map((step) => step.name)).size < steps.length) throw invalid(name, 'two steps have the same name')
    const stateOf = new Map(starts.map((start) => [start.contract.type, start]))
    const { version = 1, state, timeoutMs, ahead = 'keep', migrations = {}, ...policies } = options
    if (timeoutMs !== undefined && !(timeoutMs > 0)) throw invalid(name, `timeoutMs ${timeoutMs} is no time`)
    return new SagaDefinition({
      name, version, policies, schema: state, migrations: migrationsOf(migrations),
      inputs: mergedInputs(name, [...starts.map(({ contract, correlate }) => input(contract, correlate, true)), ...inputsOf(steps), ...cancels.map(({ contract, correlate }) => input(contract, correlate, false))]),
      brain: new StepsBrain({ saga: name, nodes, cancels, timeoutMs, ahead }, [...stateOf.keys()]),
      startState: ({ type, data }) => stateOf.get(type)?.state(data),
    })
  }

  #members(build: (group: GroupBuilder<S>) => GroupBuilder<S>): readonly StepPlan[] {
    return build(new GroupBuilder<S>(this.#parts.name, [])).plans()
  }

  #group(name: string, need: number, members: readonly StepPlan[]): SagaBuilder<S> {
    const { name: of } = this.#parts
    if (members.length === 0) throw invalid(of, `the group ${name} is empty`)
    if (!(Number.isSafeInteger(need) && need >= 1 && need <= members.length)) throw invalid(of, `the group ${name} needs ${need} of its ${members.length} steps`)
    return this.#node({ kind: 'group', name: checkedPart(of, 'group', name), need, members })
  }

  #node(node: NodePlan): SagaBuilder<S> {
    return this.#with({ nodes: [...this.#parts.nodes, node] })
  }

  #with(parts: Partial<SagaParts>): SagaBuilder<S> {
    return new SagaBuilder<S>({ ...this.#parts, ...parts })
  }
}

/** The steps of a group. Every method gives a new one. */
export class GroupBuilder<S extends Schema> {
  readonly #saga: string
  readonly #plans: readonly StepPlan[]

  constructor(of: string, plans: readonly StepPlan[]) {
    this.#saga = of
    this.#plans = plans
  }

  /** A step of the group. Groups have no repeated steps. @throws `saga.definition_invalid`. */
  step(name: string, options: GroupStepOptions<S> & Timed<S>, build: (step: NewStep<S>) => BuiltStep): GroupBuilder<S>
  step(name: string, options: GroupStepOptions<S>, build: (step: NewStep<S>) => InstantStep): GroupBuilder<S>
  step(name: string, options: GroupStepOptions<S> & Partial<Timed<S>>, build: (step: NewStep<S>) => BuiltStep): GroupBuilder<S> {
    return new GroupBuilder<S>(this.#saga, [...this.#plans, stepPlan(this.#saga, name, options, build(newStep<S>(this.#saga)))])
  }

  /** What it holds. */
  plans(): readonly StepPlan[] {
    return this.#plans
  }
}

/** What a step of a group can be told. */
export type GroupStepOptions<S extends Schema> = Omit<StepOptions<S>, 'whilst' | 'timesMax'>

function inputsOf(steps: readonly StepPlan[]): readonly InputPlan[] {
  return steps.flatMap(({ outcomes, compensation }) => [...outcomes, ...(compensation?.outcomes ?? [])].map(({ contract, correlate }) => input(contract, correlate, false)))
}

function input(contract: Contract, correlate: Correlate, isStart: boolean): InputPlan {
  return { contract, correlates: [correlate], isStart }
}

/** Migrations by the version that they lead from. */
export function migrationsOf(migrations: Readonly<Record<number, SagaMigration<Schema>>>): ReadonlyMap<number, Migration> {
  // What was stored by a definition of that version is what its migration was typed with.
  return new Map(Object.entries(migrations).map(([version, migration]) => [Number(version), { state: (old: unknown) => migration.state(old as never), steps: migration.steps ?? {} }]))
}
