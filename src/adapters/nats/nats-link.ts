import type { TransportHost, TransportState } from '../../bus/port.ts'
import type { Timer } from '../../core/clock.ts'
import { errorText, TrunklineError } from '../../core/errors.ts'
import type { NatsClientSubscription, NatsConnection, NatsMessage, NatsStatus } from './nats-client.ts'
import { NatsFrames } from './nats-frames.ts'
import type { HeaderBlock } from './nats-headers.ts'

/** Longest wait for an answer of the server's JetStream API. */
const API_TIMEOUT_MS = 5_000
/** Acks kept while the link is down, to be sent after the reconnect; older ones are dropped and mean a redelivery. */
const SIGNALS_KEPT_MAX = 20_000
const NOTHING = new Uint8Array(0)

/** An answer of the JetStream API. */
export type ApiAnswer =
  | { readonly ok: true; readonly body: Record<string, unknown> }
  /** `code` is the server's `err_code`; 0 where nobody answered, in time or at all. */
  | { readonly ok: false; readonly code: number; readonly status: number; readonly problem: string }

/** Something that wants to know when the link comes and goes. */
export interface LinkListener {
  onLinkUp(): void
  onLinkDown(): void
}

/**
 * The one connection of a transport: whether it is up, what arrives (guarded), requests to the JetStream API.
 */
export class NatsLink {
  readonly host: TransportHost
  /** This process' own reply subjects begin with it; ends without a dot. */
  readonly inbox: string
  readonly #connection: NatsConnection
  readonly #frames: NatsFrames | undefined
  readonly #listeners = new Set<LinkListener>()
  readonly #answers = new Map<string, (message: NatsMessage | undefined) => void>()
  readonly #troubles = new Map<string, string>()
  #signals: { readonly subject: string; readonly payload: Uint8Array }[] = []
  #isUp = true
  #isStopping = false
  #tokens = 0

  /** @param isOwned the connection is nobody else's, so that what its client counts for its owner need not be right. */
  constructor(connection: NatsConnection, host: TransportHost, inboxPrefix: string, isOwned: boolean) {
    this.#connection = connection
    this.#frames = isOwned ? NatsFrames.of(connection) : undefined
    this.host = host
    // Without its time, which tells processes apart no better than the rest: every answer carries the inbox, and each byte is read twice.
    this.inbox = `${inboxPrefix}.${host.random.id(host.clock.nowMs()).replaceAll('-', '').slice(-20)}`
    this.subscribe(`${this.inbox}.a.*`, undefined, (message) => this.#onAnswer(message))
    void this.#watch()
    void this.#awaitEnd()
  }

  get isUp(): boolean {
    return this.#isUp
  }

  /** True once the connection is closed for good. */
  get isClosed(): boolean {
    return this.#connection.isClosed()
  }

  /** `2.9.10`; unknown servers count as the oldest. */
  get serverVersion(): string {
    return this.#connection.info?.version ?? '0.0.0'
  }

  /** Most bytes of headers and body together that the server takes. */
  get payloadBytesMax(): number {
    return this.#connection.info?.max_payload ?? 1_048_576
  }

  /** A token that this process has not used before. */
  token(): string {
    this.#tokens += 1
    return this.#tokens.toString(36)
  }

  listen(listener: LinkListener): void {
    this.#listeners.add(listener)
  }

  unlisten(listener: LinkListener): void {
    this.#listeners.delete(listener)
  }

  /** Hands bytes to the client. @throws what the client throws when it is closed or the message is too large. */
  publish(subject: string, payload: Uint8Array, reply?: string, headers?: HeaderBlock): void {
    const frames = this.#framesFor(payload.length + (headers?.byteLength ?? 0))
    if (frames === undefined) this.#connection.publish(subject, payload, { reply: reply ?? '', headers })
    else frames.publish(subject, payload, reply, headers)
  }

  /** What the client would refuse, or has to keep for later, is left to the client. */
  #framesFor(bytes: number): NatsFrames | undefined {
    return this.#isUp && bytes <= this.payloadBytesMax && !this.#connection.isClosed() ? this.#frames : undefined
  }

  /** Sends an ack or the like; while the link is down it waits for the reconnect. Never throws. */
  signal(subject: string, payload: Uint8Array): void {
    if (!this.#isUp) {
      if (this.#signals.length < SIGNALS_KEPT_MAX) this.#signals.push({ subject, payload })
      return
    }
    try {
      this.publish(subject, payload)
    } catch (error) {
      this.host.logger.debug({ problem: errorText(error) }, 'an ack could not be sent; the message will come again')
    }
  }

  /** Subscribes; whatever `handler` throws is logged, because an exception would stop the client's reader for good. */
  subscribe(subject: string, queue: string | undefined, handler: (message: NatsMessage) => void): NatsClientSubscription {
    const callback = (error: Error | null, message: NatsMessage): void => {
      try {
        if (error === null) handler(message)
        else this.host.logger.error({ subject, problem: errorText(error) }, 'NATS refused a subscription')
      } catch (thrown) {
        this.host.logger.error({ subject, problem: errorText(thrown) }, 'taking in a message failed')
      }
    }
    return this.#connection.subscribe(subject, queue === undefined ? { callback } : { queue, callback })
  }

  /** Resolves when the server has processed all that was sent before, or the link went down. */
  async flush(): Promise<void> {
    if (!this.#isUp) return
    await this.within(this.#connection.flush().catch(() => undefined), API_TIMEOUT_MS)
  }

  /** Resolves with `work`, or with undefined after the time. */
  async within<T>(work: Promise<T>, timeoutMs: number): Promise<T | undefined> {
    let timer: Timer | undefined
    const late = new Promise<undefined>((resolve) => {
      timer = this.host.clock.setTimer(timeoutMs, () => resolve(undefined), { background: true })
    })
    try {
      return await Promise.race([work, late])
    } finally {
      timer?.cancel()
    }
  }

  /** Asks the JetStream API (`$JS.API.` + `operation`). It never rejects. */
  async api(operation: string, request?: object): Promise<ApiAnswer> {
    const payload = request === undefined ? NOTHING : Buffer.from(JSON.stringify(request))
    const message = await this.#ask(`$JS.API.${operation}`, payload)
    if (message === undefined) return { ok: false, code: 0, status: 0, problem: `no answer to ${operation.split('.', 2).join('.')} in time` }
    if (message.data.length === 0) return { ok: false, code: 0, status: 503, problem: 'JetStream does not answer' } // N-05
    return answerOf(message.data)
  }

  /**
   * Tells the bus about a trouble that is not the link's, until it is called with undefined. Several troubles at
   * once are told together.
   */
  trouble(what: string, reason: string | undefined): void {
    if (reason === undefined ? !this.#troubles.delete(what) : this.#troubles.get(what) === reason) return
    if (reason !== undefined) this.#troubles.set(what, reason)
    if (this.#isUp) this.#report('up', '')
  }

  /** Closes the connection if `isOwned`; else only stops listening. */
  async close(isOwned: boolean): Promise<void> {
    this.#isStopping = true
    // From now on every use fails at once, and nobody may take that for a link on which trying again helps.
    this.#isUp = false
    this.#listeners.clear()
    for (const settle of this.#answers.values()) settle(undefined)
    if (isOwned) await this.#connection.close()
  }

  #report(state: TransportState, reason: string): void {
    if (state === 'up' && this.#troubles.size > 0) this.host.report('degraded', [...this.#troubles.values()].slice(0, 5).join('; '))
    else this.host.report(state, reason)
  }

  #ask(subject: string, payload: Uint8Array): Promise<NatsMessage | undefined> {
    return new Promise((resolve) => {
      const token = this.token()
      const timer = this.host.clock.setTimer(API_TIMEOUT_MS, () => settle(undefined), { background: true })
      const settle = (message: NatsMessage | undefined): void => {
        timer.cancel()
        this.#answers.delete(token)
        resolve(message)
      }
      this.#answers.set(token, settle)
      try {
        this.publish(subject, payload, `${this.inbox}.a.${token}`)
      } catch {
        settle(undefined)
      }
    })
  }

  #onAnswer(message: NatsMessage): void {
    this.#answers.get(message.subject.slice(this.inbox.length + 3))?.(message)
  }

  async #watch(): Promise<void> {
    try {
      for await (const status of this.#connection.status()) {
        if (this.#isStopping) return
        this.#onStatus(status)
      }
    } catch (error) {
      this.host.logger.error({ problem: errorText(error) }, 'the state of the NATS connection is no longer known')
    }
  }

  #onStatus(status: NatsStatus): void {
    if (status.type === 'disconnect') this.#goDown('the connection was lost')
    else if (status.type === 'reconnect') this.#goUp()
    else if (status.type === 'error') {
      const problem = errorText(status.error ?? status.data)
      this.host.logger.warn({ problem }, 'NATS reported an error')
      if (!this.#isUp) this.host.report('down', problem)
    }
  }

  #goDown(reason: string): void {
    if (!this.#isUp) return
    this.#isUp = false
    this.host.report('down', reason)
    for (const settle of this.#answers.values()) settle(undefined)
    for (const listener of this.#listeners) listener.onLinkDown()
  }

  #goUp(): void {
    // The client may report a short break only by its end; what was sent before it is lost all the same (N-04).
    if (this.#isUp) this.#goDown('the connection was lost')
    this.#isUp = true
    const signals = this.#signals
    this.#signals = []
    for (const { subject, payload } of signals) this.signal(subject, payload)
    for (const listener of this.#listeners) listener.onLinkUp()
    this.#report('up', '')
  }

  async #awaitEnd(): Promise<void> {
    const reason = await this.#connection.closed().catch((error: unknown) => error)
    if (this.#isStopping) return
    // Ours never ends by itself (N-01); a connection that was given to us may be closed under us.
    this.#goDown(`the connection was closed${reason instanceof Error ? `: ${errorText(reason)}` : ''}`)
  }
}

function answerOf(data: Uint8Array): ApiAnswer {
  try {
    const body: unknown = JSON.parse(Buffer.from(data.buffer, data.byteOffset, data.length).toString())
    if (!isRecord(body)) return { ok: false, code: 0, status: 0, problem: 'the answer of JetStream is no object' }
    const { error } = body
    if (!isRecord(error)) return { ok: true, body }
    return { ok: false, code: numberIn(error, 'err_code'), status: numberIn(error, 'code'), problem: errorText(error['description']) }
  } catch (error) {
    return { ok: false, code: 0, status: 0, problem: errorText(error) }
  }
}

/** True for an object with names to look into. */
export function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

/** A number of an answer, or 0. */
export function numberIn(body: Record<string, unknown>, name: string): number {
  const value = body[name]
  return typeof value === 'number' ? value : 0
}

/** An object of an answer, or an empty one. */
export function recordIn(body: Record<string, unknown>, name: string): Record<string, unknown> {
  const value = body[name]
  return isRecord(value) ? value : {}
}

/** What a lost link means for a caller who waits. */
export function connectionLost(problem: string, cause?: unknown): TrunklineError {
  return new TrunklineError('bus.connection_lost', { adapter: 'nats', problem }, cause === undefined ? undefined : { cause })
}
