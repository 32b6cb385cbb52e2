import type { WireMessage } from '../core/envelope.ts'
import type { Logger } from '../core/logger.ts'

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

/** The parts of a context that come from the subscription. */
export interface ContextParts {
  readonly wire: WireMessage
  readonly attempt: number
  readonly attemptsMax: number
  readonly group: string
  readonly isRedriven: boolean
  readonly deadlineAtMs: number | undefined
  readonly logger: Logger
  readonly correlationId: string
}

/** A context that makes its abort signal and its logger only when a handler asks for them. */
export class LazyContext implements HandlerContext {
  readonly attempt: number
  readonly attemptsMax: number
  readonly group: string
  readonly isRedriven: boolean
  readonly deadlineAtMs: number | undefined
  readonly #parts: ContextParts
  #controller: AbortController | undefined
  #abortReason: unknown
  #isAborted = false
  #logger: Logger | undefined

  constructor(parts: ContextParts) {
    this.attempt = parts.attempt
    this.attemptsMax = parts.attemptsMax
    this.group = parts.group
    this.isRedriven = parts.isRedriven
    this.deadlineAtMs = parts.deadlineAtMs
    this.#parts = parts
  }

  get signal(): AbortSignal {
    if (this.#controller === undefined) {
      this.#controller = new AbortController()
      if (this.#isAborted) this.#controller.abort(this.#abortReason)
    }
    return this.#controller.signal
  }

  get logger(): Logger {
    const { wire, correlationId } = this.#parts
    this.#logger ??= this.#parts.logger.child({ messageId: wire.id, type: wire.type, correlationId, group: this.group, attempt: this.attempt })
    return this.#logger
  }

  /** Aborts the signal, also one that nobody has asked for yet. */
  abort(reason: unknown): void {
    this.#isAborted = true
    this.#abortReason = reason
    this.#controller?.abort(reason)
  }
}
