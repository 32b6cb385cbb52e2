import { backoffMs } from '../../core/backoff.ts'
import { sleep, type Clock, type Timer } from '../../core/clock.ts'
import { errorText } from '../../core/errors.ts'
import { RECONNECT_DELAY_MAX_MS, RECONNECT_INITIAL_MS } from '../../core/limits.ts'
import type { Logger } from '../../core/logger.ts'
import type { Random } from '../../core/random.ts'
import type { PgClient } from './postgres-client.ts'

/** What the signals of one process need. */
export interface PgSignalOptions {
  readonly clock: Clock
  readonly random: Random
  readonly logger: Logger
  /** Tells this process' own notifications from those of others. */
  readonly instance: string
  readonly channel: string
  /** Opens a connection for `LISTEN` alone; undefined where this process cannot listen. */
  readonly connect: (() => Promise<PgClient>) | undefined
  /** Sends a notification, in a transaction of its own. */
  readonly send: (channel: string, payload: string) => Promise<void>
}

/** Shortest time between two notifications of one process: NOTIFY holds a lock of the whole server while it commits (P-11). */
const NOTIFY_EVERY_MS = 20
/** Longest payload that PostgreSQL takes is 8,000 bytes. */
const PAYLOAD_LENGTH_MAX = 4_000
const EVERY_TOPIC = '*'
const RECONNECT = { initialMs: RECONNECT_INITIAL_MS, factor: 2, maxMs: RECONNECT_DELAY_MAX_MS }

/**
 * Tells other processes that something was committed, and hears it from them. Only a wake-up: it may come late, twice or
 * never, and reading the tables stays the truth. What a process announces, it does not hear itself.
 */
export class PgSignals {
  readonly #options: PgSignalOptions
  readonly #listeners = new Map<string, Set<() => void>>()
  readonly #channels = new Map<string, (payload: string) => void>()
  readonly #waiters: (() => void)[] = []
  #telling: Promise<void> = Promise.resolve()
  readonly #pending = new Set<string>()
  readonly #stop = new AbortController()
  #client: PgClient | undefined
  #sentAtMs = Number.NEGATIVE_INFINITY
  #timer: Timer | undefined
  #isSending = false
  #run: Promise<void> | undefined

  constructor(options: PgSignalOptions) {
    this.#options = options
  }

  /** True while others are heard. */
  get isListening(): boolean {
    return this.#client !== undefined
  }

  /** Begins to listen, in the background; the link is made again whenever it breaks. */
  start(): void {
    const { connect } = this.#options
    if (connect !== undefined) this.#run ??= this.#listen(connect)
  }

  /** Ends it. It never rejects. */
  async close(): Promise<void> {
    this.#stop.abort()
    this.#timer?.cancel()
    this.#pending.clear()
    await this.#run
  }

  /** Calls `listener` when another process announces `topic`, and whenever announcements may have been missed. */
  on(topic: string, listener: () => void): () => void {
    const listeners = this.#listeners.get(topic) ?? new Set()
    this.#listeners.set(topic, listeners)
    // An object of its own, so that one function can listen twice.
    const entry = (): void => listener()
    listeners.add(entry)
    return () => {
      listeners.delete(entry)
      if (listeners.size === 0) this.#listeners.delete(topic)
    }
  }

  /**
   * Gives `listener` every payload that is sent on a channel of its own, this process' included. Resolves when it hears, as far as
   * it can: after `waitMs` at the latest, and then as soon as there is a link. False where this process cannot listen at all.
   */
  async hear(channel: string, listener: (payload: string) => void, waitMs: number): Promise<boolean> {
    if (this.#options.connect === undefined) return false
    this.#channels.set(channel, listener)
    if (this.#client !== undefined) await this.#tell(`LISTEN "${channel}"`)
    else {
      const waiting = new AbortController()
      await Promise.race([new Promise<void>((resolve) => this.#waiters.push(resolve)), sleep(this.#options.clock, waitMs, waiting.signal)])
      waiting.abort()
    }
    return true
  }

  /** Ends that. */
  async deafen(channel: string): Promise<void> {
    if (this.#channels.delete(channel)) await this.#tell(`UNLISTEN "${channel}"`)
  }

  /** Makes sure that the link is alive; one that does not answer in time is made again. */
  async probe(timeoutMs: number): Promise<void> {
    await this.#tell('SELECT 1', timeoutMs)
  }

  /** One after the other, because the client takes one at a time. What fails shows in the link, which is then made again. */
  #tell(text: string, timeoutMs?: number): Promise<void> {
    const client = this.#client
    this.#telling = this.#telling.then(async () => {
      try {
        if (client === this.#client) await client?.query(timeoutMs === undefined ? { text } : { text, query_timeout: timeoutMs })
      } catch {
        void client?.end().catch(() => undefined)
      }
    })
    return this.#telling
  }

  /** Tells the others, after a commit: at once, or together with what else is announced in the next moment. */
  announce(topic: string): void {
    if (this.#stop.signal.aborted) return
    this.#pending.add(topic)
    if (this.#isSending || this.#timer !== undefined) return
    const { clock } = this.#options
    const waitMs = this.#sentAtMs + NOTIFY_EVERY_MS - clock.monotonicMs()
    if (waitMs <= 0) this.#flush()
    else this.#arm(waitMs)
  }

  #arm(waitMs: number): void {
    this.#timer = this.#options.clock.setTimer(waitMs, () => {
      this.#timer = undefined
      this.#flush()
    }, { background: true })
  }

  #flush(): void {
    const { clock, instance, channel, send, logger } = this.#options
    const whole = JSON.stringify([instance, ...this.#pending])
    const payload = whole.length > PAYLOAD_LENGTH_MAX ? JSON.stringify([instance, EVERY_TOPIC]) : whole
    this.#pending.clear()
    this.#sentAtMs = clock.monotonicMs()
    this.#isSending = true
    send(channel, payload)
      .catch((error: unknown) => {
        // Others find it by polling.
        logger.debug({ problem: errorText(error) }, 'a notification was not sent')
      })
      .finally(() => {
        this.#isSending = false
        if (this.#pending.size > 0 && !this.#stop.signal.aborted) this.#arm(NOTIFY_EVERY_MS)
      })
      .catch(() => undefined)
  }

  async #listen(connect: () => Promise<PgClient>): Promise<void> {
    const { clock, random, logger } = this.#options
    const { signal } = this.#stop
    for (let failures = 0; !signal.aborted; ) {
      try {
        await this.#session(await connect(), () => {
          failures = 0
        })
      } catch (error) {
        if (failures === 0 && !signal.aborted) logger.warn({ problem: errorText(error) }, 'no connection to listen on; others are found by polling meanwhile')
      }
      failures += 1
      if (!signal.aborted) await sleep(clock, backoffMs(RECONNECT, failures, random), signal)
    }
  }

  /** Listens until the link ends. */
  async #session(client: PgClient, onUp: () => void): Promise<void> {
    const { signal } = this.#stop
    const ended = new Promise<void>((resolve) => {
      client.on('error', () => resolve()) // P-22
      client.on('end', () => resolve())
      signal.addEventListener('abort', () => resolve(), { once: true })
      if (signal.aborted) resolve()
    })
    try {
      client.on('notification', ({ channel, payload }) => this.#notified(channel, payload))
      const heard = new Set<string>()
      for (let next: string | undefined = this.#options.channel; next !== undefined; next = [...this.#channels.keys()].find((channel) => !heard.has(channel))) {
        await client.query({ text: `LISTEN "${next}"` })
        heard.add(next)
      }
      this.#client = client
      onUp()
      for (const resolve of this.#waiters.splice(0)) resolve()
      // While nobody listened, anything may have happened.
      this.#wake([EVERY_TOPIC])
      await ended
    } finally {
      this.#client = undefined
      await client.end().catch(() => undefined)
    }
  }

  #notified(channel: string, payload: string | undefined): void {
    const listener = this.#channels.get(channel)
    if (listener === undefined) {
      if (channel === this.#options.channel) this.#heard(payload)
      return
    }
    try {
      listener(payload ?? '')
    } catch (error) {
      // It must not reach the client's reader.
      this.#options.logger.error({ problem: errorText(error) }, 'a listener to a channel threw')
    }
  }

  #heard(payload: string | undefined): void {
    const [instance, ...topics] = namesIn(payload)
    if (instance !== this.#options.instance) this.#wake(topics)
  }

  #wake(topics: readonly string[]): void {
    const names = topics.includes(EVERY_TOPIC) ? this.#listeners.keys() : topics
    for (const name of names) {
      for (const listener of this.#listeners.get(name) ?? []) {
        try {
          listener()
        } catch (error) {
          // It must not reach the client's reader.
          this.#options.logger.error({ problem: errorText(error) }, 'a listener to notifications threw')
        }
      }
    }
  }
}

/** The texts in a payload; anything else, which others may send on the channel, wakes everybody. */
function namesIn(payload: string | undefined): readonly string[] {
  try {
    const names: unknown = JSON.parse(payload ?? '')
    if (Array.isArray(names) && names.every((name) => typeof name === 'string')) return names
  } catch {
    // Falls through: not ours.
  }
  return ['', EVERY_TOPIC]
}
