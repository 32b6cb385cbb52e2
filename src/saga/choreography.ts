import type { Bus } from '../bus/bus.ts'
import type { Message } from '../core/envelope.ts'
import type { AnyCommand, DataInput, DataOutput, EventContract } from '../contract/contract.ts'
import { TrunklineError } from '../core/errors.ts'
import { derivedId } from '../core/random.ts'
import type { Store } from '../outbox/store.ts'
import { type SagaContract, checkedPart, invalid } from './definition.ts'

/** One thing that follows; made by `FlowOutputs`. */
export interface FlowOutput {
  readonly contract: SagaContract
  readonly data: unknown
}

/** Makes what follows, of what was declared. */
export interface FlowOutputs<Out extends SagaContract> {
  send<C extends Out & AnyCommand>(contract: C, data: DataInput<C>): FlowOutput
  publish<C extends Out & EventContract>(contract: C, data: DataInput<C>): FlowOutput
}

interface Reaction {
  readonly contract: EventContract
  readonly outputs: readonly SagaContract[]
  react(data: unknown, to: unknown): readonly FlowOutput[] | FlowOutput | undefined
}

/** What follows on what, for drawings. JSON. */
export interface FlowShape {
  readonly name: string
  readonly reactions: readonly { readonly on: string; readonly outputs: readonly string[] }[]
}

/**
 * A flow without a coordinator: each event leads to commands and events, and nothing is remembered. All messages of one flow have the correlation id of the
 * first, and what follows on a message has the same ids however often it is handled.
 *
 * Use it where no step waits for another one and nothing has to be undone; else a saga.
 *
 * @param name lower-case words with dashes between, at most 40 characters; part of its group's name.
 * @throws `saga.definition_invalid`.
 */
export function choreography(name: string): Choreography {
  return new Choreography(checkedPart(name, 'flow', name), [])
}

/** A flow that is being written. Every method gives a new one. */
export class Choreography {
  readonly name: string
  readonly #reactions: readonly Reaction[]

  constructor(name: string, reactions: readonly Reaction[]) {
    this.name = name
    this.#reactions = reactions
  }

  /**
   * What follows on an event: a pure function, which may give nothing.
   *
   * @param outputs everything that it may give.
   * @throws `saga.definition_invalid` for a second reaction on one event.
   */
  when<C extends EventContract, const Out extends SagaContract>(
    contract: C, outputs: readonly Out[], react: (data: DataOutput<C>, to: FlowOutputs<Out>) => readonly FlowOutput[] | FlowOutput | undefined,
  ): Choreography {
    if (this.#reactions.some((one) => one.contract.type === contract.type)) throw invalid(this.name, `${contract.type} has a reaction already`)
    return new Choreography(this.name, [...this.#reactions, { contract, outputs, react }])
  }

  /** What follows on what. */
  get shape(): FlowShape {
    return { name: this.name, reactions: this.#reactions.map(({ contract, outputs }) => ({ on: contract.type, outputs: outputs.map(({ type }) => type) })) }
  }

  /**
   * What follows on an event, as data: for tests.
   *
   * @throws what the reaction throws, `saga.function_failed` for what it has not declared, `contract.*`.
   */
  react(type: string, data: unknown): readonly FlowOutput[] {
    const reaction = this.#reactions.find(({ contract }) => contract.type === type)
    if (reaction === undefined) return []
    const outputs = reaction.react(data, TO) ?? []
    const list = isList(outputs) ? outputs : [outputs]
    const stray = list.find(({ contract }) => !reaction.outputs.includes(contract))
    if (stray !== undefined) throw new TrunklineError('saga.function_failed', { saga: this.name, problem: `on ${type} it gives ${stray.contract.type}, which it has not declared` })
    return list
  }

  /**
   * Runs it on a bus; call it before `bus.start()`. Each event and what follows on it is one unit of work of the store.
   *
   * @throws `saga.definition_invalid` without reactions, `bus.not_running`, `outbox.attached_twice`.
   */
  run<Tx>({ bus, store }: { readonly bus: Bus; readonly store: Store<Tx> }): void {
    const contracts = this.#reactions.map(({ contract }) => contract)
    if (contracts.length === 0) throw invalid(this.name, 'nothing follows on anything')
    bus.on(contracts, { group: `flow-${this.name}`, within: store, name: `flow ${this.name}` }, (message: Message, { send, publish }) => {
      for (const [index, { contract, data }] of this.react(message.type, message.data).entries()) {
        const id = derivedId('flow', this.name, message.source, message.id, `${index}`)
        if (isCommand(contract)) send(contract, data, { id })
        else publish(contract, data, { id })
      }
    })
  }
}

const TO: FlowOutputs<SagaContract> = {
  send: (contract, data) => ({ contract, data }),
  publish: (contract, data) => ({ contract, data }),
}

function isCommand(contract: SagaContract): contract is AnyCommand {
  return contract.kind === 'command'
}

function isList(outputs: readonly FlowOutput[] | FlowOutput): outputs is readonly FlowOutput[] {
  return Array.isArray(outputs)
}
