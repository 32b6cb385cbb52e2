import type { KeepReason, KeptInput, SagaEvent, SagaEventData, SagaOutcome, SagaParent, StepFailure } from './saga-events.ts'

/** Where an instance is in its life. */
export type SagaStatus =
  /** Messages came before the one that starts it; they wait. */
  | 'early'
  | 'running'
  /** It failed or was called off, and undoes what it did. */
  | 'compensating'
  | 'ended'
  /** It is broken and stands still, with its reason, until an operator acts; messages wait. */
  | 'quarantined'

/** How the undoing of a run is. */
export interface UndoState {
  status: 'queued' | 'running' | 'waiting' | 'done' | 'given-up'
  attempt: number
  /** A success came after it was undone: it has to be undone once more. */
  isAgain: boolean
}

/** One go at a step. A step that is repeated has several. */
export interface RunState {
  readonly run: string
  readonly step: string
  status: 'running' | 'waiting' | 'done' | StepFailure | 'skipped'
  attempt: number
  /** Data of what was sent last. */
  sent: unknown
  /** Type and data of the outcome that completed it. */
  outcome: { readonly type: string; readonly version: number; readonly data: unknown } | undefined
  undo: UndoState | undefined
  /** Why it did not complete. */
  reason: string | undefined
}

/** An alarm that is set. */
export interface SetTimer {
  readonly dueAtMs: number
  /** Tells this setting of the alarm from earlier ones. */
  readonly token: string
  readonly cron: string | undefined
  readonly timeZone: string | undefined
}

/** Something that waits, with the reason. */
export interface Waiting {
  readonly input: KeptInput
  readonly because: KeepReason
}

/**
 * One instance: the fold of its stream. It is JSON, so that a snapshot is the thing itself. The fold writes to it; everybody else reads.
 */
export interface Instance {
  saga: string
  instance: string
  /** Of the definition that it runs by; 0 before it has started. */
  version: number
  status: SagaStatus | 'none'
  /** What it returns to when it is taken out of quarantine. */
  resumeAs: SagaStatus
  /** The user's own. */
  state: unknown
  correlationId: string
  tenant: string | undefined
  parent: SagaParent | undefined
  /** Handlers in a row that led to its start. What it sends counts from there, so that a long line is not taken for a loop. */
  hops: number
  /** The runs in the order in which they were started. */
  readonly runs: RunState[]
  /** Names of runs in the order in which their effects came about. */
  readonly effects: string[]
  readonly timers: Record<string, SetTimer>
  /** `source id` of every message that was handled. */
  readonly handled: string[]
  readonly kept: Waiting[]
  outcome: SagaOutcome | undefined
  /** What it is going to end as, while it undoes. */
  endsAs: SagaOutcome | undefined
  reason: string | undefined
  quarantine: { readonly code: string; readonly reason: string; readonly type: string } | undefined
  startedAtMs: number
  /** Of the input that was handled last. */
  changedAtMs: number
  /** Since when `status` and the waiting steps are what they are. */
  sinceMs: number
  endedAtMs: number | undefined
  /** Events of its stream. */
  eventCount: number
}

/** An instance that has no events yet. */
export function noInstance(): Instance {
  return {
    saga: '', instance: '', version: 0, status: 'none', resumeAs: 'running', state: undefined, correlationId: '', tenant: undefined, parent: undefined, hops: 0,
    runs: [], effects: [], timers: {}, handled: [], kept: [], outcome: undefined, endsAs: undefined, reason: undefined, quarantine: undefined,
    startedAtMs: 0, changedAtMs: 0, sinceMs: 0, endedAtMs: undefined, eventCount: 0,
  }
}

/** A copy that a transition may write to. */
export function copied(instance: Instance): Instance {
  return {
    ...instance,
    runs: instance.runs.map((run) => ({ ...run, undo: run.undo === undefined ? undefined : { ...run.undo } })),
    effects: [...instance.effects],
    timers: { ...instance.timers },
    handled: [...instance.handled],
    kept: [...instance.kept],
  }
}

/** Name of a handled message. */
export function handledKey(message: { readonly source: string; readonly id: string }): string {
  return `${message.source} ${message.id}`
}

/** The run of that name. */
export function runOf(instance: Instance, name: string): RunState | undefined {
  return instance.runs.find(({ run }) => run === name)
}

type Fold = { readonly [K in keyof SagaEventData]: (instance: Instance, data: SagaEventData[K]) => void }

const FOLD: Fold = {
  'input-handled': (instance, { input, id, source, atMs }) => {
    instance.changedAtMs = atMs
    if (input !== 'timer') instance.handled.push(handledKey({ source, id }))
    if (instance.sinceMs === 0) instance.sinceMs = atMs
  },
  'started': (instance, { saga, version, instance: id, correlationId, tenant, parent, hops }) => {
    Object.assign(instance, { saga, version, instance: id, correlationId, tenant, parent, hops: hops ?? 0 })
    instance.startedAtMs = instance.changedAtMs
    enter(instance, 'running')
  },
  'state-changed': (instance, { state }) => {
    instance.state = state
  },
  'message-kept': (instance, { input, because }) => {
    instance.kept.push({ input, because })
    if (instance.status === 'none') enter(instance, 'early')
  },
  'message-taken': (instance, { index }) => {
    instance.kept.splice(index, 1)
  },
  'message-ignored': () => {},
  'message-sent': () => {},
  'step-started': (instance, { step, run, attempt, sent }) => {
    const known = runOf(instance, run)
    if (known === undefined) instance.runs.push({ run, step, status: 'running', attempt, sent: sent?.data, outcome: undefined, undo: undefined, reason: undefined })
    else Object.assign(known, { status: 'running', attempt, sent: sent?.data })
    instance.sinceMs = instance.changedAtMs
  },
  'step-completed': (instance, { run, type, version, data }) => {
    change(instance, run, (one) => {
      one.status = 'done'
      one.outcome = type === undefined ? undefined : { type, version: version ?? 1, data }
      if (!instance.effects.includes(run)) instance.effects.push(run)
    })
  },
  'step-failed': (instance, { run, failure, reason }) => {
    change(instance, run, (one) => {
      one.status = failure
      one.reason = reason
      // What is unknown may have happened, so it counts as an effect, and as the latest.
      if (failure !== 'refused' && !instance.effects.includes(run)) instance.effects.push(run)
      if (failure === 'refused') remove(instance.effects, run)
      // What has not happened needs no undoing.
      if (failure === 'refused' && one.undo?.status === 'queued') one.undo = undefined
    })
  },
  'step-retrying': (instance, { run }) => change(instance, run, (one) => {
    one.status = 'waiting'
  }),
  'step-skipped': (instance, { step, run }) => {
    const known = runOf(instance, run)
    if (known === undefined) instance.runs.push({ run, step, status: 'skipped', attempt: 0, sent: undefined, outcome: undefined, undo: undefined, reason: undefined })
    else known.status = 'skipped'
  },
  'timer-set': (instance, { timer, dueAtMs, token, cron, timeZone }) => {
    instance.timers[timer] = { dueAtMs, token, cron, timeZone }
  },
  'timer-fired': (instance, { timer }) => {
    delete instance.timers[timer]
  },
  'timer-cancelled': (instance, { timer }) => {
    delete instance.timers[timer]
  },
  'compensation-begun': (instance, { outcome, reason }) => {
    instance.endsAs = outcome
    instance.reason = reason
    instance.outcome = undefined
    enter(instance, 'compensating')
  },
  'compensation-queued': (instance, { run }) => change(instance, run, (one) => {
    one.undo = one.undo === undefined ? { status: 'queued', attempt: 0, isAgain: false } : { ...one.undo, isAgain: true }
    // What was given up is undone after all, and how it ends is open again.
    if (one.undo.status === 'given-up') instance.outcome = undefined
    if (one.undo.status === 'done' || one.undo.status === 'given-up') one.undo = { status: 'queued', attempt: 0, isAgain: false }
    if (instance.status === 'ended') enter(instance, 'compensating')
  }),
  'compensation-started': (instance, { run, attempt }) => {
    change(instance, run, (one) => {
      one.undo = { status: 'running', attempt, isAgain: false }
    })
    instance.sinceMs = instance.changedAtMs
  },
  'compensation-completed': (instance, { run }) => change(instance, run, (one) => {
    one.undo = { status: one.undo?.isAgain === true ? 'queued' : 'done', attempt: 0, isAgain: false }
  }),
  'compensation-failed': (instance, { run }) => change(instance, run, (one) => {
    if (one.undo !== undefined) one.undo.status = 'waiting'
  }),
  'compensation-given-up': (instance, { run }) => {
    change(instance, run, (one) => {
      one.undo = { status: 'given-up', attempt: one.undo?.attempt ?? 0, isAgain: false }
    })
    // Also where it had ended as undone, and this came late.
    instance.outcome = undefined
  },
  'ended': (instance, { outcome, reason }) => {
    instance.outcome = outcome
    instance.reason = reason ?? instance.reason
    instance.endedAtMs = instance.changedAtMs
    enter(instance, 'ended')
  },
  'quarantined': (instance, data) => {
    if (instance.status !== 'quarantined' && instance.status !== 'none') instance.resumeAs = instance.status
    instance.quarantine = data
    enter(instance, 'quarantined')
  },
  'resumed': (instance) => {
    instance.quarantine = undefined
    enter(instance, instance.resumeAs)
  },
  'operator-acted': () => {},
  'migrated': (instance, { toVersion, steps }) => {
    instance.version = toVersion
    for (const [at, run] of instance.runs.entries()) instance.runs[at] = { ...run, step: steps[run.step] ?? run.step }
  },
  'start-overdue': () => {},
}

/** What an instance ends as: what its compensation was begun for, or completed where none was; failed while something is given up. */
export function outcomeOf(instance: Readonly<Instance>): SagaOutcome {
  return instance.runs.some(({ undo }) => undo?.status === 'given-up') ? 'failed' : (instance.endsAs ?? 'completed')
}

/** Changes an instance by an event. It is all that ever writes to one. */
export function apply(instance: Instance, event: SagaEvent): void {
  instance.eventCount++
  // The kind chooses the function that takes the data of this kind.
  const change = FOLD[event.kind] as (into: Instance, data: unknown) => void
  change(instance, event.data)
}

function enter(instance: Instance, status: SagaStatus): void {
  instance.status = status
  instance.sinceMs = instance.changedAtMs
}

function change(instance: Instance, run: string, work: (run: RunState) => void): void {
  const known = runOf(instance, run)
  if (known !== undefined) work(known)
}

function remove(list: string[], item: string): void {
  const at = list.indexOf(item)
  if (at >= 0) list.splice(at, 1)
}
