import { type AnyCommand, type Contract, type ContractTypes, type EventContract, defined } from '../contract/contract.ts'
import { event } from '../contract/define.ts'
import { isTypeName } from '../contract/names.ts'
import type { Schema } from '../contract/schema.ts'
import { TrunklineError, errorText } from '../core/errors.ts'
import type { Instance } from './instance.ts'
import type { SagaMessage } from './port.ts'
import type { OperatorAction, SagaOutcome, SagaParent } from './saga-events.ts'
import type { SagaHost, Turn } from './turn.ts'

/** What starts, moves or ends a saga. */
export type SagaContract = EventContract | AnyCommand

/** What becomes of messages that come before the one that starts their saga. */
export type EarlyPolicy =
  /** They wait for it in the instance; an alarm goes off where it does not come in time. The default. */
  | 'keep'
  /** They become dead letters at once. */
  | 'deadLetter'
  /** They are dropped, and nothing is recorded. */
  | 'ignore'

/** What becomes of messages that come when their saga has ended and that nothing in it needs any more. */
export type LatePolicy =
  /** They are recorded in the stream and change nothing. The default. */
  | 'ignore'
  /** They become dead letters. */
  | 'deadLetter'

/** What every definition of a saga has beside its logic. */
export interface SagaPolicies {
  /** Default `keep`. */
  readonly early?: EarlyPolicy
  /** Time after which messages that wait for a start raise an alarm, in milliseconds. Default one day. */
  readonly earlyMaxMs?: number
  /** Default `ignore`. */
  readonly late?: LatePolicy
}

/** A message that a saga takes, with what tells its instance. */
export interface InputPlan {
  readonly contract: Contract
  /** One for every place that takes it; all have to tell the same instance. */
  readonly correlates: readonly Correlate[]
  readonly isStart: boolean
}

/** Tells the instance that a message belongs to. */
export interface Correlate {
  /** Called with the message's data and the message. */
  of(data: unknown, message: { readonly parent: SagaParent | undefined; readonly tenant: string | undefined }): unknown
}

/** The logic of a saga: it decides on a turn, and does nothing else. */
export interface SagaBrain {
  /** The first thing to do. The instance has been started. */
  begin(turn: Turn, message: SagaMessage): void
  /** A message while it runs or undoes. */
  message(turn: Turn, message: SagaMessage): void
  /** A message after the end; false where nothing needs it any more. */
  late(turn: Turn, message: SagaMessage): boolean
  /** An alarm that was set and has gone off. */
  timer(turn: Turn, timer: string): void
  /** An operator's wish. @throws `saga.action_refused`. */
  operate(turn: Turn, action: OperatorAction, step: string | undefined, reason: string): void
  /** Whether a message calls the whole off: then it counts before the first step. */
  cancels(type: string): boolean
  /** Whether it still has a step of that name: what an instance of an older version has begun must not get lost. */
  hasStep(step: string): boolean
  /** Names of what an instance waits for, for people. */
  waitsFor(instance: Readonly<Instance>): readonly string[]
  /** Its parts, for drawings. */
  readonly shape: SagaShape
}

/** One part of a saga, for drawings and for the console. JSON. */
export interface SagaPart {
  readonly kind: 'step' | 'wait' | 'group' | 'publish'
  readonly name: string
  readonly sends?: string | undefined
  readonly outcomes?: readonly SagaPartOutcome[] | undefined
  /** What the end of its time means; undefined where it has no time limit. */
  readonly timeout?: 'fails' | 'completes' | undefined
  /** Its time limit in milliseconds, where it is the same for every instance. */
  readonly timeoutMs?: number | undefined
  /** Tries in all, where it is tried more than once. */
  readonly attemptsMax?: number | undefined
  readonly onFailure?: 'compensate' | 'continue' | undefined
  readonly compensation?: SagaPartUndo | undefined
  /** Of a group: how many of its members are needed. */
  readonly need?: number | undefined
  readonly members?: readonly SagaPart[] | undefined
  readonly isConditional?: boolean | undefined
  readonly isRepeated?: boolean | undefined
  /** Name of the saga that it runs. */
  readonly saga?: string | undefined
}

/** A message that a part waits for, for drawings. JSON. */
export interface SagaPartOutcome {
  readonly type: string
  /** `on` where the part is completed by it, `back` where it has failed with it. */
  readonly leads: 'on' | 'back'
}

/** How a part is undone, for drawings. JSON. */
export interface SagaPartUndo {
  readonly sends: string
  readonly outcomes: readonly SagaPartOutcome[]
  /** Undefined where it waits for nothing, or for ever. */
  readonly timeoutMs?: number | undefined
  /** What happens when it has failed for the last time. */
  readonly otherwise: 'park' | 'alert'
}

/** What a saga is made of. JSON. */
export interface SagaShape {
  readonly form: 'steps' | 'process-manager'
  readonly starts: readonly string[]
  readonly cancels: readonly string[]
  readonly parts: readonly SagaPart[]
  readonly inputs: readonly string[]
  readonly outputs: readonly string[]
  readonly timers: readonly string[]
  /** Time for the whole, in milliseconds. */
  readonly timeoutMs?: number | undefined
  /** Set for a process manager that may wait with no alarm set. */
  readonly waits?: 'forever' | undefined
}

/** What a saga tells when it has ended: its parent is who waits for it. */
export interface SagaEnded {
  readonly saga: string
  readonly instance: string
  readonly outcome: SagaOutcome
  readonly reason: string | null
  readonly state: unknown
  readonly parent: SagaParent | null
}

/** The types of a saga's end. */
export interface SagaEndedTypes extends ContractTypes {
  readonly input: SagaEnded
  readonly output: SagaEnded
  readonly replyInput: undefined
  readonly replyOutput: undefined
  readonly errors: object
}

/** Turns the state that an older version left behind into that of this one; see `SagaOptions.migrations`. */
export interface Migration {
  state(old: unknown): unknown
  readonly steps: Readonly<Record<string, string>>
}

/** What a definition is made from. */
export interface DefinitionParts {
  readonly name: string
  readonly version: number
  readonly schema: Schema
  readonly policies: SagaPolicies
  readonly inputs: readonly InputPlan[]
  readonly brain: SagaBrain
  readonly startState: (message: SagaMessage) => unknown
  readonly migrations: ReadonlyMap<number, Migration>
}

/** Longest name of a saga: what groups, types and streams have room for. */
export const SAGA_NAME_MAX = 40
/** Longest correlation id in UTF-8 bytes. */
export const CORRELATION_BYTES_MAX = 128
const EARLY_MAX_MS = 86_400_000
const NAME = /^[a-z][a-z0-9]*(?:-[a-z0-9]+)*$/

/** It is written by the library alone; the state in it has passed the saga's own schema. */
const anyEnd: Schema<SagaEnded> = { '~standard': { version: 1, vendor: 'trunkline', validate: (value) => ({ value: value as SagaEnded }) } }

/**
 * One version of a saga: a value, made by `saga` or `processManager` and run by `runSagas`.
 *
 * It is pure: `transition` runs it without a bus, a store or a clock.
 */
export class SagaDefinition<State = unknown> implements SagaHost {
  /** Carries the type of the state; never set. */
  declare readonly '~state'?: State
  readonly name: string
  readonly version: number
  readonly policies: Required<SagaPolicies>
  readonly inputs: ReadonlyMap<string, InputPlan>
  readonly brain: SagaBrain
  readonly migrations: ReadonlyMap<number, Migration>
  /** Published when an instance ends that another saga has started. */
  readonly ended: EventContract<string, SagaEndedTypes>
  readonly #parts: DefinitionParts
  readonly #state: Contract

  constructor(parts: DefinitionParts) {
    const { name, version, policies } = parts
    if (typeof name !== 'string' || name.length > SAGA_NAME_MAX || !NAME.test(name)) throw invalid(String(name), `its name has to be lower-case words with dashes between, at most ${SAGA_NAME_MAX} characters`)
    if (!Number.isSafeInteger(version) || version < 1) throw invalid(name, `version ${version} is not a whole number from 1`)
    this.name = name
    this.version = version
    this.policies = { early: policies.early ?? 'keep', earlyMaxMs: policies.earlyMaxMs ?? EARLY_MAX_MS, late: policies.late ?? 'ignore' }
    this.inputs = new Map(parts.inputs.map((input) => [input.contract.type, input]))
    this.brain = parts.brain
    this.migrations = parts.migrations
    this.ended = event(`saga-ends.${name}`, { schema: anyEnd })
    this.#parts = parts
    // A contract of its own validates the state and writes it as JSON, as it would any message.
    this.#state = event(`saga-states.${name}`, { schema: parts.schema })
    if (![...this.inputs.values()].some(({ isStart }) => isStart)) throw invalid(name, 'nothing starts it')
    for (const migration of this.migrations.keys()) if (!(migration >= 1 && migration < version)) throw invalid(name, `a migration from version ${migration} to ${version} leads nowhere`)
  }

  /** What it is made of, for drawings. */
  get shape(): SagaShape {
    return this.#parts.brain.shape
  }

  /** Category of the streams of its instances. */
  get category(): string {
    return `saga_${this.name.replaceAll('-', '_')}`
  }

  /** The state as a user's function gets it. @throws `contract.*` where the schema does not take it. */
  readState(stored: unknown): unknown {
    return defined(this.#state).decode(1, Buffer.from(JSON.stringify(stored ?? null)))
  }

  /** The state as it is stored. @throws `contract.*` where the schema does not take it, or JSON cannot hold it. */
  writeState(state: unknown): unknown {
    return JSON.parse(defined(this.#state).encode(state).body.toString())
  }

  /** Data of a message that was stored, lifted and validated. @throws `contract.*`, `bus.type_unhandled`. */
  dataOf({ type, version, data }: { readonly type: string; readonly version: number; readonly data: unknown }): unknown {
    const input = this.inputs.get(type)
    if (input === undefined) throw new TrunklineError('bus.type_unhandled', { type, group: `saga ${this.name}` })
    return defined(input.contract).decode(version, Buffer.from(JSON.stringify(data)))
  }

  /** The state that a starting message gives. @throws what the user's function throws. */
  startState(message: SagaMessage): unknown {
    return this.#parts.startState(message)
  }

  /**
   * The instance that a message belongs to; undefined for the end of a sub-saga that somebody else has started.
   *
   * @throws `saga.correlation_missing`, `saga.correlation_ambiguous`.
   */
  instanceOf(message: SagaMessage): string | undefined {
    const input = this.inputs.get(message.type)
    let found: string | undefined
    for (const correlate of input?.correlates ?? []) {
      const id = this.#correlated(correlate, message)
      if (id === undefined) continue
      if (found !== undefined && id !== found) throw new TrunklineError('saga.correlation_ambiguous', { saga: this.name, type: message.type, id: message.id, instances: [found, id] })
      found = id
    }
    if (found === undefined) return undefined
    // One tenant's ids mean nothing to another one.
    return message.tenant === undefined ? found : `${message.tenant}:${found}`
  }

  #correlated(correlate: Correlate, message: SagaMessage): string | undefined {
    const missing = (problem: string, cause?: unknown): TrunklineError =>
      new TrunklineError('saga.correlation_missing', { saga: this.name, type: message.type, id: message.id, problem }, { cause })
    let id: unknown
    try {
      id = correlate.of(message.data, message)
    } catch (cause) {
      throw missing(`correlate threw: ${errorText(cause).slice(0, 300)}`, cause)
    }
    if (id === NOT_MINE) return undefined
    if (typeof id !== 'string' || id === '') throw missing(`correlate gave ${typeof id === 'string' ? 'an empty text' : typeof id}`)
    if (Buffer.byteLength(id) > CORRELATION_BYTES_MAX) throw missing(`it is longer than ${CORRELATION_BYTES_MAX} bytes`)
    return id
  }
}

/** What a correlation gives for a message that belongs to no instance of this saga, and is no mistake. */
export const NOT_MINE: unique symbol = Symbol('not mine')

/** @throws `saga.definition_invalid` for a name that is no kebab-case word. */
export function checkedPart(saga: string, what: string, name: string): string {
  if (typeof name === 'string' && name.length <= 60 && NAME.test(name)) return name
  throw invalid(saga, `the ${what} ${JSON.stringify(name)} has to be lower-case words with dashes between, at most 60 characters`)
}

/** The inputs of several places, one for each contract. @throws `saga.definition_invalid` for two contracts of one type. */
export function mergedInputs(saga: string, inputs: readonly InputPlan[]): readonly InputPlan[] {
  const merged = new Map<string, InputPlan>()
  for (const input of inputs) {
    const { type } = input.contract
    const kind: string = input.contract.kind
    if (!isTypeName(type) || kind === 'query') throw invalid(saga, `${type} is no event or command`)
    const known = merged.get(type)
    if (known !== undefined && known.contract.fingerprint !== input.contract.fingerprint) throw invalid(saga, `two contracts are called ${type}`)
    merged.set(type, known === undefined ? input : { contract: known.contract, correlates: [...known.correlates, ...input.correlates], isStart: known.isStart || input.isStart })
  }
  return [...merged.values()]
}

/** The error of a definition that cannot be run. */
export function invalid(saga: string, problem: string): TrunklineError<'saga.definition_invalid'> {
  return new TrunklineError('saga.definition_invalid', { saga: saga.slice(0, 100), problem })
}
