import { sagaHeaders } from './headers.ts'
import { type Instance, type RunState, runOf } from './instance.ts'
import type { SagaMessage } from './port.ts'
import type { SagaOutcome } from './saga-events.ts'
import type { CompensationPlan, StepPlan, TriesPlan } from './step-plan.ts'
import type { Turn } from './turn.ts'

/** Longest wait between tries, whatever the growth. */
const GROWTH_MAX = 64

/** The wait before the try after the given one. Without jitter, since a transition knows no chance; instances differ by their start. */
export function waitBeforeMs({ initialMs, factor, maxMs }: TriesPlan, attempt: number): number {
  return Math.min(maxMs, Math.round(initialMs * factor ** Math.min(attempt - 1, GROWTH_MAX)))
}

/** Undoes what a saga has done: one run at a time, the latest effect first. */
export class Undoing {
  readonly #steps: ReadonlyMap<string, StepPlan>
  /** Called when nothing is left to undo for now. */
  readonly #settled: (turn: Turn) => void

  constructor(steps: ReadonlyMap<string, StepPlan>, settled: (turn: Turn) => void) {
    this.#steps = steps
    this.#settled = settled
  }

  /** Gives up what is under way and undoes everything. A run of unknown outcome counts as one that took place (G-09). */
  begin(turn: Turn, outcome: SagaOutcome, reason: string): void {
    const { instance } = turn
    turn.cancelTimer('deadline')
    for (const { run, status } of instance.runs) if (status === 'running' || status === 'waiting') this.abandon(turn, run, reason)
    turn.emit('compensation-begun', { outcome, reason })
    for (const run of instance.effects.toReversed()) if (runOf(instance, run)?.undo === undefined) this.queue(turn, run)
    this.pump(turn)
  }

  /** Waits for a run no longer; its outcome stays unknown. */
  abandon(turn: Turn, run: string, reason: string): void {
    turn.cancelTimer(`step:${run}`)
    turn.emit('step-failed', { run, failure: 'abandoned', reason })
  }

  /** Puts a run's undoing on the list, where it has one: once more, where it was undone already. */
  queue(turn: Turn, run: string): void {
    const known = runOf(turn.instance, run)
    if (known === undefined || this.#planOf(known) === undefined || known.undo?.status === 'queued') return
    turn.emit('compensation-queued', { run })
  }

  /** Starts what is next, where nothing is under way. */
  pump(turn: Turn): void {
    const { instance } = turn
    while (instance.status !== 'quarantined') {
      if (underWay(instance) !== undefined) return
      const next = instance.effects.toReversed().find((run) => runOf(instance, run)?.undo?.status === 'queued')
      if (next === undefined) return this.#settled(turn)
      this.start(turn, next)
    }
  }

  /** Sends the compensation of a run. */
  start(turn: Turn, run: string): void {
    const known = runOf(turn.instance, run)
    const plan = known === undefined ? undefined : this.#planOf(known)
    if (known === undefined || plan === undefined) return
    const { act, outcomes, timeoutMs } = plan
    const data = act.data(turn.state, known.sent, known.outcome === undefined ? undefined : turn.saga.dataOf(known.outcome))
    const sent = turn.send(act.contract, data, sagaHeaders(turn, act, run))
    turn.emit('compensation-started', { run, attempt: (known.undo?.attempt ?? 0) + 1, sent })
    if (outcomes.length === 0) turn.emit('compensation-completed', { run })
    else if (timeoutMs !== undefined) turn.setTimer(`undo:${run}`, { afterMs: timeoutMs })
  }

  /** True where the message is an outcome of the compensation under way. */
  message(turn: Turn, message: SagaMessage): boolean {
    for (const known of turn.instance.runs) {
      if (known.undo?.status !== 'running' && known.undo?.status !== 'waiting') continue
      const outcome = this.#planOf(known)?.outcomes.find(({ contract }) => contract.type === message.type)
      if (outcome === undefined || !outcome.matches(message.data, known.sent, known.run)) continue
      if (outcome.isFailure) {
        if (known.undo.status === 'running') this.#failed(turn, known, outcome.because(message.data))
        return true
      }
      turn.cancelTimer(`undo:${known.run}`)
      turn.setState(outcome.apply(turn.state, message.data))
      turn.emit('compensation-completed', { run: known.run })
      this.pump(turn)
      return true
    }
    return false
  }

  /** Its time is over, or the wait before the next try. */
  timer(turn: Turn, run: string): void {
    const known = runOf(turn.instance, run)
    if (known?.undo?.status === 'running') this.#failed(turn, known, 'it was not answered in time')
    else if (known?.undo?.status === 'waiting') {
      this.start(turn, run)
      this.pump(turn)
    }
  }

  /** What cannot be undone is left as it is, for good; the saga ends as failed. */
  giveUp(turn: Turn, run: string, reason: string): void {
    turn.cancelTimer(`undo:${run}`)
    turn.emit('compensation-given-up', { run, reason })
    this.pump(turn)
  }

  #failed(turn: Turn, known: RunState, reason: string): void {
    const plan = this.#planOf(known)
    const attempt = known.undo?.attempt ?? 1
    const { run } = known
    if (plan === undefined) return
    turn.cancelTimer(`undo:${run}`)
    turn.emit('compensation-failed', { run, attempt, reason })
    if (attempt < plan.tries.attemptsMax) turn.setTimer(`undo:${run}`, { afterMs: waitBeforeMs(plan.tries, attempt) })
    else if (plan.otherwise === 'alert') this.giveUp(turn, run, reason)
    else turn.emit('quarantined', { code: 'saga.compensation_failed', reason: `${run} could not be undone in ${attempt} attempts: ${reason}`, type: plan.act.contract.type })
  }

  #planOf({ step }: RunState): CompensationPlan | undefined {
    return this.#steps.get(step)?.compensation
  }
}

/** The run that is being undone now. */
export function underWay(instance: Readonly<Instance>): RunState | undefined {
  return instance.runs.find(({ undo }) => undo?.status === 'running' || undo?.status === 'waiting')
}
