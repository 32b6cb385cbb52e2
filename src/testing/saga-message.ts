import { type Contract, type DataInput, type DataOutput, defined } from '../contract/contract.ts'
import type { SagaContract, SagaDefinition } from '../saga/definition.ts'
import { madeMessage } from '../saga/family.ts'
import { parentOf } from '../saga/headers.ts'
import type { SagaMessage, SagaOutgoing } from '../saga/port.ts'
import type { SagaParent } from '../saga/saga-events.ts'
import { TrunklineError } from '../core/errors.ts'

/** A message to be given to a saga, or expected of one; made by `message`. */
export interface TestMessage {
  readonly contract: Contract
  readonly data: unknown
}

/** What a message comes with beside its data. */
export interface TestMessageOptions {
  /** Default: one of its own. The same id and source make it a duplicate. */
  readonly id?: string
  /** Name of the service that it comes from. Default `test`. */
  readonly source?: string
  /** Default: its id. */
  readonly correlationId?: string
  /** Default: none. */
  readonly tenant?: string
  /** Set for the start of a sub-saga: the run of another saga that waits for its end. */
  readonly parent?: SagaParent
}

/** Possible answers to a message that a saga sends; made by `reply`. */
export interface TestReply {
  readonly contract: Contract
  /** Every answer that may come; exactly one of them does, or none in time. */
  possible(data: unknown, sent: SentToReply): readonly TestMessage[]
}

/** What is known of a message that is to be answered. */
export interface SentToReply {
  readonly id: string
  /** Who waits for the end of the saga that it starts; undefined where it starts none. */
  readonly parent: SagaParent | undefined
}

/** A message with its data, typed by its contract. */
export function message<C extends SagaContract>(contract: C, data: DataInput<C>): TestMessage {
  return { contract, data }
}

/**
 * Says what may come of a command or event that a saga sends.
 *
 * @param possible every answer that its receiver may give, from the data that was sent. It is pure: the same data give the same answers.
 */
export function reply<C extends SagaContract>(contract: C, possible: (data: DataOutput<C>, sent: SentToReply) => readonly TestMessage[]): TestReply {
  return { contract, possible }
}

/**
 * A message as a saga takes it.
 *
 * @throws `bus.type_unhandled` for one that none of the definitions takes, `contract.*` for data that does not fit.
 */
export function arriving(definitions: readonly SagaDefinition[], { contract, data }: TestMessage, id: string, options: TestMessageOptions): SagaMessage {
  const isTaken = definitions.some(({ inputs }) => inputs.has(contract.type))
  if (!isTaken) throw new TrunklineError('bus.type_unhandled', { type: contract.type, group: `saga ${definitions[0]?.name ?? ''}` })
  const { source = 'test', correlationId, tenant, parent } = options
  const ref = { id: options.id ?? id, source, correlationId: correlationId ?? options.id ?? id, ...(tenant === undefined ? {} : { tenant }) }
  return { ...madeMessage(contract, data, ref), parent }
}

/** Data as they arrive, by the contract. @throws `contract.*` for data that does not fit. */
export function arrivedData({ contract, data }: TestMessage): unknown {
  const known = defined(contract)
  return known.decode(known.version, known.encode(data).body)
}

/** A message as people and assertions see it. */
export function plainMessage(one: TestMessage): { readonly type: string; readonly data: unknown } {
  return { type: one.contract.type, data: arrivedData(one) }
}

/** What an outgoing message tells those who answer it. */
export function sentToReply({ id, headers }: SagaOutgoing): SentToReply {
  return { id, parent: parentOf(headers) }
}
