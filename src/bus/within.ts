import { AsyncLocalStorage } from 'node:async_hooks'
import type { ContractTypes, DefinedContract } from '../contract/contract.ts'
import type { Message } from '../core/envelope.ts'
import type { Logger } from '../core/logger.ts'
import type { BatchOptions } from './batch-runner.ts'
import type { HandlerContext, LazyContext } from './context.ts'
import { KeptAnswer } from './kept-answer.ts'
import type { UnitOfWork, UnitOutcome, UnitRequest } from './port.ts'
import { runAsUnit } from './unit-scope.ts'

/** What makes a handler a unit of work. */
export interface WithinOptions<Unit extends object = object, Prepared = undefined> {
  /** The store in which inbox mark, business rows, events and outgoing messages of each message commit together. */
  readonly within: UnitOfWork<Unit>
  /**
   * Runs before the transaction, for what is slow or asks others; the handler gets what it gives as `context.prepared`.
   * It may run again for the same message, and nothing of it is undone.
   */
  readonly prepare?: (message: never, context: HandlerContext) => Prepared | PromiseLike<Prepared>
  /** Lets messages that wait share one transaction. Each is handled by itself, and fails by itself. Default: one transaction each. */
  readonly batch?: BatchOptions
}

/** The context of a handler that is a unit of work. */
export type UnitContext<Unit extends object, Prepared> = HandlerContext & Unit & {
  /** What `prepare` gave. */
  readonly prepared: Prepared
}

type Handle = (message: Message, context: HandlerContext) => unknown

/** How one subscription's handlers run as units. */
export interface Within {
  readonly unitOfWork: UnitOfWork
  readonly prepare: Handle | undefined
  readonly batch: Required<BatchOptions> | undefined
}

/** A handler's context with the members of its unit of work beside it. */
class JoinedContext implements HandlerContext {
  readonly #context: LazyContext
  readonly prepared: unknown

  constructor(context: LazyContext, unit: object, prepared: unknown) {
    this.#context = context
    this.prepared = prepared
    Object.assign(this, unit)
  }

  get attempt(): number {
    return this.#context.attempt
  }

  get attemptsMax(): number {
    return this.#context.attemptsMax
  }

  get group(): string {
    return this.#context.group
  }

  get isRedriven(): boolean {
    return this.#context.isRedriven
  }

  get deadlineAtMs(): number | undefined {
    return this.#context.deadlineAtMs
  }

  get signal(): AbortSignal {
    return this.#context.signal
  }

  get logger(): Logger {
    return this.#context.logger
  }
}

/** What a unit needs to know of one handler. */
export interface UnitHandler {
  readonly contract: DefinedContract<string, ContractTypes>
  readonly handle: Handle
  readonly prepare: Handle | undefined
}

/** The request to run one message as a unit. What `prepare` does is done when it resolves. */
export async function unitRequest(handler: UnitHandler, message: Message, context: LazyContext): Promise<UnitRequest> {
  const { contract, handle, prepare } = handler
  const prepared: unknown = prepare === undefined ? undefined : await prepare(message, context)
  // A database may call it out of its own queue: the ids that flow, and what the user's own tracing keeps, have to come along.
  const inHere = AsyncLocalStorage.snapshot()
  return {
    group: context.group,
    message: context.wire,
    isRedriven: context.isRedriven,
    signal: context.signal,
    work: (unit) => inHere(() => runAsUnit(() => handle(message, new JoinedContext(context, unit, prepared)))),
    encodeAnswer: context.isAsked && contract.hasReply ? (value) => contract.encodeReply(value) : undefined,
  }
}

/**
 * What the handler of a settled unit gave.
 *
 * @throws what made the unit fail.
 */
export function unitValue(outcome: UnitOutcome): unknown {
  if (outcome.kind === 'failed') throw outcome.error
  return outcome.kind === 'seen' ? new KeptAnswer(outcome.answer) : outcome.value
}

/** A handler that runs another one as a unit of work, a transaction for each message. */
export function withinHandle(unitOfWork: UnitOfWork, handler: UnitHandler): Handle {
  return async (message, context) => unitValue(await unitOfWork.run(await unitRequest(handler, message, lazy(context))))
}

/** Every context that reaches a handler of a durable subscription is one. */
export function lazy(context: HandlerContext): LazyContext {
  return context as LazyContext
}
