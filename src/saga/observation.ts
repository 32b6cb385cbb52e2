import type { SagaEvent, SagaOutcome } from './saga-events.ts'
import type { Handled } from './engine.ts'
import { SAGA_EVENTS_WARN } from './transition.ts'

/** What happened to an instance, after its commit. Tell it apart by `kind`. */
export type SagaObservation =
  | SagaOccurrence<'started'>
  | (SagaOccurrence<'ended'> & { readonly outcome: SagaOutcome; /** From its start to its end. */ readonly durationMs: number; readonly reason: string | undefined; /** It had ended before, and undid what came late. */ readonly isAgain: boolean })
  | (SagaOccurrence<'compensating'> & { readonly reason: string })
  | (SagaOccurrence<'compensation-failed'> & { readonly run: string; readonly attempt: number; readonly reason: string })
  | (SagaOccurrence<'quarantined'> & { readonly code: string; readonly reason: string })
  | SagaOccurrence<'resumed'>
  | (SagaOccurrence<'start-overdue'> & { readonly waiting: number })
  /** Its stream is long; at 10,000 events it is quarantined. */
  | (SagaOccurrence<'stream-long'> & { readonly eventCount: number })
  /** Anything happened: the events of one transition. */
  | (SagaOccurrence<'changed'> & { readonly events: readonly SagaEvent[]; readonly status: string })

/** What every observation tells. */
export interface SagaOccurrence<K extends string> {
  readonly kind: K
  readonly saga: string
  readonly version: number
  readonly instance: string
}

/** Counts since the runner was made, of what this process has committed. */
export interface SagaStats {
  readonly started: number
  readonly completed: number
  readonly compensated: number
  readonly cancelled: number
  readonly failed: number
  readonly compensations: number
  readonly compensationFailures: number
  readonly quarantined: number
  readonly transitions: number
  /** Runs that were repeated because another process was faster. */
  readonly conflicts: number
}

/** What a transition tells those who watch. */
export function observationsOf({ family, id, before, transition }: Handled): readonly SagaObservation[] {
  const { events, instance } = transition
  if (events.length === 0) return []
  const of = <K extends string>(kind: K): SagaOccurrence<K> => ({ kind, saga: family.name, version: instance.version, instance: id })
  const told = events.flatMap((event): readonly SagaObservation[] => {
    const { kind, data } = event
    if (kind === 'started' || kind === 'resumed') return [of(kind)]
    if (kind === 'ended') return [{ ...of(kind), outcome: data.outcome, durationMs: instance.changedAtMs - instance.startedAtMs, reason: data.reason, isAgain: data.isAgain === true }]
    if (kind === 'compensation-begun') return [{ ...of('compensating'), reason: data.reason }]
    if (kind === 'compensation-failed') return [{ ...of(kind), ...data }]
    if (kind === 'quarantined') return [{ ...of(kind), code: data.code, reason: data.reason }]
    return kind === 'start-overdue' ? [{ ...of(kind), waiting: data.waiting }] : []
  })
  const isLong = instance.eventCount >= SAGA_EVENTS_WARN && before.eventCount < SAGA_EVENTS_WARN
  const long: readonly SagaObservation[] = isLong ? [{ ...of('stream-long'), eventCount: instance.eventCount }] : []
  return [...told, ...long, { ...of('changed'), events, status: instance.status }]
}

/** The counters behind `SagaStats`. */
export class SagaCounters {
  readonly #stats = { started: 0, completed: 0, compensated: 0, cancelled: 0, failed: 0, compensations: 0, compensationFailures: 0, quarantined: 0, transitions: 0, conflicts: 0 }

  count(observation: SagaObservation): void {
    const stats = this.#stats
    if (observation.kind === 'started') stats.started++
    else if (observation.kind === 'ended' && !observation.isAgain) stats[observation.outcome]++
    else if (observation.kind === 'compensating') stats.compensations++
    else if (observation.kind === 'compensation-failed') stats.compensationFailures++
    else if (observation.kind === 'quarantined') stats.quarantined++
    else if (observation.kind === 'changed') stats.transitions++
  }

  conflict(): void {
    this.#stats.conflicts++
  }

  snapshot(): SagaStats {
    return { ...this.#stats }
  }
}
