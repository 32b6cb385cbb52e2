import type { Message } from '../core/envelope.ts'
import type { Timer } from '../core/clock.ts'
import type { HandlerContext } from './context.ts'
import { DeliveryRunner, type Prepared, type RunnerHost, type RunnerOptions, type Settled, isThenable } from './delivery-runner.ts'

/** A handler for many messages at once. */
export type BatchHandle = (messages: readonly Message[], context: HandlerContext) => unknown

/** How batches are cut. */
export interface BatchOptions {
  /** Most messages in one batch. Default 100. */
  readonly sizeMax?: number
  /** Longest wait of the first message for others to join it, in milliseconds. Default 20. */
  readonly waitMs?: number
}

interface Waiting {
  readonly prepared: Prepared
  readonly done: (result: Settled) => void
}

/**
 * Hands deliveries to the handler in batches. A batch that fails is run again one by one at once, so
 * that a poison message spends only its own attempts and does not hold up its neighbours.
 */
export class BatchRunner extends DeliveryRunner {
  readonly #batch: Required<BatchOptions>
  readonly #handle: BatchHandle
  #waiting: Waiting[] = []
  #timer: Timer | undefined

  constructor(options: RunnerOptions, host: RunnerHost, batch: Required<BatchOptions>, handle: BatchHandle) {
    super(options, host)
    this.#batch = batch
    this.#handle = handle
  }

  protected override perform(prepared: Prepared): Promise<void> {
    return new Promise((resolve) => {
      this.#waiting.push({ prepared, done: resolve })
      if (this.#waiting.length >= this.#batch.sizeMax) this.flush()
      else this.#timer ??= this.host.clock.setTimer(this.#batch.waitMs, () => this.flush())
    })
  }

  protected override flush(): void {
    this.#timer?.cancel()
    this.#timer = undefined
    const batch = this.#waiting
    this.#waiting = []
    if (batch.length > 0) void this.#run(batch)
  }

  async #run(batch: readonly Waiting[]): Promise<void> {
    const [first] = batch
    if (first === undefined) return
    if (batch.length === 1) {
      // Alone already: running it by itself after a failure would be a second run of the same attempt.
      first.done(this.performOne(first.prepared, (message, context) => this.#handle([message], context)))
      return
    }
    try {
      const messages = batch.map(({ prepared }) => prepared.message)
      // A context of its own: when the batch's time is over, the first message is still to be handled alone.
      const whole = this.renewed(first.prepared)
      const result = this.callHandler(whole, (_first, context) => this.#handle(messages, context))
      if (isThenable(result)) await this.limited(whole, result)
    } catch {
      for (const { prepared, done } of batch) done(this.performOne(prepared, (message, context) => this.#handle([message], context)))
      return
    }
    for (const { prepared, done } of batch) done(this.succeed(prepared.delivery, prepared.entry, { kind: 'value', value: undefined }))
  }
}
