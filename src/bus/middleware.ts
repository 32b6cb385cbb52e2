import type { Contract } from '../contract/contract.ts'
import type { Message, WireMessage } from '../core/envelope.ts'
import type { HandlerContext } from './context.ts'

/** One outgoing message, before it is handed to the transport. */
export interface PublishStep {
  readonly contract: Contract
  readonly plane: 'durable' | 'light'
  readonly message: WireMessage
  /** What an answer is matched by; only for queries. */
  readonly token?: string
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
 * Runs round every publish and every handler of a bus, the first one given outermost.
 * Both parts are optional. What they throw counts as the publish's or the handler's own error.
 */
export interface Middleware {
  /** For error texts and diagnostics. */
  readonly name: string
  /** Call `next` with the message, or with a changed copy of it; its promise resolves when the message is stored. */
  readonly publish?: (step: PublishStep, next: (message: WireMessage) => Promise<void>) => Promise<void>
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
