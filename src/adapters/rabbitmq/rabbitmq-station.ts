import type { TransportHost } from '../../bus/port.ts'
import { backoffMs } from '../../core/backoff.ts'
import type { Timer } from '../../core/clock.ts'
import { isTrunklineError } from '../../core/errors.ts'
import type { RabbitChannel, RabbitConnection } from './rabbitmq-client.ts'
import { answered, closed } from './rabbitmq-deadline.ts'
import type { RabbitHealth } from './rabbitmq-health.ts'
import { RECONNECT, type LinkTenant, type RabbitLink } from './rabbitmq-link.ts'
import { connectionLost, problemText } from './rabbitmq-problem.ts'

/** What the stations of one transport share. */
export interface StationSettings {
  readonly host: TransportHost
  readonly health: RabbitHealth
  readonly commandTimeoutMs: number
}

/** What works on a station's channel. */
export interface StationWork {
  /** For reports: `the consumer of shop.billing`. */
  readonly name: string
  readonly confirms: boolean
  /** Declares and consumes on a new channel. A rejection gives the channel up; the next one is tried after a backoff. */
  build(channel: RabbitChannel): Promise<void>
  /**
   * The channel is gone, and with it every delivery that was not acked. Called once per channel, also where `build` had not
   * finished. `isRefusal` is true where the broker closed the channel for something that was done on it.
   */
  lost(problem: string, isRefusal: boolean): void
}

/**
 * One channel that is kept alive: opened on its link, rebuilt when the channel or the link dies.
 * A station that cannot be built does not disturb the others of its link.
 */
export class RabbitStation implements LinkTenant {
  readonly #link: RabbitLink
  readonly #settings: StationSettings
  readonly #work: StationWork
  readonly #firstWaiters: { readonly resolve: () => void; readonly reject: (error: unknown) => void }[] = []
  #connection: RabbitConnection | undefined
  #channel: RabbitChannel | undefined
  #timer: Timer | undefined
  #retries = 0
  #hasBuilt = false
  #isClosed = false

  constructor(link: RabbitLink, settings: StationSettings, work: StationWork) {
    this.#link = link
    this.#settings = settings
    this.#work = work
  }

  /**
   * Starts and resolves when the channel was built for the first time. It rejects, and the station is closed, when the
   * broker refuses what `build` asks for; a lost link is waited out.
   */
  open(): Promise<void> {
    const first = new Promise<void>((resolve, reject) => this.#firstWaiters.push({ resolve, reject }))
    this.#link.add(this)
    return first
  }

  connected(connection: RabbitConnection): void {
    this.#connection = connection
    this.#retries = 0
    this.#start(connection)
  }

  disconnected(problem: string): void {
    this.#connection = undefined
    this.#timer?.cancel()
    this.#drop(this.#channel, problem)
  }

  /** Gives the present channel up and builds another one. */
  restart(problem: string): void {
    const channel = this.#channel
    if (channel === undefined) return
    this.#drop(channel, problem)
    void this.#discard(channel)
    this.#again(problem)
  }

  /** Closes the channel; what was sent on it before has reached the broker then. Never rejects. */
  async close(): Promise<void> {
    if (this.#isClosed) return
    this.#isClosed = true
    this.#link.remove(this)
    this.#timer?.cancel()
    this.#settings.health.well(this.#work.name)
    const channel = this.#channel
    if (channel !== undefined) await this.#discard(channel)
    this.#drop(channel, 'the channel was closed')
    for (const { reject } of this.#firstWaiters.splice(0)) reject(connectionLost('it was closed before it was ready'))
  }

  #start(connection: RabbitConnection): void {
    const opening = this.#work.confirms ? connection.createConfirmChannel() : connection.createChannel()
    answered(this.#settings.host.clock, opening, this.#settings.commandTimeoutMs, 'opening a channel').then(
      (channel) => this.#opened(connection, channel),
      (error: unknown) => {
        if (this.#connection === connection) this.#link.giveUp(problemText(error))
      },
    )
  }

  #opened(connection: RabbitConnection, channel: RabbitChannel): void {
    channel.on('error', (error) => this.#died(channel, problemText(error), true))
    channel.on('close', () => this.#died(channel, 'the channel was closed', false))
    if (this.#isClosed || this.#connection !== connection) {
      void this.#discard(channel)
      return
    }
    this.#channel = channel
    this.#build(channel).then(
      () => this.#built(channel),
      (error: unknown) => this.#refused(channel, error),
    )
  }

  #build(channel: RabbitChannel): Promise<void> {
    const { host, commandTimeoutMs } = this.#settings
    return answered(host.clock, this.#work.build(channel), commandTimeoutMs, `building ${this.#work.name}`)
  }

  #built(channel: RabbitChannel): void {
    if (this.#channel !== channel) return
    this.#retries = 0
    this.#hasBuilt = true
    this.#settings.health.well(this.#work.name)
    for (const { resolve } of this.#firstWaiters.splice(0)) resolve()
  }

  #refused(channel: RabbitChannel, error: unknown): void {
    // The link died, or the broker closed the channel: `#died` has seen to it unless the refusal is ours.
    if (!this.#hasBuilt && isRefusal(error)) {
      for (const { reject } of this.#firstWaiters.splice(0)) reject(error)
      void this.close()
      return
    }
    if (this.#channel !== channel) return
    this.#drop(channel, problemText(error))
    void this.#discard(channel)
    this.#again(problemText(error))
  }

  #died(channel: RabbitChannel, problem: string, isRefusal: boolean): void {
    if (this.#channel !== channel) return
    this.#drop(channel, problem, isRefusal)
    // After the events of this tick: a channel also closes because its connection does.
    this.#settings.host.clock.defer(() => this.#again(problem))
  }

  #again(problem: string): void {
    const connection = this.#connection
    if (this.#isClosed || connection === undefined || this.#channel !== undefined) return
    this.#settings.health.ill(this.#work.name, 'degraded', `${this.#work.name}: ${problem}`)
    this.#timer?.cancel()
    const { clock, random } = this.#settings.host
    this.#timer = clock.setTimer(backoffMs(RECONNECT, ++this.#retries, random), () => {
      if (this.#connection === connection && this.#channel === undefined && !this.#isClosed) this.#start(connection)
    })
  }

  #drop(channel: RabbitChannel | undefined, problem: string, isRefusal = false): void {
    if (channel === undefined || this.#channel !== channel) return
    this.#channel = undefined
    this.#work.lost(problem, isRefusal)
  }

  #discard(channel: RabbitChannel): Promise<void> {
    return closed(this.#settings.host.clock, channel, this.#settings.commandTimeoutMs)
  }
}

/** True for what the broker will refuse again, however often it is asked. */
function isRefusal(error: unknown): boolean {
  return isTrunklineError(error) && error.code !== 'bus.connection_lost'
}
