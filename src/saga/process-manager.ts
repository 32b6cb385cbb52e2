import type { AnyCommand, Contract, ContractTypes, DataInput, DataOutput, EventContract } from '../contract/contract.ts'
import type { InputOf, OutputOf, Schema } from '../contract/schema.ts'
import { type OptionNames, optionNames, refuseUnknown } from '../core/option-names.ts'
import { DecideBrain } from './decide-brain.ts'
import { type Correlate, type SagaContract, SagaDefinition, type SagaPolicies, checkedPart, invalid, mergedInputs } from './definition.ts'
import type { Due } from './due.ts'
import type { SagaOutcome } from './saga-events.ts'
import { type SagaMigration, migrationsOf } from './saga.ts'

/** A message that a process manager was given, told apart by `type`. */
export type ProcessMessage<C extends SagaContract> = C extends Contract<infer T, ContractTypes> ? { readonly type: T; readonly data: DataOutput<C>; readonly id: string } : never

/** What a process manager was given: a message, or an alarm that has gone off. */
export type ProcessInput<C extends SagaContract, T extends string> = ProcessMessage<C> | { readonly type: 'timer'; readonly timer: T }

/** One thing that a process manager wants; made by `ProcessOutputs`. */
export type ProcessOutput =
  | { readonly kind: 'send'; readonly contract: Contract; readonly data: unknown }
  | { readonly kind: 'publish'; readonly contract: Contract; readonly data: unknown }
  | { readonly kind: 'set-timer'; readonly timer: string; readonly due: Due }
  | { readonly kind: 'cancel-timer'; readonly timer: string }
  | { readonly kind: 'end'; readonly outcome: SagaOutcome; readonly reason: string | undefined }

/** Makes what a process manager wants, of what it has declared. */
export interface ProcessOutputs<Out extends SagaContract, T extends string> {
  /** A command to send. */
  send<C extends Out & AnyCommand>(contract: C, data: DataInput<C>): ProcessOutput
  /** An event to publish. */
  publish<C extends Out & EventContract>(contract: C, data: DataInput<C>): ProcessOutput
  /** An alarm; it takes the place of one of that name. One by `cron` goes off again and again until it is taken back. */
  timer(timer: T, due: Due): ProcessOutput
  /** Takes an alarm back. */
  cancel(timer: T): ProcessOutput
  /** The end. Alarms that are set are taken back. Default `completed`. */
  end(outcome?: SagaOutcome, reason?: string): ProcessOutput
}

/** What tells the instance of each message: one for every contract. One that is left out does not compile. */
export type Correlations<In extends SagaContract> = { readonly [C in In as C['type']]: (data: DataOutput<C>) => string }

/** A process manager either has alarms, one of which has to be set whenever it waits, or says that it may wait for ever. */
export type ProcessTimers<T extends string> =
  | { readonly timers: readonly [T, ...T[]]; readonly waits?: 'forever' }
  | { readonly timers?: readonly T[]; readonly waits: 'forever' }

/** What `processManager` takes. */
export interface ProcessManagerOptions<S extends Schema, In extends SagaContract, Start extends In, Out extends SagaContract, T extends string> extends SagaPolicies {
  /** Of the state. */
  readonly state: S
  /** Default 1. */
  readonly version?: number
  /** Every message that it takes. */
  readonly inputs: readonly In[]
  /** Those of its inputs that start an instance. */
  readonly startedBy: readonly Start[]
  /** Every command that it sends and event that it publishes. */
  readonly outputs: readonly Out[]
  readonly correlate: Correlations<In>
  readonly initialState: () => InputOf<S>
  /** What is to happen for an input, in the state before it: a pure function. */
  readonly decide: (input: ProcessInput<In, T>, state: OutputOf<S>, to: ProcessOutputs<Out, T>) => readonly ProcessOutput[] | ProcessOutput | undefined
  /** The state after an input: a pure function. */
  readonly evolve: (state: OutputOf<S>, input: ProcessInput<In, T>) => InputOf<S>
  readonly migrations?: Readonly<Record<number, SagaMigration<S>>>
}

const NAMES: OptionNames = optionNames<ProcessManagerOptions<Schema, SagaContract, SagaContract, SagaContract, string> & { timers: unknown; waits: unknown }>({
  state: true, version: true, inputs: true, startedBy: true, outputs: true, correlate: true, initialState: true, decide: true, evolve: true, migrations: true,
  timers: true, waits: true, early: true, earlyMaxMs: true, late: true,
})

/**
 * A saga as two pure functions, for processes that are not a line of steps: `decide` says what is to happen, `evolve` what the state is then.
 *
 * @param name lower-case words with dashes between, at most 40 characters; unique among all sagas of the bus.
 * @throws `saga.definition_invalid`, `core.option_unknown`.
 */
export function processManager<S extends Schema, const In extends SagaContract, const Start extends In, const Out extends SagaContract, const T extends string = never>(
  name: string, options: ProcessManagerOptions<S, In, Start, Out, T> & ProcessTimers<T>,
): SagaDefinition<OutputOf<S>> {
  refuseUnknown(`processManager(${JSON.stringify(name)})`, options, NAMES)
  const { state, version = 1, inputs, startedBy, outputs, correlate, initialState, decide, evolve, timers = [], waits, migrations = {}, early, earlyMaxMs, late } = options
  if (timers.length === 0 && waits !== 'forever') throw invalid(name, "it has no timers; name them, or say waits: 'forever'")
  for (const timer of timers) checkedPart(name, 'timer', timer)
  const correlations: Readonly<Record<string, unknown>> = correlate
  const inputPlans = inputs.map((contract) => {
    const of = correlations[contract.type]
    if (!isCorrelate(of)) throw invalid(name, `correlate has nothing for ${contract.type}`)
    return { contract, correlates: [{ of }], isStart: startedBy.some(({ type }) => type === contract.type) }
  })
  const known = new Set(inputs.map(({ type }) => type))
  const stray = startedBy.find(({ type }) => !known.has(type))
  if (stray !== undefined) throw invalid(name, `${stray.type} starts it and is none of its inputs`)
  return new SagaDefinition({
    name, version, schema: state, migrations: migrationsOf(migrations),
    policies: { ...(early === undefined ? {} : { early }), ...(earlyMaxMs === undefined ? {} : { earlyMaxMs }), ...(late === undefined ? {} : { late }) },
    inputs: mergedInputs(name, inputPlans),
    brain: new DecideBrain({ decide, evolve, outputs, timers, waits, starts: startedBy.map(({ type }) => type), inputs: inputs.map(({ type }) => type) }),
    startState: initialState,
  })
}

function isCorrelate(of: unknown): of is Correlate['of'] {
  return typeof of === 'function'
}
