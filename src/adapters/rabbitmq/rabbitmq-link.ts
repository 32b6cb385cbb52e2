import type { TransportHost } from '../../bus/port.ts'
import { backoffMs, type Backoff } from '../../core/backoff.ts'
import type { Timer } from '../../core/clock.ts'
import { TrunklineError } from '../../core/errors.ts'
import { RECONNECT_DELAY_MAX_MS, RECONNECT_INITIAL_MS } from '../../core/limits.ts'
import { answered, closed } from './rabbitmq-deadline.ts'
import type { RabbitChannel, RabbitConnection } from './rabbitmq-client.ts'
import type { RabbitHealth } from './rabbitmq-health.ts'
import type { RabbitDialer } from './rabbitmq-options.ts'
import { connectionLost, problemText } from './rabbitmq-problem.ts'

/** Waits between tries to get a connection or a channel back. */
export const RECONNECT: Backoff = { initialMs: RECONNECT_INITIAL_MS, factor: 2, maxMs: RECONNECT_DELAY_MAX_MS }

/** Something that lives on a connection and is rebuilt on the next one. */
export interface LinkTenant {
  connected(connection: RabbitConnection): void
  disconnected(problem: string): void
}

/**
 * One supervised connection. When it is lost, its tenants are told, and a new one is dialled with
 * full-jitter backoff until `close`. Publishing and consuming have a link each, because the broker
 * stops reading from connections that publish while it is short of memory or disk.
 */
export class RabbitLink {
  readonly role: string
  readonly #dialer: RabbitDialer
  readonly #host: TransportHost
  readonly #health: RabbitHealth
  readonly #commandTimeoutMs: number
  readonly #tenants = new Set<LinkTenant>()
  readonly #firstWaiters: ((problem: TrunklineError | undefined) => void)[] = []
  #connection: RabbitConnection | undefined
  #timer: Timer | undefined
  #retries = 0
  #isClosed = false

  constructor(role: string, dialer: RabbitDialer, host: TransportHost, health: RabbitHealth, commandTimeoutMs: number) {
    this.role = role
    this.#commandTimeoutMs = commandTimeoutMs
    this.#dialer = dialer
    this.#host = host
    this.#health = health
  }

  /** Starts dialling and resolves with the first connection; it goes on trying until `close`. */
  open(): Promise<void> {
    const first = new Promise<void>((resolve, reject) => {
      this.#firstWaiters.push((problem) => (problem === undefined ? resolve() : reject(problem)))
    })
    this.#dial()
    return first
  }

  /** The connection of the moment. */
  get connection(): RabbitConnection | undefined {
    return this.#connection
  }

  /** Adds a tenant; it is told at once where the link is up. */
  add(tenant: LinkTenant): void {
    this.#tenants.add(tenant)
    if (this.#connection !== undefined) tenant.connected(this.#connection)
  }

  remove(tenant: LinkTenant): void {
    this.#tenants.delete(tenant)
  }

  /**
   * Does something on a channel of its own, so that a refusal disturbs nobody else.
   *
   * @param timeoutMs default: as long as one command may take.
   * @throws `bus.connection_lost` while the link is down, and when the work takes longer than that.
   */
  async onSpareChannel<T>(work: (channel: RabbitChannel) => Promise<T>, timeoutMs: number = this.#commandTimeoutMs): Promise<T> {
    const connection = this.#connection
    if (connection === undefined) throw connectionLost(`there is no connection for ${this.role}`)
    const { clock } = this.#host
    const channel = await answered(clock, connection.createChannel(), this.#commandTimeoutMs, 'opening a channel')
    // the rejection of `work` tells the same.
    channel.on('error', () => undefined)
    try {
      return await answered(clock, work(channel), timeoutMs, 'a command')
    } finally {
      await closed(clock, channel, this.#commandTimeoutMs)
    }
  }

  /** Closes the connection where this adapter opened it. Never rejects. */
  async close(): Promise<void> {
    this.#isClosed = true
    this.#timer?.cancel()
    const connection = this.#connection
    this.#lose('the transport was closed')
    if (connection !== undefined) await this.#discard(connection)
  }

  /** Gives the present connection up, because something on it does not answer. */
  giveUp(problem: string): void {
    const connection = this.#connection
    if (connection === undefined || !this.#dialer.isOwner) return
    void this.#discard(connection)
    this.#dropped(connection, problem)
  }

  #dial(): void {
    this.#dialer.dial().then(
      (connection) => this.#dialled(connection),
      (error: unknown) => this.#failed(error),
    )
  }

  #failed(error: unknown): void {
    if (this.#isClosed) return
    if (error instanceof TrunklineError && error.disposition === 'stop') {
      for (const waiter of this.#firstWaiters.splice(0)) waiter(error)
      return
    }
    this.#health.ill(this.role, 'down', `no connection to ${this.role}: ${problemText(error)}`)
    this.#retries++
    this.#timer = this.#host.clock.setTimer(backoffMs(RECONNECT, this.#retries, this.#host.random), () => this.#dial())
  }

  #dialled(connection: RabbitConnection): void {
    // without these listeners an `error` event ends the process.
    connection.on('error', (error) => this.#dropped(connection, problemText(error)))
    connection.on('close', (error) => this.#dropped(connection, error === undefined ? 'the connection was closed' : problemText(error)))
    connection.on('blocked', (reason) => this.#health.ill(`${this.role} blocked`, 'degraded', `the broker takes no messages: ${problemText(reason)}`))
    connection.on('unblocked', () => this.#health.well(`${this.role} blocked`))
    if (this.#isClosed) {
      void this.#discard(connection)
      return
    }
    this.#connection = connection
    this.#retries = 0
    this.#health.well(this.role)
    for (const waiter of this.#firstWaiters.splice(0)) waiter(undefined)
    for (const tenant of this.#tenants) tenant.connected(connection)
  }

  #dropped(connection: RabbitConnection, problem: string): void {
    if (this.#connection !== connection) return
    this.#lose(problem)
    this.#failed(problem)
  }

  #lose(problem: string): void {
    if (this.#connection === undefined) return
    this.#connection = undefined
    this.#health.well(`${this.role} blocked`)
    for (const tenant of this.#tenants) tenant.disconnected(problem)
  }

  async #discard(connection: RabbitConnection): Promise<void> {
    if (this.#dialer.isOwner) await closed(this.#host.clock, connection, this.#commandTimeoutMs)
  }
}
