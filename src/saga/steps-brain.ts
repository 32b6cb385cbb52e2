import { TrunklineError } from '../core/errors.ts'
import type { SagaBrain, SagaShape } from './definition.ts'
import { sagaHeaders } from './headers.ts'
import { type Instance, type RunState, outcomeOf, runOf } from './instance.ts'
import { type SagaMessage, keptOf } from './port.ts'
import type { OperatorAction } from './saga-events.ts'
import type { GroupPlan, NodePlan, OutcomePlan, StepPlan, StepsPlan } from './step-plan.ts'
import { shapeOf } from './steps-shape.ts'
import type { Turn } from './turn.ts'
import { Undoing, underWay, waitBeforeMs } from './undoing.ts'

type Progress = 'pending' | 'active' | 'finished' | 'failed'

const ACTIVE: ReadonlySet<RunState['status']> = new Set(['running', 'waiting'])
const UNKNOWN: ReadonlySet<RunState['status']> = new Set(['timed-out', 'abandoned'])

/**
 * The logic of a line of steps. Where it stands follows from its runs alone: the first node that is not finished. So there is no
 * pointer that could be wrong, and an instance finds its place in a changed line by the names of its steps.
 */
export class StepsBrain implements SagaBrain {
  readonly shape: SagaShape
  readonly #plan: StepsPlan
  readonly #steps: ReadonlyMap<string, StepPlan>
  readonly #undoing: Undoing

  constructor(plan: StepsPlan, starts: readonly string[]) {
    this.#plan = plan
    this.#steps = new Map(plan.nodes.flatMap((node) => membersOf(node)).map((step) => [step.name, step]))
    this.#undoing = new Undoing(this.#steps, (turn) => this.#settled(turn))
    this.shape = shapeOf(plan, starts)
  }

  hasStep(step: string): boolean {
    return this.#steps.has(step)
  }

  cancels(type: string): boolean {
    return this.#plan.cancels.some(({ contract }) => contract.type === type)
  }

  begin(turn: Turn): void {
    const { timeoutMs } = this.#plan
    if (timeoutMs !== undefined) turn.setTimer('deadline', { afterMs: timeoutMs })
    this.#advance(turn)
    this.#takeEarlier(turn)
  }

  message(turn: Turn, message: SagaMessage): void {
    if (this.#cancel(turn, message)) return
    if (this.#undoing.message(turn, message) || this.#outcome(turn, message)) return this.#takeEarlier(turn)
    const isAhead = turn.instance.status === 'running' && this.#isAhead(turn.instance, message.type)
    const { ahead } = this.#plan
    if (isAhead && ahead === 'deadLetter') throw new TrunklineError('saga.message_refused', { saga: turn.saga.name, type: message.type, id: message.id, problem: 'its step has not begun' })
    if (isAhead && ahead === 'keep') turn.emit('message-kept', { input: { kind: 'message', message: keptOf(message) }, because: 'out-of-order' })
    else turn.emit('message-ignored', { message: { id: message.id, source: message.source, type: message.type }, because: 'unexpected' })
  }

  late(turn: Turn, message: SagaMessage): boolean {
    return this.#cancel(turn, message) || this.#outcome(turn, message)
  }

  timer(turn: Turn, timer: string): void {
    const at = timer.indexOf(':')
    const [kind, name] = [timer.slice(0, at < 0 ? undefined : at), timer.slice(at + 1)]
    if (kind === 'undo') this.#undoing.timer(turn, name)
    else if (kind === 'deadline' && turn.instance.status === 'running') this.#undoing.begin(turn, 'compensated', `it took longer than ${this.#plan.timeoutMs} ms`)
    else if (kind === 'step') this.#time(turn, name)
    this.#takeEarlier(turn)
  }

  operate(turn: Turn, action: OperatorAction, step: string | undefined, reason: string): void {
    const { instance } = turn
    const isOpen = instance.status === 'running' || (instance.status === 'ended' && instance.outcome === 'completed')
    if (action === 'compensate' && isOpen) return this.#undoing.begin(turn, 'compensated', reason)
    if (action === 'cancel' && isOpen) return this.#undoing.begin(turn, 'cancelled', reason)
    const run = this.#runFor(instance, step)
    if (run === undefined || (action !== 'retry-step' && action !== 'skip-step')) throw refusal(turn, action, step === undefined ? `it is ${instance.status}` : `there is nothing to do for ${step}`)
    if (run.undo !== undefined) {
      if (action === 'skip-step') return this.#undoing.giveUp(turn, run.run, reason)
      turn.cancelTimer(`undo:${run.run}`)
      // One that was given up takes its turn again, also after the end.
      if (run.undo.status === 'given-up') this.#undoing.queue(turn, run.run)
      else this.#undoing.start(turn, run.run)
      return this.#undoing.pump(turn)
    }
    turn.cancelTimer(`step:${run.run}`)
    const plan = this.#steps.get(run.step)
    if (action === 'retry-step' && plan !== undefined) this.#start(turn, plan, run.run, run.attempt + 1)
    else turn.emit('step-skipped', { step: run.step, run: run.run })
    this.#advance(turn)
    this.#takeEarlier(turn)
  }

  waitsFor(instance: Readonly<Instance>): readonly string[] {
    return instance.runs.filter(({ status, undo }) => ACTIVE.has(status) || undo?.status === 'running' || undo?.status === 'waiting' || undo?.status === 'queued').map(({ run }) => run)
  }

  /** The run that an operator means: the one named, else what is under way. */
  #runFor(instance: Readonly<Instance>, step: string | undefined): RunState | undefined {
    const isMeant = ({ run, step: of }: RunState): boolean => step === undefined || run === step || of === step
    const undoing = instance.runs.find((run) => isMeant(run) && (run.undo?.status === 'running' || run.undo?.status === 'waiting' || run.undo?.status === 'given-up'))
    return undoing ?? instance.runs.find((run) => isMeant(run) && instance.status === 'running' && ACTIVE.has(run.status))
  }

  #cancel(turn: Turn, message: SagaMessage): boolean {
    const plan = this.#plan.cancels.find(({ contract }) => contract.type === message.type)
    const { status, outcome } = turn.instance
    const counts = status === 'running' || (status === 'ended' && outcome === 'completed' && plan?.afterEnd === 'compensate')
    if (plan === undefined || !counts) return false
    this.#undoing.begin(turn, 'cancelled', plan.because(message.data))
    return true
  }

  /** True where a run has waited for the message, or where it tells what became of a run whose outcome was unknown. */
  #outcome(turn: Turn, message: SagaMessage): boolean {
    const { instance } = turn
    const found = (statuses: ReadonlySet<RunState['status']>): { readonly run: RunState; readonly outcome: OutcomePlan } | undefined => {
      for (const run of instance.runs) {
        const outcome = statuses.has(run.status) ? this.#outcomeOf(run, message) : undefined
        if (outcome !== undefined) return { run, outcome }
      }
      return undefined
    }
    const active = found(ACTIVE)
    if (active !== undefined) this.#ends(turn, active.run, active.outcome, message)
    const late = active === undefined ? found(UNKNOWN) : undefined
    if (late !== undefined) this.#endsLate(turn, late.run, late.outcome, message)
    return active !== undefined || late !== undefined
  }

  #outcomeOf(run: RunState, { type, data }: SagaMessage): OutcomePlan | undefined {
    return this.#steps.get(run.step)?.outcomes.find((outcome) => outcome.contract.type === type && outcome.matches(data, run.sent, run.run))
  }

  #ends(turn: Turn, { run }: RunState, outcome: OutcomePlan, { type, version, data, body }: SagaMessage): void {
    turn.cancelTimer(`step:${run}`)
    turn.setState(outcome.apply(turn.state, data))
    if (!outcome.isFailure) turn.emit('step-completed', { run, type, version, data: body })
    else if (!outcome.isRetried || !this.#again(turn, run, outcome.because(data))) turn.emit('step-failed', { run, failure: 'refused', reason: outcome.because(data) })
    this.#advance(turn)
  }

  #endsLate(turn: Turn, { run, status }: RunState, outcome: OutcomePlan, { type, version, data, body }: SagaMessage): void {
    const { instance } = turn
    if (outcome.isFailure) return turn.emit('step-failed', { run, failure: 'refused', reason: outcome.because(data) })
    turn.setState(outcome.apply(turn.state, data))
    turn.emit('step-completed', { run, type, version, data: body, isLate: true })
    const isUnwanted = status === 'abandoned' || instance.status === 'compensating' || (instance.status === 'ended' && instance.outcome !== 'completed')
    if (!isUnwanted) return
    this.#undoing.queue(turn, run)
    if (instance.runs.some(({ undo }) => undo?.status === 'queued')) this.#undoing.pump(turn)
  }

  /** Messages that came before their step began, and that it waits for now. */
  #takeEarlier(turn: Turn): void {
    const { instance } = turn
    for (let index = 0; index < instance.kept.length; index++) {
      const waiting = instance.kept[index]
      if (waiting?.because !== 'out-of-order' || waiting.input.kind !== 'message') continue
      const message = turn.messageOf(waiting.input.message)
      if (!instance.runs.some((run) => ACTIVE.has(run.status) && this.#outcomeOf(run, message) !== undefined)) continue
      turn.emit('message-taken', { index })
      this.#outcome(turn, message)
      index = -1
    }
  }

  /** Whether a step that has not begun, or may begin again, waits for messages of the type. */
  #isAhead(instance: Readonly<Instance>, type: string): boolean {
    return [...this.#steps.values()].some((step) => {
      const isOpen = step.whilst === undefined ? !instance.runs.some((run) => run.step === step.name) : progressOf(instance, step) !== 'finished'
      return isOpen && step.outcomes.some(({ contract }) => contract.type === type)
    })
  }

  #time(turn: Turn, name: string): void {
    const run = runOf(turn.instance, name)
    const plan = run === undefined ? undefined : this.#steps.get(run.step)
    if (run === undefined || plan === undefined || turn.instance.status !== 'running') return
    if (run.status === 'waiting') this.#start(turn, plan, name, run.attempt + 1)
    else if (run.status === 'running' && plan.timesOut === 'completes') turn.emit('step-completed', { run: name })
    else if (run.status === 'running' && !this.#again(turn, name, 'it was not answered in time')) turn.emit('step-failed', { run: name, failure: 'timed-out', reason: 'it was not answered in time' })
    this.#advance(turn)
  }

  /** Tries a run once more, after a wait; false where it was the last time. */
  #again(turn: Turn, name: string, reason: string): boolean {
    const run = runOf(turn.instance, name)
    const plan = run === undefined ? undefined : this.#steps.get(run.step)
    if (run === undefined || plan === undefined || run.attempt >= plan.tries.attemptsMax) return false
    const delayMs = waitBeforeMs(plan.tries, run.attempt)
    turn.emit('step-retrying', { run: name, delayMs, reason })
    if (delayMs === 0) this.#start(turn, plan, name, run.attempt + 1)
    else turn.setTimer(`step:${name}`, { afterMs: delayMs })
    return true
  }

  #start(turn: Turn, plan: StepPlan, run: string, attempt: number): void {
    const { act, outcomes, name } = plan
    const sent = act === undefined ? undefined : turn.send(act.contract, act.data(turn.state, undefined, undefined), sagaHeaders(turn, act, run))
    turn.emit('step-started', { step: name, run, attempt, sent })
    const due = plan.timeout(turn.state)
    if (due !== undefined) turn.setTimer(`step:${run}`, due)
    else if (outcomes.length === 0) turn.emit('step-completed', { run })
  }

  /** Goes on as far as it goes without anybody's answer. */
  #advance(turn: Turn): void {
    const { instance } = turn
    for (const node of this.#plan.nodes) {
      for (let progress = nodeProgress(instance, node); progress !== 'finished'; progress = nodeProgress(instance, node)) {
        if (instance.status !== 'running' || progress === 'active') return
        if (progress === 'failed') return this.#undoing.begin(turn, 'compensated', failureOf(instance, node))
        this.#enter(turn, node)
      }
      if (node.kind === 'group') this.#dropRest(turn, node)
    }
    if (instance.status === 'running' && !isUndoing(instance)) turn.end(outcomeOf(instance), undefined)
  }

  #enter(turn: Turn, node: NodePlan): void {
    for (const step of membersOf(node)) if (progressOf(turn.instance, step) === 'pending') this.#enterStep(turn, step)
  }

  #enterStep(turn: Turn, step: StepPlan): void {
    const count = turn.instance.runs.filter((run) => run.step === step.name).length
    const run = step.whilst === undefined ? step.name : `${step.name}#${count + 1}`
    const isWanted = (step.whilst ?? step.when)?.(turn.state) ?? true
    if (!isWanted) return turn.emit('step-skipped', { step: step.name, run })
    if (count >= step.timesMax) throw new TrunklineError('saga.repeated_too_often', { saga: turn.saga.name, instance: turn.moment.instance, step: step.name, timesMax: step.timesMax })
    this.#start(turn, step, run, 1)
  }

  /** Members of a group that is through already are waited for no longer, and undone. */
  #dropRest(turn: Turn, group: GroupPlan): void {
    const rest = group.members.flatMap(({ name }) => turn.instance.runs.filter((run) => run.step === name && ACTIVE.has(run.status)))
    for (const { run } of rest) {
      this.#undoing.abandon(turn, run, 'enough others of its group have completed')
      this.#undoing.queue(turn, run)
    }
    if (rest.length > 0) this.#undoing.pump(turn)
  }

  /** Nothing is left to undo for now. */
  #settled(turn: Turn): void {
    const { instance } = turn
    if (instance.status === 'compensating') turn.end(instance.outcome ?? outcomeOf(instance), instance.reason)
    else if (instance.status === 'running' && this.#plan.nodes.every((node) => nodeProgress(instance, node) === 'finished')) turn.end(outcomeOf(instance), undefined)
  }
}

/** The steps of a node. */
export function membersOf(node: NodePlan): readonly StepPlan[] {
  return node.kind === 'group' ? node.members : [node]
}

function isUndoing(instance: Readonly<Instance>): boolean {
  return underWay(instance) !== undefined || instance.runs.some(({ undo }) => undo?.status === 'queued')
}

/** How far a step is, by its last run. */
function progressOf(instance: Readonly<Instance>, step: StepPlan): Progress {
  const last = instance.runs.findLast((run) => run.step === step.name)
  if (last === undefined) return 'pending'
  if (ACTIVE.has(last.status)) return 'active'
  const isThrough = last.status === 'done' || last.status === 'skipped'
  if (!isThrough && step.onFailure === 'compensate') return 'failed'
  return step.whilst !== undefined && last.status !== 'skipped' ? 'pending' : 'finished'
}

function nodeProgress(instance: Readonly<Instance>, node: NodePlan): Progress {
  if (node.kind === 'step') return progressOf(instance, node)
  const all = node.members.map((member) => progressOf(instance, member))
  const count = (progress: Progress): number => all.filter((one) => one === progress).length
  if (count('finished') >= node.need) return 'finished'
  if (count('pending') > 0) return 'pending'
  return count('finished') + count('active') < node.need ? 'failed' : 'active'
}

function failureOf(instance: Readonly<Instance>, node: NodePlan): string {
  const names = new Set(membersOf(node).map(({ name }) => name))
  const failed = instance.runs.findLast((run) => names.has(run.step) && run.reason !== undefined && !ACTIVE.has(run.status) && run.status !== 'done')
  return failed === undefined ? `${node.name} failed` : `${failed.run}: ${failed.reason}`
}

function refusal(turn: Turn, action: OperatorAction, problem: string): TrunklineError {
  return new TrunklineError('saga.action_refused', { saga: turn.saga.name, instance: turn.moment.instance, action, problem })
}
