import type { Clock, Timer } from '../core/clock.ts'
import { TrunklineError } from '../core/errors.ts'
import { heartbeatText } from './event-text.ts'

/** Pages of a log that wait for their caller. */
const SOURCE_PARTS_MAX = 2

/** Bounds of one caller of an event stream. */
export interface EventClientLimits {
  readonly heartbeatMs: number
  readonly stallMs: number
  /** Parts that may wait for the caller. */
  readonly bufferMax: number
}

/** What gives parts to a caller that asks for them. */
export interface EventSource {
  /** The next part, which is not empty, or undefined at the end. It is called again only when the caller has taken the one before. */
  next(): Promise<string | undefined>
  /** Where the caller would go on from. */
  readonly cursor: bigint | undefined
  /** The caller has gone. */
  close(): void
}

/**
 * One caller of an event stream: bounded, with signs of life, and cut when it takes nothing of what waits.
 *
 * Parts are pulled from a source as fast as the caller takes them, or pushed by a broadcast, which does not wait.
 */
export class EventClient {
  readonly body: ReadableStream<Uint8Array>
  readonly #clock: Clock
  readonly #limits: EventClientLimits
  readonly #source: EventSource | undefined
  readonly #gone: (client: EventClient) => void
  #controller: ReadableStreamDefaultController<Uint8Array> | undefined
  #timer: Timer | undefined
  #fullSinceMs: number | undefined
  #isOver = false

  constructor(clock: Clock, limits: EventClientLimits, opening: string, source: EventSource | undefined, gone: (client: EventClient) => void) {
    this.#clock = clock
    this.#limits = limits
    this.#source = source
    this.#gone = gone
    this.body = new ReadableStream<Uint8Array>(
      {
        start: (controller) => {
          this.#controller = controller
          controller.enqueue(Buffer.from(opening))
        },
        pull: () => this.#pull(),
        cancel: () => this.#end(() => {}),
      },
      // A source waits for its caller; a broadcast cannot.
      { highWaterMark: source === undefined ? limits.bufferMax : SOURCE_PARTS_MAX },
    )
    this.#arm()
  }

  /** Hands a part to the caller, who is cut where it lets too many wait. */
  push(text: string): void {
    if (this.#isOver) return
    if ((this.#controller?.desiredSize ?? 0) <= 0) this.#cut()
    else this.#enqueue(text)
  }

  /** Ends the stream, so that the caller comes again elsewhere. */
  close(): void {
    this.#end((controller) => controller.close())
  }

  async #pull(): Promise<void> {
    this.#fullSinceMs = undefined
    if (this.#source === undefined) return
    try {
      const text = await this.#source.next()
      if (text === undefined) this.close()
      else this.#enqueue(text)
    } catch {
      // A store that is down: the caller comes again, and goes on from where it was.
      this.close()
    }
  }

  #enqueue(text: string): void {
    if (!this.#isOver && text !== '') this.#controller?.enqueue(Buffer.from(text))
  }

  /** Looks after the caller: a sign of life where there is room, and an end where it has taken nothing for too long. */
  #arm(): void {
    this.#timer = this.#clock.setTimer(Math.min(this.#limits.heartbeatMs, this.#limits.stallMs), () => {
      if (this.#isOver) return
      const isFull = (this.#controller?.desiredSize ?? 0) <= 0
      if (!isFull) {
        this.#fullSinceMs = undefined
        this.#enqueue(heartbeatText(this.#source?.cursor))
      } else if (this.#clock.monotonicMs() - (this.#fullSinceMs ??= this.#clock.monotonicMs()) >= this.#limits.stallMs) this.#cut()
      this.#arm()
    }, { background: true })
  }

  #cut(): void {
    this.#end((controller) => controller.error(new TrunklineError('bus.overloaded', { what: 'events that wait for one caller', limit: this.#limits.bufferMax })))
  }

  #end(finish: (controller: ReadableStreamDefaultController<Uint8Array>) => void): void {
    if (this.#isOver) return
    this.#isOver = true
    this.#timer?.cancel()
    this.#source?.close()
    if (this.#controller !== undefined) finish(this.#controller)
    this.#gone(this)
  }
}
