import type { Contract, DataInput, EventContract } from '../contract/contract.ts'
import type { WireMessage } from '../core/envelope.ts'
import { TrunklineError } from '../core/errors.ts'
import type { NewEvent } from './port.ts'

/** Something that happened, on its way into a stream. */
export interface Fact<C extends EventContract = EventContract> {
  readonly contract: C
  readonly data: DataInput<C>
  /** Default: a fresh one. Give your own to make a repeated append recognisable. */
  readonly id: string | undefined
}

/** What goes with a fact. */
export interface FactOptions {
  readonly id?: string
}

/** Says that an event happened: `fact(OrderPlaced, { orderId, totalCents })`. It is validated when it is appended. */
export function fact<C extends EventContract>(contract: C, data: DataInput<C>, options: FactOptions = {}): Fact<C> {
  return { contract, data, id: options.id }
}

/** Makes the messages of events: validated, with the ids of the message that is being handled. */
export interface EventMaker {
  make(contract: Contract, data: unknown, options?: { readonly id?: string }): { readonly message: WireMessage }
}

/**
 * Events of facts, validated.
 *
 * @throws `contract.*`, `core.option_invalid` for no facts at all: an append of nothing has no revision.
 */
export function newEvents(maker: EventMaker, facts: readonly Fact[]): readonly NewEvent[] {
  if (facts.length === 0) throw new TrunklineError('core.option_invalid', { option: 'facts', expected: 'at least one fact', actual: 'an empty list' })
  return facts.map(({ contract, data, id }) => {
    // A caller without types may give a command.
    const kind: string = contract.kind
    if (kind !== 'event') throw new TrunklineError('contract.definition_invalid', { type: contract.type, problem: 'only events are appended' })
    const { message } = maker.make(contract, data, id === undefined ? undefined : { id })
    return { message, isPublic: contract.visibility === 'public' }
  })
}
