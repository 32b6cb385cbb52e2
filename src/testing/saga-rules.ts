import { isDeepStrictEqual } from 'node:util'
import { isTrunklineError } from '../core/errors.ts'
import type { SagaDefinition, SagaPart, SagaShape } from '../saga/definition.ts'
import { type Instance, handledKey } from '../saga/instance.ts'
import type { SagaInput, SagaTransition } from '../saga/port.ts'
import type { SagaEvent, SagaOutcome } from '../saga/saga-events.ts'
import { undoableSteps } from './saga-audit.ts'
import { type BenchStep, type SagaBench, type SagaWorld, folded } from './saga-bench.ts'
import { auditOf, canonical } from './saga-state.ts'

/** What can be wrong with a saga. */
export type SagaFault =
  /** It waits, and nothing would wake it if no message came. */
  | 'unguarded-wait'
  /** Nothing can happen any more, and it has not ended. */
  | 'stuck'
  /** It can go on for ever, and no way leads to an end from there. */
  | 'endless'
  /** An alarm stands in its stream and is not set, or is set and does not stand in its stream. */
  | 'alarm-lost'
  /** A function of it failed, so that it was quarantined. */
  | 'broken'
  /** It ended in a way that was not declared. */
  | 'undeclared-end'
  /** An end that was declared is never reached. */
  | 'unreached-end'
  /** Its stream tells something twice, or that something was undone wrongly or not at all. */
  | 'history'
  /** The same input to the same stream gave something else, as after a crash. */
  | 'not-repeatable'
  /** An input that was handled was handled again. */
  | 'handled-again'
  /** A message left no trace, or one that told of an effect was passed over. */
  | 'forgotten'

/** A rule that was broken. */
export interface BrokenRule {
  readonly fault: SagaFault
  readonly problem: string
}

/** Time that passes between a crash and the next try, in the check that it gives the same. */
const CRASH_MS = 61_000

/** The rules that every state and every transition of a saga has to keep. */
export class SagaRules {
  readonly undoable: ReadonlySet<string>
  readonly #shape: SagaShape
  readonly #parts: ReadonlyMap<string, SagaPart>
  /** The ends that may be reached; undefined where any may. */
  readonly #ends: ReadonlySet<SagaOutcome> | undefined
  readonly #crashes: boolean

  constructor(definition: SagaDefinition, ends: ReadonlySet<SagaOutcome> | undefined, crashes: boolean) {
    this.#shape = definition.shape
    this.#parts = new Map(definition.shape.parts.flatMap((part) => part.members ?? [part]).map((part) => [part.name, part]))
    this.undoable = undoableSteps(definition.shape)
    this.#ends = ends
    this.#crashes = crashes
  }

  /** The first rule that a transition breaks. */
  ofStep(bench: SagaBench, before: SagaWorld, id: string, input: SagaInput, step: BenchStep): BrokenRule | undefined {
    return this.ofWorld(step.world, id) ?? this.#ofMessage(before, id, input, step) ?? (this.#crashes ? this.#ofCrash(bench, before, id, input, step) : undefined)
  }

  /** The first rule that an instance breaks as it is stored. */
  ofWorld(world: SagaWorld, id: string): BrokenRule | undefined {
    const stored = world.instances.get(id)
    if (stored === undefined) return undefined
    const { instance } = stored
    const { problem } = auditOf(stored, this.undoable)
    if (problem !== undefined) return { fault: 'history', problem }
    const { status, quarantine, outcome } = instance
    if (status === 'quarantined') return isParked(instance) ? undefined : { fault: 'broken', problem: `it is quarantined for ${quarantine?.code}: ${quarantine?.reason}` }
    if (status === 'ended' && outcome !== undefined && this.#ends?.has(outcome) === false) return { fault: 'undeclared-end', problem: `it ended as ${outcome}, which is none of the ends ${[...this.#ends].join(', ')}` }
    return this.#ofAlarms(world, id, instance)
  }

  /** A success that comes late must not be passed over: the effect is there. */
  #ofMessage(before: SagaWorld, id: string, input: SagaInput, { events }: BenchStep): BrokenRule | undefined {
    const instance = before.instances.get(id)?.instance
    if (input.kind !== 'message' || instance === undefined || instance.handled.includes(handledKey(input.message))) return undefined
    const { type } = input.message
    if (events.length === 0 && instance.version > 0) return { fault: 'forgotten', problem: `${type} left no trace` }
    if (!events.some(({ kind }) => kind === 'message-ignored')) return undefined
    // Where one of several runs has had its answer, only the saga's own functions know whose this one is.
    const runs = instance.runs.filter(({ step }) => this.#parts.get(step)?.outcomes?.some((outcome) => outcome.type === type && outcome.leads === 'on') === true)
    const isUnknown = runs.length > 0 && runs.every(({ status }) => status === 'timed-out' || status === 'abandoned')
    return isUnknown ? { fault: 'forgotten', problem: `${type} says that ${runs[0]?.run} took effect after all, and was passed over` } : undefined
  }

  #ofAlarms(world: SagaWorld, id: string, instance: Readonly<Instance>): BrokenRule | undefined {
    const alarms = [...world.alarms.values()].filter((one) => one.instance === id)
    const lost = Object.entries(instance.timers).find(([timer, { token }]) => !alarms.some((alarm) => alarm.timer === timer && alarm.token === token))
    if (lost !== undefined) return { fault: 'alarm-lost', problem: `the alarm ${lost[0]} stands in the stream, and the store does not have it` }
    const left = alarms.find(({ timer, token }) => instance.timers[timer]?.token !== token)
    if (left !== undefined) return { fault: 'alarm-lost', problem: `the store has the alarm ${left.timer}, and it does not stand in the stream` }
    const isWaiting = instance.status === 'running' || instance.status === 'compensating'
    if (!isWaiting || alarms.length > 0 || this.#mayWaitForEver(instance)) return undefined
    return { fault: 'unguarded-wait', problem: `it waits with no alarm set: if no message came, it would wait for ever` }
  }

  /** Whether something that is waited for says of itself that it may wait for ever. */
  #mayWaitForEver({ runs }: Readonly<Instance>): boolean {
    if (this.#shape.form === 'process-manager') return this.#shape.waits === 'forever'
    return runs.some(({ step, status, undo }) => {
      const part = this.#parts.get(step)
      const waits = status === 'running' && part?.timeout === undefined && (part?.outcomes?.length ?? 0) > 0
      const undoWaits = undo?.status === 'running' && part?.compensation?.timeoutMs === undefined && (part?.compensation?.outcomes.length ?? 0) > 0
      return waits || undoWaits
    })
  }

  /** A crash before the commit, and one after it: the input comes again, and finds the stream as it was, or as it is. */
  #ofCrash(bench: SagaBench, before: SagaWorld, id: string, input: SagaInput, { world, transition: made }: BenchStep): BrokenRule | undefined {
    const stored = before.instances.get(id)
    const refolded = stored === undefined ? undefined : { events: stored.events, instance: folded(stored.events) }
    if (!isDeepStrictEqual(refolded?.instance, stored?.instance)) return { fault: 'not-repeatable', problem: 'its stream, folded from the first event on, gives another instance' }
    const again = bench.decide(refolded, id, input, world.nowMs + CRASH_MS)
    if (!isDeepStrictEqual(timeless(again.events), timeless(made.events))) return { fault: 'not-repeatable', problem: `after a crash the same input gave other events: ${difference(made, again)}` }
    if (!isDeepStrictEqual(idsOf(again), idsOf(made))) return { fault: 'not-repeatable', problem: `after a crash the same input sent other messages: ${idsOf(made).join(', ')} and then ${idsOf(again).join(', ')}` }
    const woken = this.#ofTakenBack(bench, before, world, id, input)
    if (woken !== undefined) return woken
    return made.events.length === 0 ? undefined : this.#ofRepetition(bench, world, id, input)
  }

  /** An alarm that was taken back may have been on its way already. */
  #ofTakenBack(bench: SagaBench, before: SagaWorld, after: SagaWorld, id: string, input: SagaInput): BrokenRule | undefined {
    const known = new Set([...after.alarms.values()].map(({ token }) => token))
    for (const { instance, timer, token } of before.alarms.values()) {
      if (instance !== id || known.has(token) || (input.kind === 'timer' && input.token === token)) continue
      const { events } = bench.decide(after.instances.get(id), id, { kind: 'timer', timer, token }, after.nowMs)
      if (events.length > 0) return { fault: 'handled-again', problem: `the alarm ${timer} was taken back, and counted when it went off nevertheless: ${events.map(({ kind }) => kind).join(', ')}` }
    }
    return undefined
  }

  #ofRepetition(bench: SagaBench, after: SagaWorld, id: string, input: SagaInput): BrokenRule | undefined {
    try {
      const { events, outgoing } = bench.decide(after.instances.get(id), id, input, after.nowMs)
      if (events.length === 0 && outgoing.length === 0) return undefined
      return { fault: 'handled-again', problem: `after a crash the same input was handled again: ${events.map(({ kind }) => kind).join(', ')}` }
    } catch (error) {
      if (!isTrunklineError(error)) throw error
      return { fault: 'handled-again', problem: `after a crash the same input was not recognised: ${error.message}` }
    }
  }
}

/** Whether it stands still because a compensation failed for the last time, as its policy says. */
export function isParked({ status, quarantine }: Readonly<Instance>): boolean {
  return status === 'quarantined' && quarantine?.code === 'saga.compensation_failed'
}

/** Ends of a definition. */
export interface DeclaredEnds {
  /** Those that some run has to reach. */
  readonly required: ReadonlySet<SagaOutcome>
  /** Those that a run may reach; undefined where any may. */
  readonly allowed: ReadonlySet<SagaOutcome> | undefined
}

/** The ends that follow from a definition; for a process manager, whose functions alone know, none and any. */
export function declaredEnds({ form, parts, cancels, timeoutMs }: SagaShape): DeclaredEnds {
  if (form === 'process-manager') return { required: new Set(), allowed: undefined }
  const steps = parts.flatMap((part) => part.members ?? [part])
  const canFail = ({ onFailure, timeout, outcomes = [] }: SagaPart): boolean => onFailure === 'compensate' && (timeout === 'fails' || outcomes.some(({ leads }) => leads === 'back'))
  const fails = timeoutMs !== undefined || steps.some(canFail)
  const given = (isTold: boolean, outcome: SagaOutcome): readonly SagaOutcome[] => (isTold ? [outcome] : [])
  const undone = [...given(fails, 'compensated'), ...given(cancels.length > 0, 'cancelled')]
  const alerts = steps.filter(({ compensation }) => compensation?.otherwise === 'alert' && compensation.outcomes.length > 0)
  const required = new Set<SagaOutcome>(['completed', ...undone, ...given(undone.length > 0 && alerts.some(({ compensation }) => compensation?.timeoutMs !== undefined), 'failed')])
  return { required, allowed: new Set([...required, ...given(alerts.length > 0, 'failed')]) }
}

function idsOf({ outgoing }: SagaTransition): readonly string[] {
  return outgoing.map(({ id, contract, data }) => `${contract.type} ${id} ${canonical(data)}`)
}

/** Events without the times at which they happened or fall due: those are later after a crash. */
function timeless(events: readonly SagaEvent[]): readonly unknown[] {
  return events.map(({ kind, data }) => (kind === 'input-handled' ? { kind, data: { ...data, atMs: 0 } } : kind === 'timer-set' ? { kind, data: { ...data, dueAtMs: 0 } } : { kind, data }))
}

function difference(one: SagaTransition, other: SagaTransition): string {
  const [mine, others] = [timeless(one.events).map(canonical), timeless(other.events).map(canonical)]
  const at = mine.findIndex((event, index) => event !== others[index])
  return `${mine[at] ?? 'nothing more'} and then ${others[Math.max(at, 0)] ?? 'nothing more'}`.slice(0, 400)
}
