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

/** Chains the publish parts; without any of them the last step is called straight. */
export function publishChain(
  middleware: readonly Middleware[],
  last: (step: PublishStep, message: WireMessage) => Promise<void>,
): (step: PublishStep) => Promise<void> {
  const parts = middleware.flatMap(({ publish }) => (publish === undefined ? [] : [publish]))
  const run = (index: number, step: PublishStep, message: WireMessage): Promise<void> => {
    const part = parts[index]
    const current = message === step.message ? step : { ...step, message }
    return part === undefined ? last(current, message) : part(current, (changed) => run(index + 1, current, changed))
  }
  return (step) => (parts.length === 0 ? last(step, step.message) : run(0, step, step.message))
}

/** Chains the handle parts; without any of them the handler is called straight. */
export function handleChain(middleware: readonly Middleware[]): (step: HandleStep, handler: () => unknown) => unknown {
  const parts = middleware.flatMap(({ handle }) => (handle === undefined ? [] : [handle]))
  if (parts.length === 0) return (_step, handler) => handler()
  const run = async (index: number, step: HandleStep, handler: () => unknown): Promise<unknown> => {
    const part = parts[index]
    if (part === undefined) return handler()
    return await part(step, () => run(index + 1, step, handler))
  }
  return (step, handler) => run(0, step, handler)
}
