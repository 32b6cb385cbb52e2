import { isDeepStrictEqual } from 'node:util'
import { type Contract, type DataInput, type OperatorAction, type SagaDefinition, type SagaEvent, type SagaInput, type SagaInstance, type SagaTransition, noInstance, transition } from '../../src/index.ts'
import { madeMessage } from '../../src/saga/family.ts'
import { parentOf } from '../../src/saga/headers.ts'
import { apply } from '../../src/saga/instance.ts'

/** One instance without bus, store or clock: every transition is made twice, from the fold of its stream, and must come out the same. */
export class Play {
  readonly #definition: SagaDefinition
  readonly id: string
  readonly events: SagaEvent[] = []
  readonly sent: { readonly type: string; readonly data: unknown; readonly id: string }[] = []
  nowMs = 1_000_000
  #made = 0

  constructor(definition: SagaDefinition, id = 'o-1', events: readonly SagaEvent[] = []) {
    this.#definition = definition
    this.id = id
    this.events.push(...events)
  }

  /** The same stream, run by another definition. */
  by(definition: SagaDefinition): Play {
    const play = new Play(definition, this.id, this.events)
    play.nowMs = this.nowMs
    play.#made = this.#made
    return play
  }

  get instance(): SagaInstance {
    const instance = noInstance()
    for (const event of this.events) apply(instance, event)
    // As it is read back: through JSON.
    return JSON.parse(JSON.stringify(instance))
  }

  message<C extends Contract>(contract: C, data: DataInput<C>, id = `m-${++this.#made}`): SagaTransition {
    return this.give({ kind: 'message', message: madeMessage(contract, data, { id, source: '/test', correlationId: 'flow-1' }) })
  }

  /** A message with headers, as a saga above has sent it. */
  start<C extends Contract>(contract: C, data: DataInput<C>, headers: Readonly<Record<string, string>>): SagaTransition {
    const made = madeMessage(contract, data, { id: `m-${++this.#made}`, source: '/test', correlationId: 'flow-1' })
    return this.give({ kind: 'message', message: { ...made, parent: parentOf(headers) } })
  }

  /** Lets time go by up to the alarm that is due next; it goes off. */
  alarm(timer = Object.entries(this.instance.timers).toSorted(([, one], [, other]) => one.dueAtMs - other.dueAtMs)[0]?.[0] ?? ''): SagaTransition {
    const set = this.instance.timers[timer]
    if (set === undefined) throw new TypeError(`no alarm ${timer} is set`)
    this.nowMs = Math.max(this.nowMs, set.dueAtMs)
    return this.give({ kind: 'timer', timer, token: set.token })
  }

  act(action: OperatorAction, step?: string): SagaTransition {
    return this.give({ kind: 'operator', action, step, by: 'ann', reason: 'because', id: `a-${++this.#made}` })
  }

  give(input: SagaInput): SagaTransition {
    const moment = { instance: this.id, revision: this.events.length === 0 ? undefined : BigInt(this.events.length - 1), nowMs: this.nowMs }
    const made = transition(this.#definition, this.instance, input, moment)
    const again = transition(this.#definition, this.instance, input, moment)
    if (JSON.stringify(made) !== JSON.stringify(again)) throw new TypeError('the same transition came out otherwise the second time')
    this.events.push(...made.events)
    if (!isDeepStrictEqual(this.instance, JSON.parse(JSON.stringify(made.instance)))) throw new TypeError('the fold of the stream is not what the transition saw')
    this.sent.push(...made.outgoing.map(({ contract, data, id }) => ({ type: contract.type, data, id })))
    return made
  }

  /** Names of what was sent so far. */
  get types(): readonly string[] {
    return this.sent.map(({ type }) => type.slice(type.indexOf('.') + 1))
  }

  kinds(kind: SagaEvent['kind']): readonly SagaEvent[] {
    return this.events.filter((one) => one.kind === kind)
  }
}
