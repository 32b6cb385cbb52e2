/** A timer that has been armed. Cancelling twice, or after it fired, does nothing. */
export interface Timer {
  cancel(): void
}

/**
 * The only source of time in the library.
 *
 * Production code gets `systemClock`; the simulator and tests give their own, and the same
 * code then runs on virtual time.
 */
export interface Clock {
  /** Wall-clock time in milliseconds since 1970. May jump; use it for time stamps only. */
  nowMs(): number
  /** Milliseconds that never go backwards. Use it for every duration and deadline. */
  monotonicMs(): number
  /**
   * Runs `callback` once, after `delayMs` milliseconds. Never early; negative and NaN count as 0.
   * Delays beyond the platform's 2^31 ms limit are honoured.
   *
   * @param options.background a timer that alone does not keep the process alive. Default false.
   */
  setTimer(delayMs: number, callback: () => void, options?: { readonly background?: boolean }): Timer
  /** Runs `callback` after the events that are already waiting. */
  defer(callback: () => void): void
}

/** Node fires timers beyond this after 1 ms, so longer delays are cut into pieces. */
const TIMER_DELAY_MAX_MS = 86_400_000

class SystemTimer implements Timer {
  #handle: NodeJS.Timeout | undefined
  readonly #callback: () => void
  readonly #background: boolean

  constructor(delayMs: number, callback: () => void, background: boolean) {
    this.#callback = callback
    this.#background = background
    // The platform cuts fractions off, which would be early.
    this.#arm(delayMs > 0 ? Math.ceil(delayMs) : 0)
  }

  #arm(remainingMs: number): void {
    const sliceMs = Math.min(remainingMs, TIMER_DELAY_MAX_MS)
    this.#handle = setTimeout(() => {
      if (remainingMs > sliceMs) this.#arm(remainingMs - sliceMs)
      else this.#callback()
    }, sliceMs)
    if (this.#background) this.#handle.unref()
  }

  cancel(): void {
    clearTimeout(this.#handle)
  }
}

/** The machine's clock and timers. */
export const systemClock: Clock = {
  nowMs: () => Date.now(),
  monotonicMs: () => performance.now(),
  setTimer: (delayMs, callback, options) => new SystemTimer(delayMs, callback, options?.background ?? false),
  defer: (callback) => {
    setImmediate(callback)
  },
}

/** Resolves after `delayMs`, or as soon as `signal` aborts; it never rejects. */
export function sleep(clock: Clock, delayMs: number, signal?: AbortSignal): Promise<void> {
  if (signal?.aborted) return Promise.resolve()
  return new Promise((resolve) => {
    const finish = (): void => {
      timer.cancel()
      signal?.removeEventListener('abort', finish)
      resolve()
    }
    const timer = clock.setTimer(delayMs, finish)
    signal?.addEventListener('abort', finish, { once: true })
  })
}

/** RFC 3339 text with milliseconds, in UTC. */
export function instantText(atMs: number): string {
  return new Date(atMs).toISOString()
}

// Without an offset a text would be read in the time zone of this machine.
const INSTANT = /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?(?:[Zz]|[+-]\d\d:\d\d)$/

// Requests of one burst share a deadline, and parsing a date costs more than comparing a text.
let lastText: string | undefined
let lastMs: number | undefined

/** Milliseconds of an RFC 3339 text, or undefined for anything else. */
export function instantMs(text: string | undefined): number | undefined {
  if (text === undefined || text === lastText) return text === undefined ? undefined : lastMs
  lastMs = parsedInstant(text)
  lastText = text
  return lastMs
}

function parsedInstant(text: string): number | undefined {
  if (text.length > 40 || !INSTANT.test(text)) return undefined
  const atMs = Date.parse(text)
  return Number.isFinite(atMs) ? atMs : undefined
}
