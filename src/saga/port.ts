import type { Contract } from '../contract/contract.ts'
import type { KeptMessage, MessageRef, OperatorAction, SagaEvent, SagaParent } from './saga-events.ts'
import type { Instance } from './instance.ts'

// What goes into a transition of a saga and what comes out of it: types only. The engine, the tests of users, and whatever explores or draws a
// saga run the same function over them.

/** A message on its way into an instance. */
export interface SagaMessage extends MessageRef {
  /** Data as the contract gives it. */
  readonly data: unknown
  /** Version and body as they came, for a message that has to wait. */
  readonly version: number
  readonly body: unknown
  readonly correlationId: string
  readonly tenant: string | undefined
  readonly parent: SagaParent | undefined
  /** Handlers in a row that led to it. Default 0. */
  readonly hops?: number | undefined
}

/** What an instance is given. */
export type SagaInput =
  | { readonly kind: 'message'; readonly message: SagaMessage }
  | { readonly kind: 'timer'; readonly timer: string; /** As it was set with. */ readonly token: string }
  | { readonly kind: 'operator'; readonly action: OperatorAction; /** Makes a repetition recognisable. */ readonly id: string; readonly by: string; readonly reason: string; readonly step?: string | undefined }

/** Where and when a transition happens. Nothing else of the world goes into it. */
export interface SagaMoment {
  readonly instance: string
  /** Revision of the last event of its stream; undefined where there is none. Ids of what it sends derive from it. */
  readonly revision: bigint | undefined
  readonly nowMs: number
}

/** A message that leaves with the commit. */
export interface SagaOutgoing {
  readonly id: string
  readonly contract: Contract
  readonly data: unknown
  readonly correlationId: string
  readonly tenant: string | undefined
  readonly headers: Readonly<Record<string, string>> | undefined
}

/** An alarm that is set with the commit. */
export interface SagaTimerOrder {
  readonly timer: string
  readonly token: string
  readonly dueAtMs: number
  readonly due: { readonly atMs: number } | { readonly afterMs: number }
}

/** What a transition gives: everything that is to be committed together, or nothing. */
export interface SagaTransition {
  /** Empty where the input was handled before, or concerns nobody any more. */
  readonly events: readonly SagaEvent[]
  readonly outgoing: readonly SagaOutgoing[]
  readonly timers: readonly SagaTimerOrder[]
  readonly cancelledTimers: readonly string[]
  /** After all of it. */
  readonly instance: Readonly<Instance>
}

/** A message as it waits. */
export function keptOf({ id, source, type, version, body, correlationId, tenant, parent, hops }: SagaMessage): KeptMessage {
  return { id, source, type, version, body, correlationId, tenant, parent, hops }
}
