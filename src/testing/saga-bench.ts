import { defined } from '../contract/contract.ts'
import type { SagaDefinition } from '../saga/definition.ts'
import { SagaFamily } from '../saga/family.ts'
import { type Instance, apply, copied, noInstance } from '../saga/instance.ts'
import type { SagaInput, SagaTransition } from '../saga/port.ts'
import { type SagaEvent, sagaEvents } from '../saga/saga-events.ts'
import { transition } from '../saga/transition.ts'

/** The function that decides everything; another one is for tests of these tools themselves. */
export type TransitionFunction = typeof transition

/** An instance with its stream, as a store would hold it. */
export interface StoredInstance {
  /** As they were read back from their JSON. */
  readonly events: readonly SagaEvent[]
  /** Their fold. */
  readonly instance: Readonly<Instance>
}

/** An alarm, as a store would hold it. */
export interface StoredAlarm {
  readonly instance: string
  readonly timer: string
  readonly token: string
  readonly dueAtMs: number
}

/** All that a saga has outside its definition, as one plain value that is never written to. */
export interface SagaWorld {
  readonly nowMs: number
  readonly instances: ReadonlyMap<string, StoredInstance>
  /** In the order in which they were set. */
  readonly alarms: ReadonlyMap<string, StoredAlarm>
}

/** What came of an input. */
export interface BenchStep {
  readonly world: SagaWorld
  readonly transition: SagaTransition
  /** The events as they are stored. */
  readonly events: readonly SagaEvent[]
}

/** A world in which nothing has happened. */
export function emptyWorld(nowMs: number): SagaWorld {
  return { nowMs, instances: new Map(), alarms: new Map() }
}

/**
 * Does round a transition what the engine does, on plain values: it folds the stored stream, lets the engine's own `transition` decide, and stores
 * events and alarms.
 */
export class SagaBench {
  readonly family: SagaFamily
  readonly #decide: TransitionFunction

  /** @throws `saga.definition_invalid`. */
  constructor(definitions: readonly SagaDefinition[], decide: TransitionFunction = transition) {
    this.family = new SagaFamily('test', definitions)
    this.#decide = decide
  }

  /** What `transition` says, and nothing stored. @throws what it throws. */
  decide(before: StoredInstance | undefined, id: string, input: SagaInput, nowMs: number): SagaTransition {
    const instance = before?.instance ?? noInstance()
    const revision = before === undefined ? undefined : BigInt(before.events.length - 1)
    return this.#decide(this.family.of(instance, id), instance, input, { instance: id, revision, nowMs })
  }

  /** Gives an input to an instance. @throws what `transition` throws: for a message that is its dead letter. */
  give(world: SagaWorld, id: string, input: SagaInput): BenchStep {
    const before = world.instances.get(id)
    const made = this.decide(before, id, input, world.nowMs)
    const events = made.events.map(storedEvent)
    const instances = events.length === 0 ? world.instances : new Map(world.instances).set(id, appended(before, events))
    return { world: { nowMs: world.nowMs, instances, alarms: this.#alarms(world, id, made) }, transition: made, events }
  }

  /** Lets an alarm go off, at its time or, where that has passed, now. */
  wake(world: SagaWorld, key: string, { instance, timer, token, dueAtMs }: StoredAlarm): BenchStep {
    const alarms = new Map(world.alarms)
    alarms.delete(key)
    return this.give({ ...world, nowMs: Math.max(world.nowMs, dueAtMs), alarms }, instance, { kind: 'timer', timer, token })
  }

  #alarms(world: SagaWorld, id: string, { timers, cancelledTimers }: SagaTransition): ReadonlyMap<string, StoredAlarm> {
    if (timers.length === 0 && cancelledTimers.length === 0) return world.alarms
    const alarms = new Map(world.alarms)
    for (const timer of cancelledTimers) alarms.delete(this.family.timerId(id, timer))
    for (const { timer, token, dueAtMs } of timers) {
      // One that takes another's place is set last.
      alarms.delete(this.family.timerId(id, timer))
      alarms.set(this.family.timerId(id, timer), { instance: id, timer, token, dueAtMs })
    }
    return alarms
  }
}

/** The fold of a stream, from its first event on. */
export function folded(events: readonly SagaEvent[]): Instance {
  const instance = noInstance()
  for (const event of events) apply(instance, event)
  return instance
}

function appended(before: StoredInstance | undefined, events: readonly SagaEvent[]): StoredInstance {
  const instance = copied(before?.instance ?? noInstance())
  for (const event of events) apply(instance, event)
  return { events: [...(before?.events ?? []), ...events], instance }
}

/** An event as it is read back: through its contract and JSON. */
function storedEvent<E extends SagaEvent>({ kind, data }: E): SagaEvent {
  const contract = defined(sagaEvents[kind])
  // The contract of this kind has written it, and reads it.
  return { kind, data: contract.decode(contract.version, contract.encode(data).body) } as SagaEvent
}
