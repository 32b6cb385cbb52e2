import type { AnyCommand, EventContract } from '../contract/contract.ts'
import type { MessageMakerOptions, ScheduleOptions } from '../bus/port.ts'
import { currentScope, runInScope } from '../bus/scope.ts'
import { TrunklineError, isTrunklineError } from '../core/errors.ts'
import { derivedId } from '../core/random.ts'
import type { Decider } from '../store/decider.ts'
import type { Loaded } from '../store/execution.ts'
import { type Fact, fact } from '../store/fact.ts'
import type { Appended, ExpectedRevision, LogPage, ReadQuery, Snapshot } from '../store/port.ts'
import type { SagaFamily } from './family.ts'
import { type Instance, apply, noInstance } from './instance.ts'
import { SNAPSHOT_EVENTS, readSagaEvent } from './instance-log.ts'
import type { SagaInput, SagaOutgoing, SagaTransition } from './port.ts'
import { type SagaEvent, sagaEvents } from './saga-events.ts'
import { transition } from './transition.ts'

/** What the engine uses of a unit of work. */
export interface SagaUnit {
  send(contract: AnyCommand, data: unknown, options?: MessageMakerOptions): void
  publish(contract: EventContract, data: unknown, options?: MessageMakerOptions): void
  schedule(contract: AnyCommand, data: unknown, options: ScheduleOptions): Promise<string>
  cancel(id: string): Promise<boolean>
  append(stream: string, expected: ExpectedRevision, facts: readonly Fact[]): Promise<Appended>
  readStream(stream: string, query: Omit<ReadQuery, 'selection'>): Promise<LogPage>
  load<C extends EventContract, Command, State>(decider: Decider<C, Command, State>, id: string): Promise<Loaded<State>>
  saveSnapshot(snapshot: Snapshot): Promise<void>
}

/** What became of an input, for those who watch. */
export interface Handled {
  readonly family: SagaFamily
  readonly id: string
  readonly before: Readonly<Instance>
  readonly transition: SagaTransition
}

/**
 * Gives an input to an instance, within a unit of work: loads it, lets `transition` decide, and commits the events, the messages and the alarms
 * together. All of it goes to one stream at the revision that was read, so that it is the same on every store, those that commit
 * only one stream included; the rest of the unit rides along there.
 *
 * @throws `store.conflict` where somebody else was faster: the unit is run again, and nobody's attempts are spent.
 */
export async function handleInput(unit: SagaUnit, family: SagaFamily, id: string, input: SagaInput, nowMs: number): Promise<Handled> {
  const { instance: before, revision } = await loadInstance(unit, family, id)
  const definition = family.of(before, id)
  const made = transition(definition, before, input, { instance: id, revision, nowMs })
  const scope = currentScope()
  const commit = (): Promise<void> => commitTransition(unit, family, id, revision, input, made)
  // A line of many steps is no loop: what a saga sends counts from its start on. Its own loops are bounded by its stream.
  await (scope === undefined ? commit() : runInScope({ ...scope, hops: made.instance.hops }, commit))
  return { family, id, before, transition: made }
}

async function commitTransition(unit: SagaUnit, family: SagaFamily, id: string, revision: bigint | undefined, input: SagaInput, made: SagaTransition): Promise<void> {
  const { events, outgoing, timers, cancelledTimers, instance } = made
  const { correlationId, tenant } = instance
  for (const one of outgoing) send(unit, one)
  // The input is part of the ids: of two different inputs at one revision, the second append must not pass for a repetition of the first.
  const facts = events.map((event, index) => factOf(event, derivedId('saga-event', family.decider.stream(id), `${revision ?? -1n}`, inputKey(input), `${index}`)))
  // Side by side: a database that takes statements in a row is asked once, and a transaction keeps all or nothing.
  await Promise.all([
    facts.length > 0 ? append(unit, family, id, revision, facts, instance) : undefined,
    ...cancelledTimers.map((timer) => unit.cancel(family.timerId(id, timer))),
    ...timers.map(({ timer, token, due }) => {
      const when = 'atMs' in due ? { at: due.atMs } : { afterMs: due.afterMs }
      return unit.schedule(family.wake, { instance: id, timer, token }, { ...when, id: family.timerId(id, timer), ...flow(correlationId, tenant) })
    }),
  ])
}

/** An instance as a unit of work sees it. */
export async function loadInstance(unit: Pick<SagaUnit, 'readStream' | 'load'>, family: SagaFamily, id: string): Promise<{ readonly instance: Instance; readonly revision: bigint | undefined }> {
  const page = await unit.readStream(family.decider.stream(id), { direction: 'forwards', after: undefined, limit: SNAPSHOT_EVENTS })
  if (!page.isEnd) {
    // A long one: its snapshot is asked for only now, since nearly all are short.
    const { state, revision } = await unit.load(family.decider, id)
    return { instance: state, revision }
  }
  const instance = noInstance()
  for (const stored of page.events) {
    const event = readSagaEvent(stored)
    if (event !== undefined) apply(instance, event)
  }
  return { instance, revision: page.events.at(-1)?.revision }
}

async function append(unit: SagaUnit, family: SagaFamily, id: string, revision: bigint | undefined, facts: readonly Fact[], after: Readonly<Instance>): Promise<void> {
  const stream = family.decider.stream(id)
  try {
    const appended = await unit.append(stream, revision ?? 'noStream', facts)
    const isFull = Math.floor(after.eventCount / SNAPSHOT_EVENTS) > Math.floor((after.eventCount - facts.length) / SNAPSHOT_EVENTS)
    const { shape } = family.decider
    if (isFull && shape !== undefined) await unit.saveSnapshot({ stream, shape, revision: appended.revision, state: Buffer.from(JSON.stringify(after)) })
  } catch (error) {
    if (!isTrunklineError(error, 'store.wrong_revision')) throw error
    throw new TrunklineError('store.conflict', { store: 'of the saga', problem: `the stream ${stream} went on meanwhile` }, { cause: error })
  }
}

function inputKey(input: SagaInput): string {
  if (input.kind === 'message') return `${input.message.source} ${input.message.id}`
  return input.kind === 'timer' ? `timer ${input.token}` : `operator ${input.id}`
}

function factOf<E extends SagaEvent>({ kind, data }: E, id: string): Fact {
  return fact(sagaEvents[kind], data, { id })
}

function send(unit: SagaUnit, { contract, data, id, correlationId, tenant, headers }: SagaOutgoing): void {
  const options = { id, ...flow(correlationId, tenant), ...(headers === undefined ? {} : { headers }) }
  if (isCommand(contract)) unit.send(contract, data, options)
  else if (isEvent(contract)) unit.publish(contract, data, options)
}

function flow(correlationId: string, tenant: string | undefined): { readonly correlationId?: string; readonly tenant?: string } {
  return { ...(correlationId === '' ? {} : { correlationId }), ...(tenant === undefined ? {} : { tenant }) }
}

function isCommand(contract: { readonly kind: string }): contract is AnyCommand {
  return contract.kind === 'command'
}

function isEvent(contract: { readonly kind: string }): contract is EventContract {
  return contract.kind === 'event'
}
