import type { Effects, Fleet } from './fleet.ts'

/** What carries the messages, as something that can die. */
export interface Victim {
  /** Kills it without a warning and resolves when it serves again. */
  killAndRestart(): Promise<void>
}

const SERVICE_MS = 1_000
const FIRST_BROKER_MS = 2_000
/** Long enough for one that was killed alone to become suspect and go before everybody's view ends. */
const BROKER_MS = 7_000
/** Effects of messages that count as progress: until they are seen the broker is spared, or a slow machine would never get further. */
const PROGRESS = 15

/** Kills a service every second, and what carries the messages now and then. */
export class Chaos {
  readonly #fleet: Fleet
  readonly #broker: Victim | undefined
  #nextServiceMs: number
  #nextBrokerMs: number
  /** Effects that there were when the broker came back last. */
  #seen = 0
  #restart: Promise<void> | undefined
  #latest = 0
  #killedAtMs = 0
  brokerKills = 0
  /** Why it cannot go on, or undefined. */
  failure: string | undefined

  /** @param broker undefined for one that is not ours to kill. */
  constructor(fleet: Fleet, broker: Victim | undefined, nowMs: number) {
    this.#fleet = fleet
    this.#broker = broker
    this.#nextServiceMs = nowMs + SERVICE_MS
    this.#nextBrokerMs = nowMs + FIRST_BROKER_MS
  }

  /** Kills whose turn it is. Call it again and again. */
  strike(nowMs: number, effects: Effects): void {
    this.#latest = effects.stock + effects.billing + effects.reporting
    this.#fleet.look(effects)
    if (nowMs >= this.#nextServiceMs && this.#fleet.killOne(Math.random())) this.#nextServiceMs = nowMs + SERVICE_MS
    if (this.#broker === undefined || this.#restart !== undefined || nowMs < this.#nextBrokerMs || this.#latest < this.#seen + PROGRESS) return
    this.brokerKills++
    this.#killedAtMs = nowMs
    this.#restart = this.#broker.killAndRestart().then(
      () => this.#isBack(),
      (error: unknown) => (this.failure = error instanceof Error ? error.message : String(error)),
    ).then(() => (this.#restart = undefined))
  }

  #isBack(): void {
    this.#seen = this.#latest
    const nowMs = performance.now()
    this.#nextBrokerMs = nowMs + Math.max(BROKER_MS, nowMs - this.#killedAtMs)
  }

  /** Resolves when what was killed is back. */
  async end(): Promise<void> {
    await this.#restart
  }
}
