import type { WireMessage } from '../core/envelope.ts'
import type { Logger } from '../core/logger.ts'
import type { Scope } from './scope.ts'

/** What a handler knows beside the message. */
export interface HandlerContext {
  /** 1-based number of this attempt at this delivery. */
  readonly attempt: number
  readonly attemptsMax: number
  /** Full name of the group, `service.group`; the type for commands and queries. */
  readonly group: string
  /** True where an operator took the message out of the dead letters. */
  readonly isRedriven: boolean
  /** Wall-clock instant after which nobody needs the outcome, in milliseconds, or undefined. */
  readonly deadlineAtMs: number | undefined
  /** Aborts when the handler's time is over or the bus gives up waiting for it while stopping. */
  readonly signal: AbortSignal
  /** The bus' logger with message id, type, correlation id, group and attempt bound. */
  readonly logger: Logger
}

/** What all contexts of one subscription share. */
export interface ContextSource {
  readonly group: string
  readonly attemptsMax: number
  readonly logger: Logger
}

/** A context that makes its abort signal and its logger only when a handler asks for them. */
export class LazyContext implements HandlerContext {
  readonly attempt: number
  readonly isRedriven: boolean
  /** True where somebody waits for what the handler gives back. */
  readonly isAsked: boolean
  readonly #source: ContextSource
  readonly #wire: WireMessage
  readonly #scope: Scope
  #controller: AbortController | undefined
  /** The signal of a policy, where one stands round the handler. */
  #given: AbortSignal | undefined
  #abortReason: unknown
  #isAborted = false
  #logger: Logger | undefined

  constructor(source: ContextSource, delivery: { readonly message: WireMessage; readonly isRedriven: boolean; readonly isAsked?: boolean }, attempt: number, scope: Scope) {
    this.#source = source
    this.#wire = delivery.message
    this.#scope = scope
    this.attempt = attempt
    this.isRedriven = delivery.isRedriven
    this.isAsked = delivery.isAsked ?? delivery.message.replyTo !== undefined
  }

  /** The message as it came. */
  get wire(): WireMessage {
    return this.#wire
  }

  get attemptsMax(): number {
    return this.#source.attemptsMax
  }

  get group(): string {
    return this.#source.group
  }

  get deadlineAtMs(): number | undefined {
    return this.#scope.deadlineAtMs
  }

  get signal(): AbortSignal {
    if (this.#given !== undefined) return this.#given
    if (this.#controller === undefined) {
      this.#controller = new AbortController()
      if (this.#isAborted) this.#controller.abort(this.#abortReason)
    }
    return this.#controller.signal
  }

  get logger(): Logger {
    const { id, type } = this.#wire
    this.#logger ??= this.#source.logger.child({ messageId: id, type, correlationId: this.#scope.correlationId, group: this.group, attempt: this.attempt })
    return this.#logger
  }

  /** The same for one try under a policy, with the policy's signal. */
  under(signal: AbortSignal): LazyContext {
    const context = new LazyContext(this.#source, { message: this.#wire, isRedriven: this.isRedriven, isAsked: this.isAsked }, this.attempt, this.#scope)
    context.#given = signal
    return context
  }

  /** True where this is the context of the handler that runs in `scope`. */
  isOf(scope: Scope): boolean {
    return this.#scope === scope
  }

  /** Aborts the signal, also one that nobody has asked for yet. */
  abort(reason: unknown): void {
    this.#isAborted = true
    this.#abortReason = reason
    this.#controller?.abort(reason)
  }
}
