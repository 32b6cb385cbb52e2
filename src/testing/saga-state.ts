import { createHash } from 'node:crypto'
import type { SagaDefinition } from '../saga/definition.ts'
import { type Instance, handledKey } from '../saga/instance.ts'
import { type SagaMessage, type SagaOutgoing } from '../saga/port.ts'
import type { SagaOutcome } from '../saga/saga-events.ts'
import { type Audit, audited } from './saga-audit.ts'
import type { SagaWorld, StoredInstance } from './saga-bench.ts'
import { type TestMessage, type TestReply, arrivedData, arriving, sentToReply } from './saga-message.ts'

/** Something that was sent and is not answered yet, with every answer that may come. */
export interface Unanswered {
  /** Type and data: what tells it from others, as far as it matters. */
  readonly key: string
  readonly type: string
  readonly possible: readonly SagaMessage[]
}

/** A state of a saga and of everything round it. It is never written to. */
export interface ExploredState {
  readonly world: SagaWorld
  /** Messages that come of themselves, and have not come. */
  readonly coming: readonly SagaMessage[]
  readonly unanswered: readonly Unanswered[]
  /** What has come, and may come again. */
  readonly delivered: readonly SagaMessage[]
  readonly duplicatesLeft: number
}

/** Messages are values, and asked for their keys in every state. */
const KEYS = new WeakMap<SagaMessage, string>()
const AUDITS = new WeakMap<StoredInstance, Audit>()

/** What tells a message from others, whatever its id. */
export function messageKey(one: SagaMessage): string {
  const key = KEYS.get(one) ?? messageText(one)
  KEYS.set(one, key)
  return key
}

/** What is known of the stream of an instance; see `audited`. */
export function auditOf(stored: StoredInstance, undoable: ReadonlySet<string>): Audit {
  const audit = AUDITS.get(stored) ?? audited(stored.events, undoable)
  AUDITS.set(stored, audit)
  return audit
}

/** Answers that may come to what was just sent. What the saga does not take never comes, since nobody listens for it. @throws `contract.*`. */
export function unansweredOf(definition: SagaDefinition, replies: readonly TestReply[], sent: readonly SagaOutgoing[]): readonly Unanswered[] {
  return sent.flatMap((one) => {
    const given = arrivedData(one)
    const possible = possibleAnswers(definition, replies, one, given).filter(({ contract }) => definition.inputs.has(contract.type))
    const answers = possible.map((answer, at) => arriving([definition], answer, `answer-${at + 1}-to-${one.id}`, { source: 'answers', correlationId: one.correlationId }))
    return answers.length === 0 ? [] : [{ key: `${one.contract.type} ${canonical(given)}`, type: one.contract.type, possible: answers }]
  })
}

function possibleAnswers(definition: SagaDefinition, replies: readonly TestReply[], sent: SagaOutgoing, data: unknown): readonly TestMessage[] {
  const known = replies.find(({ contract }) => contract.type === sent.contract.type)
  if (known !== undefined) return known.possible(data, sentToReply(sent))
  return endsOfChild(definition, sent)
}

const ENDS: readonly SagaOutcome[] = ['completed', 'compensated', 'cancelled', 'failed']

/** Where a step runs another saga, that one ends in one of the four ways. */
function endsOfChild(definition: SagaDefinition, sent: SagaOutgoing): readonly TestMessage[] {
  const { parent } = sentToReply(sent)
  const parts = definition.shape.parts.flatMap((part) => part.members ?? [part])
  const child = parent === undefined ? undefined : parts.find(({ saga, sends }) => saga !== undefined && sends === sent.contract.type)?.saga
  const contract = child === undefined ? undefined : definition.inputs.get(`saga-ends.${child}`)?.contract
  if (contract === undefined || parent === undefined) return []
  return ENDS.map((outcome) => ({ contract, data: { saga: child, instance: 'child', outcome, reason: null, state: null, parent } }))
}

/** The messages that come of themselves. */
export function comingMessages(definition: SagaDefinition, messages: readonly TestMessage[]): readonly SagaMessage[] {
  return messages.map(({ contract, data }, at) => arriving([definition], { contract, data }, `coming-${at + 1}`, { source: 'others' }))
}

/**
 * A short name of a state: two states of one name go on in the same way. Ids of messages, revisions and the time itself do not count; the
 * time until alarms does.
 */
export function stateHash(state: ExploredState, undoable: ReadonlySet<string>): string {
  const { world, coming, unanswered, delivered, duplicatesLeft } = state
  const instances = [...world.instances].map(([id, stored]) => [id, instanceKey(stored.instance, world), auditKey(auditOf(stored, undoable))])
  // What was handled changes nothing when it comes again, which is looked at in every state; what was not may.
  const again = duplicatesLeft === 0 ? [] : delivered.filter((one) => !isKnown(world, one)).map(messageKey).toSorted()
  const alarms = [...world.alarms.values()].map(({ instance, timer, dueAtMs }) => `${instance} ${timer} ${Math.max(0, dueAtMs - world.nowMs)}`).toSorted()
  return createHash('sha1').update(JSON.stringify([instances, alarms, coming.map(messageKey).toSorted(), unanswered.map(({ key }) => key).toSorted(), again, duplicatesLeft])).digest('base64')
}

function isKnown(world: SagaWorld, one: SagaMessage): boolean {
  return [...world.instances.values()].some(({ instance }) => instance.handled.includes(handledKey(one)))
}

function instanceKey(instance: Readonly<Instance>, { nowMs }: SagaWorld): unknown {
  const { handled: _handled, eventCount: _count, startedAtMs: _started, changedAtMs: _changed, sinceMs: _since, endedAtMs, timers, kept, ...rest } = instance
  return {
    ...rest,
    hasEnded: endedAtMs !== undefined,
    timers: Object.entries(timers).map(([timer, { dueAtMs, cron }]) => `${timer} ${Math.max(0, dueAtMs - nowMs)} ${cron}`).toSorted(),
    kept: kept.map(({ input, because }) => [because, input.kind === 'timer' ? input.timer : [input.message.type, input.message.body]]),
  }
}

function auditKey({ handled: _handled, begun: _begun, completed, effects, due, undone, undoing, again, givenUp, isUndoing, outcome }: Audit): unknown {
  return [[...completed], effects, [...due], [...undone], [...undoing], [...again], [...givenUp], isUndoing, outcome]
}

/** JSON whose objects have their fields in order. */
export function canonical(value: unknown): string {
  return JSON.stringify(value, (_name, part: unknown) => (isRecord(part) ? Object.fromEntries(Object.entries(part).toSorted(([one], [other]) => (one < other ? -1 : 1))) : part)) ?? 'undefined'
}

function isRecord(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

/** A message as it is told in a trace. */
export function messageText({ type, body }: Pick<SagaMessage, 'type' | 'body'>): string {
  return `${type} ${canonical(body)}`
}
