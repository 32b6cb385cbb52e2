import { TrunklineError, errorText, isTrunklineError } from '../core/errors.ts'
import type { SagaDefinition } from './definition.ts'
import { type Instance, handledKey } from './instance.ts'
import { type SagaInput, type SagaMessage, type SagaMoment, type SagaTransition, keptOf } from './port.ts'
import type { KeptInput } from './saga-events.ts'
import { Turn } from './turn.ts'

/** Events of one instance that are worth a warning. */
export const SAGA_EVENTS_WARN = 1_000
/** Events of one instance beyond which it is quarantined: something in it goes round in circles. */
export const SAGA_EVENTS_MAX = 10_000
/** Messages that may wait in one instance. */
export const SAGA_KEPT_MAX = 1_000

/** The alarm of messages that wait for a start. */
const EARLY_TIMER = 'early'

/**
 * Everything that a saga does: what it is in, and what came, give what happens. Pure: no time, no chance, no input or output, but for what it is given,
 * so that the same call gives the same events and messages with the same ids. The engine commits what it gives; tests look at it.
 *
 * A definition whose own functions fail is quarantined, with what it was given waiting in it.
 *
 * @param before the fold of the stream; `noInstance()` for one that does not exist.
 * @throws `saga.message_refused` where a policy says so, and for a message that a starting saga cannot take; `saga.action_refused` for an
 *   operator's wish that does not fit; `saga.migration_failed`.
 */
export function transition(definition: SagaDefinition, before: Readonly<Instance>, input: SagaInput, moment: SagaMoment): SagaTransition {
  if (isHandled(before, input)) return new Turn(definition, before, moment).result()
  const turn = new Turn(definition, before, moment)
  try {
    handle(definition, turn, input)
    return turn.result()
  } catch (error) {
    if (input.kind === 'operator' || isRefusal(error)) throw error
    if (before.status === 'none' || before.status === 'early') throw refusedStart(definition, input, error)
    return quarantined(definition, before, input, moment, error)
  }
}

/** A stale alarm, or a message that was handled: it is forgotten here after the inbox of its store has done so. */
function isHandled(before: Readonly<Instance>, input: SagaInput): boolean {
  if (input.kind === 'message') return before.handled.includes(handledKey(input.message))
  if (input.kind === 'timer') return before.timers[input.timer]?.token !== input.token
  return before.handled.includes(handledKey({ source: 'operator', id: input.id }))
}

function handle(definition: SagaDefinition, turn: Turn, input: SagaInput): void {
  const { instance, moment } = turn
  if (instance.version === 0 && input.kind === 'message' && !dispatchable(definition, instance, input.message)) return
  turn.emit('input-handled', { ...markOf(input), atMs: moment.nowMs })
  if (input.kind === 'operator') return operate(definition, turn, input)
  if (instance.status === 'quarantined') return keep(turn, keptInput(input), 'quarantined')
  if (instance.eventCount >= SAGA_EVENTS_MAX) {
    keep(turn, keptInput(input), 'quarantined')
    return turn.emit('quarantined', { code: 'saga.stream_full', reason: `its stream has ${instance.eventCount} events, at most ${SAGA_EVENTS_MAX}`, type: typeOf(input) })
  }
  migrate(definition, turn)
  if (input.kind === 'timer') onTimer(definition, turn, input.timer)
  else onMessage(definition, turn, input.message)
}

/** False for a message before the start that is to leave no trace. @throws `saga.message_refused`. */
function dispatchable(definition: SagaDefinition, instance: Readonly<Instance>, message: SagaMessage): boolean {
  if (definition.inputs.get(message.type)?.isStart === true) return true
  const { early } = definition.policies
  if (early === 'deadLetter') throw refused(definition, message, 'it came before the message that starts the saga')
  if (early === 'keep' && instance.kept.length >= SAGA_KEPT_MAX) throw refused(definition, message, `${SAGA_KEPT_MAX} messages wait for the start already`)
  return early === 'keep'
}

function onMessage(definition: SagaDefinition, turn: Turn, message: SagaMessage): void {
  const { instance } = turn
  if (instance.version === 0) {
    if (definition.inputs.get(message.type)?.isStart === true) start(definition, turn, message)
    else {
      keep(turn, { kind: 'message', message: keptOf(message) }, 'early')
      if (instance.kept.length === 1) turn.setTimer(EARLY_TIMER, { afterMs: definition.policies.earlyMaxMs })
    }
    return
  }
  if (instance.status === 'ended') {
    if (definition.brain.late(turn, message)) return
    if (definition.policies.late === 'deadLetter') throw refused(definition, message, 'its saga has ended')
    turn.emit('message-ignored', { message: refOf(message), because: 'late' })
    return
  }
  definition.brain.message(turn, message)
}

function start(definition: SagaDefinition, turn: Turn, message: SagaMessage): void {
  const { brain } = definition
  const { correlationId, tenant, parent, hops } = message
  turn.cancelTimer(EARLY_TIMER)
  turn.emit('started', { saga: definition.name, version: definition.version, instance: turn.moment.instance, correlationId, tenant, parent, hops })
  turn.setState(definition.startState(message))
  // What calls it off counts before its first step, so that nothing is begun only to be undone.
  const waiting = takeKept(turn, 'early').toSorted((one, other) => Number(brain.cancels(typeOfKept(other))) - Number(brain.cancels(typeOfKept(one))))
  const [first] = waiting
  if (first?.kind === 'message' && brain.cancels(first.message.type)) replay(definition, turn, waiting)
  else {
    brain.begin(turn, message)
    replay(definition, turn, waiting)
  }
}

function onTimer(definition: SagaDefinition, turn: Turn, timer: string): void {
  const set = turn.instance.timers[timer]
  turn.emit('timer-fired', { timer })
  if (timer === EARLY_TIMER) return turn.emit('start-overdue', { waiting: turn.instance.kept.length })
  // One by calendar goes on until it is taken back, and misses nothing twice.
  if (set?.cron !== undefined && timer.startsWith('each:')) turn.setTimer(timer, { cron: set.cron, timeZone: set.timeZone ?? 'UTC' })
  definition.brain.timer(turn, timer)
}

function operate(definition: SagaDefinition, turn: Turn, input: Extract<SagaInput, { kind: 'operator' }>): void {
  const { instance } = turn
  const { action, by, reason, step } = input
  if (instance.version === 0) throw new TrunklineError('saga.action_refused', { saga: definition.name, instance: turn.moment.instance, action, problem: 'it has not started' })
  const wasQuarantined = instance.status === 'quarantined'
  if (action === 'resume' && !wasQuarantined) throw new TrunklineError('saga.action_refused', { saga: definition.name, instance: turn.moment.instance, action, problem: `it is ${instance.status}, not quarantined` })
  turn.emit('operator-acted', { action, by, reason, step })
  if (wasQuarantined) turn.emit('resumed', { because: action })
  migrate(definition, turn)
  if (action !== 'resume') definition.brain.operate(turn, action, step, reason)
  if (wasQuarantined) replay(definition, turn, takeKept(turn, 'quarantined'))
}

function takeKept(turn: Turn, because: 'early' | 'quarantined'): readonly KeptInput[] {
  const taken: KeptInput[] = []
  for (let index = 0; index < turn.instance.kept.length;) {
    const waiting = turn.instance.kept[index]
    if (waiting?.because === because) {
      taken.push(waiting.input)
      turn.emit('message-taken', { index })
    } else index++
  }
  return taken
}

/** Handles what has waited, in the order in which it came. */
function replay(definition: SagaDefinition, turn: Turn, inputs: readonly KeptInput[]): void {
  for (const input of inputs) {
    if (turn.instance.status === 'quarantined') keep(turn, input, 'quarantined')
    else if (input.kind === 'message') onMessage(definition, turn, turn.messageOf(input.message))
    else if (turn.instance.timers[input.timer]?.token === input.token) onTimer(definition, turn, input.timer)
  }
}

/** Brings an instance of an older version to this one, by the migration that was declared. @throws `saga.migration_failed`. */
function migrate(definition: SagaDefinition, turn: Turn): void {
  const { version, runs } = turn.instance
  if (version === 0 || version === definition.version) return
  const migration = definition.migrations.get(version)
  if (migration === undefined) throw new TrunklineError('saga.version_unknown', { saga: definition.name, instance: turn.moment.instance, version })
  turn.emit('migrated', { fromVersion: version, toVersion: definition.version, steps: migration.steps })
  turn.setState(migration.state(turn.instance.state))
  for (const { step } of runs) if (!definition.brain.hasStep(step)) throw new TrunklineError('saga.migration_failed', { saga: definition.name, instance: turn.moment.instance, problem: `version ${definition.version} has no step ${step}` })
}

function quarantined(definition: SagaDefinition, before: Readonly<Instance>, input: Exclude<SagaInput, { kind: 'operator' }>, moment: SagaMoment, error: unknown): SagaTransition {
  const turn = new Turn(definition, before, moment)
  turn.emit('input-handled', { ...markOf(input), atMs: moment.nowMs })
  keep(turn, keptInput(input), 'quarantined')
  turn.emit('quarantined', { code: isTrunklineError(error) ? error.code : 'saga.function_failed', reason: errorText(error).slice(0, 2_000), type: typeOf(input) })
  return turn.result()
}

function keep(turn: Turn, input: KeptInput, because: 'early' | 'quarantined'): void {
  turn.emit('message-kept', { input, because })
}

function keptInput(input: Exclude<SagaInput, { kind: 'operator' }>): KeptInput {
  return input.kind === 'message' ? { kind: 'message', message: keptOf(input.message) } : { kind: 'timer', timer: input.timer, token: input.token }
}

function markOf(input: SagaInput): { readonly input: SagaInput['kind']; readonly id: string; readonly source: string; readonly type: string } {
  if (input.kind === 'message') return { input: 'message', ...refOf(input.message) }
  if (input.kind === 'timer') return { input: 'timer', id: input.token, source: 'timer', type: input.timer }
  return { input: 'operator', id: input.id, source: 'operator', type: input.action }
}

/** What a message is recognised by. */
export function refOf({ id, source, type }: SagaMessage): { readonly id: string; readonly source: string; readonly type: string } {
  return { id, source, type }
}

function typeOf(input: SagaInput): string {
  if (input.kind === 'message') return input.message.type
  return input.kind === 'timer' ? input.timer : input.action
}

function typeOfKept(input: KeptInput): string {
  return input.kind === 'message' ? input.message.type : ''
}

function refused(definition: SagaDefinition, message: SagaMessage, problem: string): TrunklineError {
  return new TrunklineError('saga.message_refused', { saga: definition.name, type: message.type, id: message.id, problem })
}

function refusedStart(definition: SagaDefinition, input: SagaInput, error: unknown): TrunklineError {
  const [type, id] = input.kind === 'message' ? [input.message.type, input.message.id] : [typeOf(input), '']
  return new TrunklineError('saga.message_refused', { saga: definition.name, type, id, problem: `the saga could not start: ${errorText(error).slice(0, 500)}` }, { cause: error })
}

function isRefusal(error: unknown): boolean {
  return isTrunklineError(error, 'saga.message_refused') || isTrunklineError(error, 'saga.version_unknown')
}
