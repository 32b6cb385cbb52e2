import type { UnitHost } from '../bus/port.ts'
import { TrunklineError } from '../core/errors.ts'
import type { EventStore } from '../store/event-store.ts'
import type { SagaFamily } from './family.ts'
import { sagaEventList, sagaEventOf } from './instance-log.ts'
import type { Instance, RunState, SagaStatus, Waiting } from './instance.ts'
import type { SagaInput } from './port.ts'
import type { OperatorAction, SagaEvent, SagaOutcome, SagaParent } from './saga-events.ts'

/** One instance, for people. JSON but for the revision. */
export interface SagaView {
  readonly saga: string
  readonly instance: string
  readonly version: number
  readonly status: SagaStatus
  readonly state: unknown
  readonly outcome: SagaOutcome | undefined
  readonly reason: string | undefined
  readonly quarantine: { readonly code: string; readonly reason: string; readonly type: string } | undefined
  /** Names of the runs that are waited for; of a process manager, its alarms. */
  readonly waitsFor: readonly string[]
  readonly runs: readonly Readonly<RunState>[]
  readonly timers: readonly { readonly timer: string; readonly dueAtMs: number; readonly cron: string | undefined }[]
  /** Messages and alarms that wait in it. */
  readonly waiting: readonly Waiting[]
  readonly parent: SagaParent | undefined
  readonly correlationId: string
  readonly tenant: string | undefined
  readonly startedAtMs: number
  readonly changedAtMs: number
  /** Since when it is in this status and step. */
  readonly sinceMs: number
  readonly endedAtMs: number | undefined
  readonly eventCount: number
  readonly revision: bigint
}

/** One event of an instance with its place. */
export type SagaRecord = SagaEvent & { readonly revision: bigint; readonly storedAtMs: number; readonly causationId: string | undefined }

/** Who acts, and why: it stands in the instance's history. */
export interface OperatorNote {
  /** Who, for people. */
  readonly by: string
  readonly reason: string
  /** Makes a repetition recognisable. Default: a fresh one. */
  readonly id?: string
}

/** What an instance needs of those who run it. */
export interface OperatorParts {
  readonly family: SagaFamily
  readonly events: Pick<EventStore, 'load' | 'read'>
  readonly host: UnitHost
  readonly give: (id: string, input: SagaInput) => Promise<void>
}

/** One instance in the hands of an operator. Whatever is done with it is an event of its own, with who did it and why. */
export class SagaHandle {
  readonly saga: string
  readonly id: string
  readonly #parts: OperatorParts

  constructor(parts: OperatorParts, id: string) {
    this.saga = parts.family.name
    this.id = id
    this.#parts = parts
  }

  /** How it is. @throws `saga.instance_missing`, `store.*`. */
  async inspect(): Promise<SagaView> {
    const { family, events } = this.#parts
    const { state: instance, revision } = await events.load(family.decider, this.id)
    if (revision === undefined || instance.status === 'none') throw this.#missing()
    return viewOf(family, this.id, { ...instance, status: instance.status }, revision)
  }

  /** Everything that happened to it, in order; nothing for one that does not exist. @throws `store.*`. */
  async *history(): AsyncGenerator<SagaRecord, void, undefined> {
    const { family, events } = this.#parts
    for await (const recorded of events.read(family.decider.stream(this.id), sagaEventList)) {
      const { revision, storedAtMs, causationId } = recorded
      yield { ...sagaEventOf(recorded), revision, storedAtMs, causationId }
    }
  }

  /** Takes it out of quarantine: what waits in it is handled now, in the order in which it came. @throws `saga.action_refused`, and what is still broken in it. */
  resume(note: OperatorNote): Promise<void> {
    return this.#act('resume', note)
  }

  /** Sends once more what a step, or the compensation of one, waits for. Default: the one that is under way. @throws `saga.action_refused`. */
  retryStep(note: OperatorNote, step?: string): Promise<void> {
    return this.#act('retry-step', note, step)
  }

  /** Goes on without a step, or gives its compensation up. Default: the one that is under way. @throws `saga.action_refused`. */
  skipStep(note: OperatorNote, step?: string): Promise<void> {
    return this.#act('skip-step', note, step)
  }

  /** Undoes what it has done, also where it has completed. @throws `saga.action_refused`. */
  compensate(note: OperatorNote): Promise<void> {
    return this.#act('compensate', note)
  }

  /** Calls it off: as `compensate`, and it ends as `cancelled`. @throws `saga.action_refused`. */
  cancel(note: OperatorNote): Promise<void> {
    return this.#act('cancel', note)
  }

  async #act(action: OperatorAction, { by, reason, id }: OperatorNote, step?: string): Promise<void> {
    const { host, give } = this.#parts
    const { revision } = await this.#parts.events.load(this.#parts.family.decider, this.id)
    if (revision === undefined) throw this.#missing()
    await give(this.id, { kind: 'operator', action, by, reason, step, id: id ?? host.random.id(host.clock.nowMs()) })
  }

  #missing(): TrunklineError {
    return new TrunklineError('saga.instance_missing', { saga: this.saga, instance: this.id })
  }
}

function viewOf(family: SagaFamily, id: string, instance: Readonly<Instance> & { readonly status: SagaStatus }, revision: bigint): SagaView {
  const { version, status, state, outcome, reason, quarantine, runs, timers, kept, parent, correlationId, tenant, startedAtMs, changedAtMs, sinceMs, endedAtMs, eventCount } = instance
  // A version that this process does not have can still be looked at.
  const definition = family.versions.find((one) => one.version === version) ?? family.newest
  return {
    saga: family.name, instance: id, version, status, state, outcome, reason, quarantine, waitsFor: definition.brain.waitsFor(instance), runs,
    timers: Object.entries(timers).map(([timer, { dueAtMs, cron }]) => ({ timer, dueAtMs, cron })), waiting: kept,
    parent, correlationId, tenant, startedAtMs, changedAtMs, sinceMs, endedAtMs, eventCount, revision,
  }
}
