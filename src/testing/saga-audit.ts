import type { SagaPart, SagaShape } from '../saga/definition.ts'
import type { SagaEvent, SagaEventData, SagaEventKind, SagaOutcome } from '../saga/saga-events.ts'

/** What is known of a stream after its last event. It is JSON. */
export interface Audit {
  /** The first rule that the stream breaks. */
  problem: string | undefined
  readonly handled: Set<string>
  /** `run attempt` of everything that was begun. */
  readonly begun: Set<string>
  readonly completed: Set<string>
  readonly steps: Map<string, string>
  /** Runs that have, or may have, an effect; the latest last. */
  readonly effects: string[]
  /** Runs that have to be undone. */
  readonly due: Set<string>
  readonly undone: Set<string>
  /** Runs whose undoing is under way. */
  readonly undoing: Set<string>
  /** Runs that completed while they were being undone. */
  readonly again: Set<string>
  readonly givenUp: Set<string>
  isUndoing: boolean
  outcome: SagaOutcome | undefined
}

type Rules = { readonly [K in SagaEventKind]?: (audit: Audit, data: SagaEventData[K], undoable: ReadonlySet<string>) => void }

const RULES: Rules = {
  'input-handled': (audit, { input, source, id, type }) => once(audit, audit.handled, `${source} ${id}`, `the ${input} ${type} was handled twice`),
  'step-started': (audit, { step, run, attempt, sent }) => {
    audit.steps.set(run, step)
    once(audit, audit.begun, `${run} ${attempt}`, `try ${attempt} of ${run} was begun twice${sent === undefined ? '' : `, and ${sent.type} sent twice`}`)
  },
  'step-completed': (audit, { run }, undoable) => {
    once(audit, audit.completed, run, `${run} completed twice`)
    const isUnwanted = audit.isUndoing || audit.due.has(run) || audit.undone.has(run) || audit.givenUp.has(run) || (audit.outcome !== undefined && audit.outcome !== 'completed')
    takesEffect(audit, run)
    if (audit.undoing.has(run)) audit.again.add(run)
    audit.undone.delete(run)
    if (isUnwanted && isUndoable(audit, run, undoable)) audit.due.add(run)
  },
  'step-failed': (audit, { run, failure }, undoable) => {
    if (failure === 'refused') {
      remove(audit.effects, run)
      audit.due.delete(run)
      return
    }
    takesEffect(audit, run)
    if (failure === 'abandoned' && isUndoable(audit, run, undoable)) audit.due.add(run)
  },
  'compensation-begun': (audit, _data, undoable) => {
    audit.isUndoing = true
    for (const run of audit.effects) if (!audit.undone.has(run) && !audit.givenUp.has(run) && isUndoable(audit, run, undoable)) audit.due.add(run)
  },
  'compensation-started': (audit, { run, attempt }) => {
    if (attempt === 1) {
      if (!audit.due.has(run)) say(audit, `${run} was undone, and there was nothing of it to undo`)
      const later = audit.effects.slice(audit.effects.indexOf(run) + 1).find((one) => audit.due.has(one))
      if (later !== undefined) say(audit, `${run} was undone before ${later}, which took effect after it`)
    }
    audit.undoing.add(run)
    audit.again.delete(run)
  },
  'compensation-completed': (audit, { run }) => {
    audit.undoing.delete(run)
    if (audit.again.delete(run)) return
    audit.due.delete(run)
    // A later success of it brought another try.
    audit.givenUp.delete(run)
    audit.undone.add(run)
  },
  'compensation-given-up': (audit, { run }) => {
    audit.undoing.delete(run)
    audit.due.delete(run)
    audit.givenUp.add(run)
  },
  'ended': (audit, { outcome }) => {
    audit.isUndoing = false
    audit.outcome = outcome
    for (const run of audit.due) say(audit, `it ended as ${outcome}, and ${run} was not undone`)
    const [kept] = audit.givenUp
    if (kept !== undefined && outcome !== 'failed') say(audit, `it ended as ${outcome}, though ${kept} could not be undone`)
  },
}

/** An audit of a stream without events. */
export function newAudit(): Audit {
  return {
    problem: undefined, handled: new Set(), begun: new Set(), completed: new Set(), steps: new Map(), effects: [], due: new Set(), undone: new Set(), undoing: new Set(),
    again: new Set(), givenUp: new Set(), isUndoing: false, outcome: undefined,
  }
}

/**
 * Looks through the stream of an instance for what must never be in one: something handled, begun or completed twice, something undone that was not done,
 * in another order than the reverse one, or not at all. It knows nothing of how the engine comes to its events, and folds them in its own way.
 *
 * @param undoable names of the steps that have a compensation.
 */
export function audited(events: readonly SagaEvent[], undoable: ReadonlySet<string>): Audit {
  const audit = newAudit()
  for (const { kind, data } of events) {
    // The kind chooses the rule that takes the data of this kind.
    const rule = RULES[kind] as ((into: Audit, data: unknown, undoable: ReadonlySet<string>) => void) | undefined
    rule?.(audit, data, undoable)
  }
  return audit
}

/** Names of the steps that have a compensation. */
export function undoableSteps({ parts }: SagaShape): ReadonlySet<string> {
  const steps = parts.flatMap((part): readonly SagaPart[] => part.members ?? [part])
  return new Set(steps.filter(({ compensation }) => compensation !== undefined).map(({ name }) => name))
}

function takesEffect(audit: Audit, run: string): void {
  if (!audit.effects.includes(run)) audit.effects.push(run)
}

function isUndoable(audit: Audit, run: string, undoable: ReadonlySet<string>): boolean {
  return undoable.has(audit.steps.get(run) ?? '')
}

function once(audit: Audit, seen: Set<string>, key: string, problem: string): void {
  if (seen.has(key)) say(audit, problem)
  seen.add(key)
}

function say(audit: Audit, problem: string): void {
  audit.problem ??= problem
}

function remove(list: string[], item: string): void {
  const at = list.indexOf(item)
  if (at >= 0) list.splice(at, 1)
}
