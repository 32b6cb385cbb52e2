import type { Contract, ContractKind } from '../contract/contract.ts'
import type { Message, WireMessage } from '../core/envelope.ts'
import type { HandlerContext } from './context.ts'

/** One outgoing message, before it is handed to the transport. */
export interface PublishStep {
  /** Undefined where the relay of an outbox publishes a type that this bus does not know. */
  readonly contract: Contract | undefined
  readonly kind: ContractKind
  readonly plane: 'durable' | 'light'
  readonly message: WireMessage
  /** What an answer is matched by; only for queries. */
  readonly token?: string
  /** Light-plane address of the one instance that a query is for. */
  readonly to?: string | undefined
  /** Milliseconds to be stored in, where the publisher set its own limit. */
  readonly timeoutMs?: number
}

/** One message about to be handled. */
export interface HandleStep {
  readonly contract: Contract
  readonly message: Message
  readonly context: HandlerContext
}

/**
 * Runs round every publish (also those of an outbox, when its relay publishes) and every handler of a bus, the first one given outermost.
 * Both parts are optional. What they throw counts as the publish's or the handler's own error.
 */
export interface Middleware {
  /** For error texts and diagnostics. */
  readonly name: string
  /** Call `next` with the message, or with a changed copy of it; its promise resolves when the message is stored. */
  readonly publish?: (step: PublishStep, next: (message: WireMessage) => Promise<void>) => Promise<void>
  /**
   * Changes a message that came durably before it is read: give a promise of the message to go on with, or undefined at once to leave it as it is.
   * What it rejects with counts as a failed attempt.
   */
  readonly receive?: (message: WireMessage) => Promise<WireMessage> | undefined
  /** Call `next` to run the handler; its promise resolves with the handler's answer. */
  readonly handle?: (step: HandleStep, next: () => Promise<unknown>) => Promise<unknown>
}

/** Chains the publish parts; undefined where there are none and the last step can be called straight. */
export function publishChain(
  middleware: readonly Middleware[],
  last: (step: PublishStep) => Promise<void>,
): ((step: PublishStep) => Promise<void>) | undefined {
  const parts = middleware.flatMap(({ publish }) => (publish === undefined ? [] : [publish]))
  const run = (index: number, step: PublishStep, message: WireMessage): Promise<void> => {
    const part = parts[index]
    const current = message === step.message ? step : { ...step, message }
    return part === undefined ? last(current) : part(current, (changed) => run(index + 1, current, changed))
  }
  return parts.length === 0 ? undefined : (step) => run(0, step, step.message)
}

/** What runs over every message that comes in durably; undefined where it stays as it is. */
export type ReceiveChain = (message: WireMessage) => Promise<WireMessage> | undefined

/** Chains the receive parts, the innermost first, since it changed the message last; undefined where there are none. */
export function receiveChain(middleware: readonly Middleware[]): ReceiveChain | undefined {
  const parts = middleware.flatMap(({ receive }) => (receive === undefined ? [] : [receive])).toReversed()
  const run = (index: number, message: WireMessage): Promise<WireMessage> | undefined => {
    for (let at = index; at < parts.length; at++) {
      const changed = parts[at]?.(message)
      if (changed !== undefined) return changed.then((opened) => run(at + 1, opened) ?? opened)
    }
    return undefined
  }
  return parts.length === 0 ? undefined : (message) => run(0, message)
}

/** What runs round every handler. */
export type HandleChain = (step: HandleStep, handler: () => unknown) => unknown

/** Chains the handle parts; undefined where there are none and handlers can be called straight. */
export function handleChain(middleware: readonly Middleware[]): HandleChain | undefined {
  const parts = middleware.flatMap(({ handle }) => (handle === undefined ? [] : [handle]))
  if (parts.length === 0) return undefined
  const run = async (index: number, step: HandleStep, handler: () => unknown): Promise<unknown> => {
    const part = parts[index]
    if (part === undefined) return handler()
    return await part(step, () => run(index + 1, step, handler))
  }
  return (step, handler) => run(0, step, handler)
}
