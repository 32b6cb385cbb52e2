import type { Contract } from '../contract/contract.ts'
import { TrunklineError } from '../core/errors.ts'
import type { SagaBrain, SagaShape } from './definition.ts'
import type { Due } from './due.ts'
import type { Instance } from './instance.ts'
import type { SagaMessage } from './port.ts'
import type { OperatorAction, SagaOutcome } from './saga-events.ts'
import type { Turn } from './turn.ts'

/** The two functions with what they may use, their types erased. Methods, so that functions of the user's own types fit. */
export interface DecidePlan {
  decide(input: unknown, state: unknown, to: unknown): readonly DecideOutput[] | DecideOutput | undefined
  evolve(state: unknown, input: unknown): unknown
  readonly outputs: readonly Contract[]
  readonly timers: readonly string[]
  readonly waits: 'forever' | undefined
  readonly starts: readonly string[]
  readonly inputs: readonly string[]
}

/** One thing that is wanted. */
export type DecideOutput =
  | { readonly kind: 'send'; readonly contract: Contract; readonly data: unknown }
  | { readonly kind: 'publish'; readonly contract: Contract; readonly data: unknown }
  | { readonly kind: 'set-timer'; readonly timer: string; readonly due: Due }
  | { readonly kind: 'cancel-timer'; readonly timer: string }
  | { readonly kind: 'end'; readonly outcome: SagaOutcome; readonly reason: string | undefined }

const OUTPUTS = {
  send: (contract: Contract, data: unknown): DecideOutput => ({ kind: 'send', contract, data }),
  publish: (contract: Contract, data: unknown): DecideOutput => ({ kind: 'publish', contract, data }),
  timer: (timer: string, due: Due): DecideOutput => ({ kind: 'set-timer', timer, due }),
  cancel: (timer: string): DecideOutput => ({ kind: 'cancel-timer', timer }),
  end: (outcome: SagaOutcome = 'completed', reason?: string): DecideOutput => ({ kind: 'end', outcome, reason }),
}

/** The logic of a process manager: what its functions say. */
export class DecideBrain implements SagaBrain {
  readonly shape: SagaShape
  readonly #plan: DecidePlan

  constructor(plan: DecidePlan) {
    this.#plan = plan
    const { starts, inputs, outputs, timers, waits } = plan
    this.shape = { form: 'process-manager', starts, cancels: [], parts: [], inputs, outputs: outputs.map(({ type }) => type), timers, waits }
  }

  hasStep(): boolean {
    return true
  }

  cancels(): boolean {
    return false
  }

  begin(turn: Turn, message: SagaMessage): void {
    this.message(turn, message)
  }

  message(turn: Turn, { type, data, id }: SagaMessage): void {
    this.#given(turn, { type, data, id })
  }

  late(): boolean {
    return false
  }

  timer(turn: Turn, timer: string): void {
    if (turn.instance.status === 'running') this.#given(turn, { type: 'timer', timer: timer.slice(timer.indexOf(':') + 1) })
  }

  operate(turn: Turn, action: OperatorAction, _step: string | undefined, reason: string): void {
    if (action === 'cancel' && turn.instance.status === 'running') return turn.end('cancelled', reason)
    throw new TrunklineError('saga.action_refused', { saga: turn.saga.name, instance: turn.moment.instance, action, problem: `a process manager can be cancelled and resumed; it is ${turn.instance.status}` })
  }

  waitsFor(instance: Readonly<Instance>): readonly string[] {
    return Object.keys(instance.timers)
  }

  #given(turn: Turn, input: unknown): void {
    const before = turn.state
    const wanted = this.#plan.decide(input, before, OUTPUTS) ?? []
    turn.setState(this.#plan.evolve(before, input))
    for (const output of isList(wanted) ? wanted : [wanted]) this.#output(turn, output)
    const { status, timers } = turn.instance
    const isStuck = status === 'running' && this.#plan.waits !== 'forever' && Object.keys(timers).length === 0
    if (isStuck) throw new TrunklineError('saga.timer_missing', { saga: turn.saga.name, instance: turn.moment.instance })
  }

  #output(turn: Turn, output: DecideOutput): void {
    if (turn.instance.status === 'ended') throw new TrunklineError('saga.function_failed', { saga: turn.saga.name, problem: `it wants ${output.kind} after its end` })
    if (output.kind === 'end') turn.end(output.outcome, output.reason)
    else if (output.kind === 'send' || output.kind === 'publish') {
      if (!this.#plan.outputs.includes(output.contract)) throw new TrunklineError('saga.function_failed', { saga: turn.saga.name, problem: `${output.contract.type} is none of its outputs` })
      turn.emit('message-sent', { sent: turn.send(output.contract, output.data) })
    } else {
      if (!this.#plan.timers.includes(output.timer)) throw new TrunklineError('saga.function_failed', { saga: turn.saga.name, problem: `${output.timer} is none of its timers` })
      const isRecurring = output.kind === 'set-timer' && output.due.cron !== undefined
      // One by calendar and one that goes off once are two alarms of one name, of which there is one.
      for (const kind of ['each', 'timer']) if (output.kind === 'cancel-timer' || (kind === 'each') !== isRecurring) turn.cancelTimer(`${kind}:${output.timer}`)
      if (output.kind === 'set-timer') turn.setTimer(`${isRecurring ? 'each' : 'timer'}:${output.timer}`, output.due)
    }
  }
}

function isList(wanted: readonly DecideOutput[] | DecideOutput): wanted is readonly DecideOutput[] {
  return Array.isArray(wanted)
}
