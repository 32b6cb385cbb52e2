import type { Clock } from '../core/clock.ts'
import { isTrunklineError } from '../core/errors.ts'
import type { SagaDefinition } from '../saga/definition.ts'
import type { SagaInput, SagaMessage, SagaTransition } from '../saga/port.ts'
import type { SagaEvent, SagaOutcome } from '../saga/saga-events.ts'
import { type BenchStep, SagaBench, type SagaWorld, type StoredAlarm, type TransitionFunction, emptyWorld } from './saga-bench.ts'
import type { Counterexample, ExplorationResult, ExploreBound, ExploreProgress } from './saga-exploration.ts'
import type { TestMessage, TestReply } from './saga-message.ts'
import { type BrokenRule, type DeclaredEnds, SagaRules, declaredEnds, isParked } from './saga-rules.ts'
import { type ExploredState, type Unanswered, comingMessages, messageKey, stateHash, unansweredOf } from './saga-state.ts'
import { type ExploredCause, moveLines } from './saga-trace.ts'

/** What a search is made for; every option has its value. */
export interface SearchPlan {
  readonly start: TestMessage
  readonly answers: readonly TestReply[]
  readonly mayCome: readonly TestMessage[]
  readonly duplicates: number
  readonly crashes: boolean
  readonly ends: readonly SagaOutcome[] | undefined
  readonly bound: Required<ExploreBound>
  readonly onProgress: ((progress: ExploreProgress) => void) | undefined
  readonly clock: Clock
}

/** How a state was first reached, to tell it later. */
interface Move {
  readonly cause: ExploredCause
  readonly made: Pick<SagaTransition, 'outgoing' | 'timers' | 'cancelledTimers'>
  readonly events: readonly SagaEvent[]
  readonly nowMs: number
}

interface Node {
  /** Taken away when it was looked at, to free its memory. */
  state: ExploredState | undefined
  readonly parent: Node | undefined
  readonly move: Move | undefined
  readonly depth: number
  /** Every state that leads here. */
  readonly from: Node[]
  end: SagaOutcome | 'parked' | undefined
}

/** Something that can happen next: the state after it and how it came about, or the rule that it breaks. */
interface Next {
  readonly state: ExploredState
  readonly move: Move
  readonly broken: BrokenRule | undefined
}

const START_MS = 1_700_000_000_000
const PROGRESS_STATES = 100
const NO_TRANSITION: Move['made'] = { outgoing: [], timers: [], cancelledTimers: [] }

/** Looks at all states of a saga, those that are fewer moves away first, so that the first counterexample is a shortest one. */
export class SagaSearch {
  readonly #definition: SagaDefinition
  readonly #plan: SearchPlan
  readonly #bench: SagaBench
  readonly #ends: DeclaredEnds
  readonly #rules: SagaRules
  readonly #seen = new Map<string, Node>()
  readonly #queue: Node[] = []
  readonly #instance: string | undefined
  #transitions = 0
  #depth = 0

  /** @throws `bus.type_unhandled`, `contract.*`, `saga.correlation_missing` for a start that the saga does not take. */
  constructor(decide: TransitionFunction, definition: SagaDefinition, plan: SearchPlan) {
    this.#definition = definition
    this.#plan = plan
    this.#bench = new SagaBench([definition], decide)
    const given = plan.ends === undefined ? undefined : new Set(plan.ends)
    this.#ends = given === undefined ? declaredEnds(definition.shape) : { required: given, allowed: given }
    this.#rules = new SagaRules(definition, this.#ends.allowed, plan.crashes)
    const coming = comingMessages(definition, [plan.start, ...plan.mayCome])
    const [start] = coming
    this.#instance = start === undefined ? undefined : this.#bench.family.instanceOf(start)
    this.#found({ world: emptyWorld(START_MS), coming, unanswered: [], delivered: [], duplicatesLeft: plan.duplicates }, undefined, undefined)
  }

  /** Searches until a rule is broken, all is seen, or a bound is reached. */
  run(): ExplorationResult {
    const { bound, clock } = this.#plan
    const untilMs = clock.monotonicMs() + bound.timeMaxMs
    let reached: keyof ExploreBound | undefined
    for (let at = 0; at < this.#queue.length; at++) {
      const node = this.#queue[at]
      if (node === undefined) continue
      this.#depth = Math.max(this.#depth, node.depth)
      if (this.#seen.size > bound.statesMax) return this.#result('statesMax', undefined)
      if (clock.monotonicMs() > untilMs) return this.#result('timeMaxMs', undefined)
      if (at > 0 && at % PROGRESS_STATES === 0) this.#plan.onProgress?.({ states: this.#seen.size, transitions: this.#transitions, depth: this.#depth, waiting: this.#queue.length - at })
      if (node.depth >= bound.depthMax) {
        reached = 'depthMax'
        continue
      }
      const counterexample = this.#expand(node)
      if (counterexample !== undefined) return this.#result(reached, counterexample)
      node.state = undefined
    }
    return this.#result(reached, reached === undefined ? (this.#endless() ?? this.#unreached()) : undefined)
  }

  /** Looks at everything that can happen in a state. */
  #expand(node: Node): Counterexample | undefined {
    const { state } = node
    if (state === undefined || node.end === 'parked') return undefined
    let count = 0
    for (const next of this.#nexts(state)) {
      count++
      this.#transitions++
      if (next.broken !== undefined) return counterexample(next.broken, node, next.move)
      this.#found(next.state, node, next.move)
    }
    if (count > 0 || node.end !== undefined) return undefined
    return counterexample({ fault: 'stuck', problem: `nothing can happen any more, and it is ${this.#status(state.world)}` }, node, undefined)
  }

  #found(state: ExploredState, parent: Node | undefined, move: Move | undefined): void {
    const hash = stateHash(state, this.#rules.undoable)
    const known = this.#seen.get(hash)
    if (known !== undefined) {
      if (parent !== undefined) known.from.push(parent)
      return
    }
    const node = { state, parent, move, depth: parent === undefined ? 0 : parent.depth + 1, from: parent === undefined ? [] : [parent], end: this.#endOf(state.world) }
    this.#seen.set(hash, node)
    this.#queue.push(node)
  }

  *#nexts(state: ExploredState): Generator<Next, void, undefined> {
    const { coming, unanswered, delivered, duplicatesLeft, world } = state
    for (const message of distinct(coming, messageKey)) yield this.#deliver({ ...state, coming: without(coming, message) }, message, 'comes')
    for (const one of distinct(unanswered, ({ key }) => key)) {
      for (const answer of one.possible) yield this.#deliver({ ...state, unanswered: without(unanswered, one) }, answer, 'answers')
    }
    for (const [key, alarm] of world.alarms) yield this.#wake(state, key, alarm)
    if (duplicatesLeft === 0) return
    for (const message of distinct(delivered, messageKey)) {
      const next = this.#deliver({ ...state, duplicatesLeft: duplicatesLeft - 1, delivered: without(delivered, message) }, message, 'comes again')
      // One that changes nothing leads to the same state, and uses nothing up.
      if (next.move.events.length > 0) yield next
    }
  }

  #deliver(state: ExploredState, message: SagaMessage, how: 'comes' | 'answers' | 'comes again'): Next {
    const cause = { kind: 'message', message, how } as const
    const delivered = [...state.delivered, message]
    let given: { readonly id: string; readonly step: BenchStep } | undefined
    let broken: BrokenRule | undefined
    try {
      const id = this.#bench.family.instanceOf(message)
      given = id === undefined ? undefined : { id, step: this.#bench.give(state.world, id, { kind: 'message', message }) }
    } catch (error) {
      if (!isTrunklineError(error) || error.disposition !== 'reject') throw error
      const isPolicy = error.code === 'saga.message_refused' && error.cause === undefined
      broken = isPolicy ? undefined : { fault: 'broken', problem: `${message.type} is a dead letter: ${error.message}` }
    }
    if (given !== undefined) return this.#after({ ...state, delivered }, given.id, { kind: 'message', message }, given.step, cause)
    return { state: { ...state, delivered }, move: { cause, made: NO_TRANSITION, events: [], nowMs: state.world.nowMs }, broken }
  }

  #wake(state: ExploredState, key: string, alarm: StoredAlarm): Next {
    const { instance, timer, token, dueAtMs } = alarm
    const cause = { kind: 'alarm', timer, afterMs: Math.max(0, dueAtMs - state.world.nowMs) } as const
    return this.#after(state, instance, { kind: 'timer', timer, token }, this.#bench.wake(state.world, key, alarm), cause)
  }

  #after(state: ExploredState, id: string, input: SagaInput, step: BenchStep, cause: ExploredCause): Next {
    const { world, transition, events } = step
    const move = { cause, made: transition, events, nowMs: world.nowMs }
    const broken = this.#rules.ofStep(this.#bench, state.world, id, input, step)
    if (broken !== undefined) return { state, move, broken }
    const unanswered: readonly Unanswered[] = [...state.unanswered, ...unansweredOf(this.#definition, this.#plan.answers, transition.outgoing)]
    return { state: { ...state, world, unanswered }, move, broken: undefined }
  }

  /** A state from which no way leads to an end. Only where all states were looked at. */
  #endless(): Counterexample | undefined {
    const open = this.#queue.filter(({ end }) => end !== undefined)
    const ending = new Set(open)
    for (let node = open.pop(); node !== undefined; node = open.pop()) {
      for (const from of node.from) {
        if (ending.has(from)) continue
        ending.add(from)
        open.push(from)
      }
    }
    const endless = this.#queue.find((node) => !ending.has(node))
    return endless === undefined ? undefined : counterexample({ fault: 'endless', problem: 'no way leads to an end from here' }, endless, undefined)
  }

  #unreached(): Counterexample | undefined {
    const reached = new Set(this.#queue.map(({ end }) => end))
    const never = [...this.#ends.required].filter((end) => !reached.has(end))
    if (never.length === 0) return undefined
    return { fault: 'unreached-end', problem: `it never ends as ${never.join(' or as ')}, whatever answers come and whatever else may come`, trace: '' }
  }

  #result(reached: keyof ExploreBound | undefined, counterexample: Counterexample | undefined): ExplorationResult {
    const ends = { completed: 0, compensated: 0, cancelled: 0, failed: 0, parked: 0 }
    for (const { end } of this.#queue) if (end !== undefined) ends[end]++
    return { states: this.#seen.size, transitions: this.#transitions, depth: this.#depth, isComplete: reached === undefined && counterexample === undefined, reached, ends, counterexample }
  }

  #endOf(world: SagaWorld): SagaOutcome | 'parked' | undefined {
    const instance = world.instances.get(this.#instance ?? '')?.instance
    if (instance === undefined) return undefined
    if (isParked(instance)) return 'parked'
    return instance.status === 'ended' ? instance.outcome : undefined
  }

  #status(world: SagaWorld): string {
    return world.instances.get(this.#instance ?? '')?.instance.status ?? 'not there'
  }
}

function counterexample({ fault, problem }: BrokenRule, node: Node, last: Move | undefined): Counterexample {
  const moves: Move[] = last === undefined ? [] : [last]
  for (let at: Node | undefined = node; at?.move !== undefined; at = at.parent) moves.unshift(at.move)
  const lines = moves.flatMap(({ cause, made, events, nowMs }, at) => moveLines(at + 1, cause, made, events, nowMs))
  return { fault, problem, trace: lines.join('\n') }
}

function distinct<T>(all: readonly T[], key: (one: T) => string): readonly T[] {
  return [...new Map(all.map((one) => [key(one), one])).values()]
}

function without<T>(all: readonly T[], one: T): readonly T[] {
  const at = all.indexOf(one)
  return at < 0 ? all : all.toSpliced(at, 1)
}
