import { deepEqual, equal, fail } from 'node:assert/strict'
import type { DataInput } from '../contract/contract.ts'
import { TrunklineError, assert, errorText, isTrunklineError } from '../core/errors.ts'
import type { SagaContract, SagaDefinition } from '../saga/definition.ts'
import { type Instance, type SagaStatus, noInstance } from '../saga/instance.ts'
import type { SagaMessage, SagaOutgoing } from '../saga/port.ts'
import type { OperatorAction, SagaEvent, SagaEventKind, SagaOutcome } from '../saga/saga-events.ts'
import { type Duration, durationMs, durationText } from './duration.ts'
import { type BenchStep, SagaBench, type SagaWorld, type StoredAlarm, emptyWorld } from './saga-bench.ts'
import { type TestMessage, type TestMessageOptions, arriving, plainMessage } from './saga-message.ts'

/** A message that a saga did not take. */
export interface SagaDeadLetter {
  readonly type: string
  readonly id: string
  readonly code: string
  readonly reason: string
}

/** What a scenario can be told. */
export interface SagaScenarioOptions {
  /** The time at the start, in milliseconds since 1970. Default 1,700,000,000,000. */
  readonly startMs?: number
}

/** Who acts in a test, and why. */
export interface TestOperatorNote {
  /** Default `test`. */
  readonly by?: string
  /** Default `test`. */
  readonly reason?: string
  /** The step that is meant. Default: the one that is under way. */
  readonly step?: string
}

const START_MS = 1_700_000_000_000
/** Alarms that one `advance` lets go off: beyond it something goes round in circles. */
const ALARMS_MAX = 100_000

/** What happened by the last `when`, `whenAgain`, `whenOperator` or `advance`. */
interface Happened {
  readonly sent: readonly SagaOutgoing[]
  readonly events: readonly SagaEvent[]
  readonly deadLetters: readonly SagaDeadLetter[]
}

interface ScenarioParts {
  readonly definitions: readonly SagaDefinition[]
  readonly bench: SagaBench
  readonly world: SagaWorld
  /** The instance that assertions are about. */
  readonly focus: string | undefined
  readonly given: readonly SagaMessage[]
  readonly last: Happened
}

const NOTHING: Happened = { sent: [], events: [], deadLetters: [] }

/**
 * A saga in a test: it is given messages, time and operators' wishes, and what it makes of them is compared. What decides is the function that decides in
 * production, and what it decides on is read back from what was stored.
 *
 * It is a value: every `when` gives a new one, so that several tests can go on from one. Assertions are about what the last of them brought, and about the
 * instance that the last message belonged to; they throw an `AssertionError` of `node:assert` that shows both sides.
 */
export class SagaScenario<State = unknown> {
  readonly #parts: ScenarioParts

  constructor(parts: ScenarioParts) {
    this.#parts = parts
  }

  /** Gives it a message. @throws `bus.type_unhandled` for one that the saga does not take, `contract.*` for data that does not fit. */
  when<C extends SagaContract>(contract: C, data: DataInput<C>, options: TestMessageOptions = {}): SagaScenario<State> {
    const { definitions, given } = this.#parts
    return this.#deliver(arriving(definitions, { contract, data }, `message-${given.length + 1}`, options))
  }

  /** Gives it a message once more, as a broker does: with the same id. Default: the last one; 1 is the first that was given. */
  whenAgain(number?: number): SagaScenario<State> {
    const { given } = this.#parts
    const again = number === undefined ? given.at(-1) : given[number - 1]
    if (again === undefined) throw new TrunklineError('core.option_invalid', { option: 'given to whenAgain', expected: `a number from 1 to ${given.length}`, actual: String(number) })
    return this.#deliver(again)
  }

  /** Gives it an operator's wish. @throws `saga.action_refused`. */
  whenOperator(action: OperatorAction, { by = 'test', reason = 'test', step }: TestOperatorNote = {}): SagaScenario<State> {
    const { bench, world, focus } = this.#parts
    if (focus === undefined) throw new TrunklineError('saga.instance_missing', { saga: bench.family.name, instance: '' })
    const id = `operator-${world.instances.get(focus)?.events.length ?? 0}`
    return this.#after([bench.give(world, focus, { kind: 'operator', action, id, by, reason, step })])
  }

  /** Lets time go by, and every alarm go off at its time. @throws `core.option_invalid` for a time that means nothing. */
  advance(duration: Duration | number): SagaScenario<State> {
    const { bench } = this.#parts
    let { world } = this.#parts
    const untilMs = world.nowMs + durationMs(duration)
    const steps: BenchStep[] = []
    for (let next = earliest(world); next !== undefined && next[1].dueAtMs <= untilMs; next = earliest(world)) {
      assert(steps.length < ALARMS_MAX, 'alarms come to an end')
      const step = bench.wake(world, ...next)
      steps.push(step)
      world = step.world
    }
    return this.#after([...steps], { ...world, nowMs: untilMs })
  }

  /** Goes on with other versions of the saga, as after a deployment. What is running runs by its own version, or by the newest where that has a migration. */
  deploy<S>(newest: SagaDefinition<S>, ...older: readonly SagaDefinition[]): SagaScenario<S> {
    const definitions = [...older, newest]
    return new SagaScenario<S>({ ...this.#parts, definitions, bench: new SagaBench(definitions), last: NOTHING })
  }

  /** Turns to another instance. */
  of(instance: string): SagaScenario<State> {
    return new SagaScenario<State>({ ...this.#parts, focus: instance })
  }

  /** The instance that assertions are about. */
  get instance(): Readonly<Instance> {
    const { world, focus } = this.#parts
    return world.instances.get(focus ?? '')?.instance ?? noInstance()
  }

  /** Its state, as the saga's functions get it. @throws `contract.*` where the schema does not take it. */
  get state(): State {
    const { bench } = this.#parts
    // The definition that reads it is the one whose type this is.
    return bench.family.of(this.instance, this.#parts.focus ?? '').readState(this.instance.state) as State
  }

  /** Its whole stream. */
  get history(): readonly SagaEvent[] {
    const { world, focus } = this.#parts
    return world.instances.get(focus ?? '')?.events ?? []
  }

  /** What left last, in order. */
  get sent(): readonly SagaOutgoing[] {
    return this.#parts.last.sent
  }

  /** What was recorded last, in order. */
  get events(): readonly SagaEvent[] {
    return this.#parts.last.events
  }

  /** Alarms that are set, each with the milliseconds until it goes off. */
  get alarms(): Readonly<Record<string, number>> {
    const { world, focus } = this.#parts
    const mine = [...world.alarms.values()].filter(({ instance }) => instance === focus)
    return Object.fromEntries(mine.map(({ timer, dueAtMs }) => [timer, Math.max(0, dueAtMs - world.nowMs)]))
  }

  /** The time, in milliseconds since 1970. */
  get nowMs(): number {
    return this.#parts.world.nowMs
  }

  /** Exactly these commands and events left, in this order. Nothing, where none is named. */
  thenSends(...expected: readonly TestMessage[]): this {
    deepEqual(this.sent.map(plainMessage), expected.map(plainMessage))
    return this
  }

  /** Exactly these alarms are set, by name as in `inspect()`, with the time until each goes off. */
  thenAlarms(expected: Readonly<Record<string, Duration | number>>): this {
    const texts = (alarms: Readonly<Record<string, Duration | number>>): object => Object.fromEntries(Object.entries(alarms).map(([timer, duration]) => [timer, durationText(durationMs(duration))]))
    deepEqual(texts(this.alarms), texts(expected))
    return this
  }

  /** Its state is this. */
  thenState(expected: State): this {
    deepEqual(this.state, expected)
    return this
  }

  /** It is in this part of its life. */
  thenIs(expected: SagaStatus | 'none'): this {
    equal(this.instance.status, expected, `it is ${this.#told()}, not ${expected}`)
    return this
  }

  /** Exactly these runs and alarms are waited for, as in `inspect()`. */
  thenWaitsFor(...expected: readonly string[]): this {
    const { bench, focus } = this.#parts
    deepEqual(bench.family.of(this.instance, focus ?? '').brain.waitsFor(this.instance), expected)
    return this
  }

  /** It has ended like this; with `reason`, for this reason. */
  thenEnds(outcome: SagaOutcome, reason?: string): this {
    const { status, outcome: actual } = this.instance
    if (status !== 'ended' || actual !== outcome) fail(`it is ${this.#told()}, and has not ended as ${outcome}`)
    if (reason !== undefined) equal(this.instance.reason, reason)
    return this
  }

  /** It stands still, with an error of this code. */
  thenQuarantined(code: string): this {
    const { quarantine, status } = this.instance
    if (status !== 'quarantined' || quarantine?.code !== code) fail(`it is ${this.#told()}, and not quarantined for ${code}`)
    return this
  }

  /** Exactly these events were recorded, in this order, after the mark of each input. Nothing, where none is named. */
  thenRecords(...expected: readonly Exclude<SagaEventKind, 'input-handled'>[]): this {
    deepEqual(this.events.map(({ kind }) => kind).filter((kind) => kind !== 'input-handled'), expected)
    return this
  }

  /** Nothing came of it: nothing left, no alarm was set or taken back, and nothing was recorded but that the message is not needed. */
  thenIgnored(): this {
    const { sent, events, deadLetters } = this.#parts.last
    const recorded = events.map(({ kind }) => kind).filter((kind) => kind !== 'input-handled' && kind !== 'message-ignored')
    deepEqual({ sent: sent.map(plainMessage), recorded, deadLetters }, { sent: [], recorded: [], deadLetters: [] })
    return this
  }

  /** The message became a dead letter, with an error of this code. */
  thenDeadLetter(code: string): this {
    const { deadLetters } = this.#parts.last
    if (!deadLetters.some((letter) => letter.code === code)) fail(deadLetters.length === 0 ? `it was no dead letter; it is ${this.#told()}` : `it was a dead letter for ${JSON.stringify(deadLetters)}`)
    return this
  }

  #told(): string {
    const { status, outcome, reason, quarantine } = this.instance
    if (status === 'quarantined') return `quarantined for ${quarantine?.code}: ${quarantine?.reason}`
    const { deadLetters } = this.#parts.last
    const letters = deadLetters.map(({ type, reason: why }) => `, and ${type} is a dead letter: ${why}`).join('')
    return `${status}${status === 'ended' ? ` as ${outcome}` : ''}${reason === undefined ? '' : ` (${reason})`}${letters}`
  }

  #deliver(message: SagaMessage): SagaScenario<State> {
    const { bench, world, given } = this.#parts
    const { family } = bench
    let { focus } = this.#parts
    try {
      const id = family.instanceOf(message)
      if (id === undefined) return new SagaScenario<State>({ ...this.#parts, given: [...given, message], last: NOTHING })
      focus = id
      return new SagaScenario<State>({ ...this.#parts, given: [...given, message], focus }).#after([bench.give(world, id, { kind: 'message', message })])
    } catch (error) {
      if (!isTrunklineError(error) || error.disposition !== 'reject') throw error
      const letter = { type: message.type, id: message.id, code: error.code, reason: errorText(error) }
      return new SagaScenario<State>({ ...this.#parts, given: [...given, message], focus, last: { ...NOTHING, deadLetters: [letter] } })
    }
  }

  #after(steps: readonly BenchStep[], world: SagaWorld = steps.at(-1)?.world ?? this.#parts.world): SagaScenario<State> {
    const last = { sent: steps.flatMap(({ transition }) => transition.outgoing), events: steps.flatMap(({ events }) => events), deadLetters: [] }
    return new SagaScenario<State>({ ...this.#parts, world, last })
  }
}

/**
 * Tests a saga without a bus, a store or a clock:
 * `givenSaga(order).when(Placed, { orderId }).thenSends(message(Reserve, { orderId })).advance('30s').thenEnds('compensated')`.
 *
 * @throws `saga.definition_invalid`.
 */
export function givenSaga<State>(definition: SagaDefinition<State>, { startMs = START_MS }: SagaScenarioOptions = {}): SagaScenario<State> {
  return new SagaScenario<State>({ definitions: [definition], bench: new SagaBench([definition]), world: emptyWorld(startMs), focus: undefined, given: [], last: NOTHING })
}

function earliest({ alarms }: SagaWorld): readonly [string, StoredAlarm] | undefined {
  let found: readonly [string, StoredAlarm] | undefined
  for (const one of alarms) if (found === undefined || one[1].dueAtMs < found[1].dueAtMs) found = one
  return found
}
