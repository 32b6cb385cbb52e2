import { AsyncResource } from 'node:async_hooks'
import type { PolicyHost } from '../bus/call-policy.ts'
import type { ContractTypes, EventContract } from '../contract/contract.ts'
import { event } from '../contract/define.ts'
import { isName } from '../contract/names.ts'
import type { Schema } from '../contract/schema.ts'
import { backoffMs } from '../core/backoff.ts'
import { type Clock, sleep } from '../core/clock.ts'
import { TrunklineError, isTrunklineError } from '../core/errors.ts'
import { type OptionNames, optionNames, refuseUnknown } from '../core/option-names.ts'
import type { EventStore } from '../store/event-store.ts'
import { fact } from '../store/fact.ts'
import type { Permit } from './token-bucket.ts'

/** Through which store instances share a rate. */
export interface SharedRateOptions {
  /** Name of the shared bucket: lower-case letters, digits, `-` and `_`. Who uses one name should say one rate. */
  readonly name: string
  /** Streams of a store that is open: `store.events`. */
  readonly events: Pick<EventStore, 'append' | 'read' | 'setMetadata'>
  /** Milliseconds' worth of permits that one instance takes at a time, at least one permit. Default 250. */
  readonly chunkMs?: number
}

/** Permits that an instance took out of the shared bucket. */
interface PermitsTaken {
  readonly permits: number
  /** By the database's wall clock: when the bucket would be full again. */
  readonly fullAtMs: number
}

interface PermitsTakenTypes extends ContractTypes {
  readonly input: PermitsTaken
  readonly output: PermitsTaken
  readonly replyInput: undefined
  readonly replyOutput: undefined
  readonly errors: object
}

/** Written by this file alone; a number that is none is found when it is counted with. */
const anyPermits: Schema<PermitsTaken> = { '~standard': { version: 1, vendor: 'trunkline', validate: (value) => ({ value: value as PermitsTaken }) } }
const Taken: EventContract<'trunkline.permits-taken', PermitsTakenTypes> = event('trunkline.permits-taken', { schema: anyPermits })

const NAMES: OptionNames = optionNames<SharedRateOptions>({ name: true, events: true, chunkMs: true })
const CONFLICTS_MAX = 20
const CONFLICT_BACKOFF = { initialMs: 5, factor: 2, maxMs: 100 } as const
/** Permits that nobody used for this long are lost, so that an idle instance holds back none. */
const HELD_MS = 1_000
/** Events of a bucket that are kept; only the last one counts. */
const KEPT_EVENTS = 100

/** What is known of the shared bucket. */
interface Last {
  readonly revision: bigint | undefined
  readonly fullAtMs: number
}

/**
 * A token bucket whose state is the last event of a stream: an instance takes permits for a while in one append with an expected revision, so that two can never
 * take the same, and the calls in between cost nothing. Time is the database's: an instance knows it from what it has stored, never ahead of it.
 */
export class SharedRate {
  readonly #stream: string
  readonly #events: SharedRateOptions['events']
  readonly #intervalMs: number
  readonly #burstMs: number
  readonly #chunk: number
  readonly #refillOnce: (host: PolicyHost) => Promise<number>
  #left = 0
  #takenAtMs = 0
  /** The database's wall clock minus our monotonic one, at most. */
  #offsetMs: number | undefined
  #refilling: Promise<number> | undefined

  constructor(options: SharedRateOptions, permitsPerSecond: number, burstMax: number) {
    refuseUnknown('shared of rateLimit', options, NAMES, 'an object such as { name: "payments", events: store.events }')
    const { name, events, chunkMs = 250 } = options
    if (!isName(name)) throw new TrunklineError('core.option_invalid', { option: 'shared.name', expected: 'lower-case letters, digits, "-" and "_"', actual: String(JSON.stringify(name)).slice(0, 100) })
    if (!(chunkMs >= 1 && chunkMs <= 60_000)) throw new TrunklineError('core.option_invalid', { option: 'shared.chunkMs', expected: 'a number from 1 to 60000', actual: String(chunkMs) })
    this.#stream = `rates-${name}`
    this.#events = events
    this.#intervalMs = 1_000 / permitsPerSecond
    this.#burstMs = this.#intervalMs * burstMax
    this.#chunk = Math.max(1, Math.min(burstMax, Math.floor((permitsPerSecond * chunkMs) / 1_000)))
    // Taking permits is no part of the unit of work or the trace of whoever happens to need the first one.
    this.#refillOnce = AsyncResource.bind((host: PolicyHost) => this.#refill(host))
  }

  /** Takes a permit, or tells when to ask again. @throws `store.*`. */
  async take(host: PolicyHost): Promise<Permit> {
    for (;;) {
      if (this.#left > 0 && host.clock.monotonicMs() - this.#takenAtMs < HELD_MS) {
        this.#left--
        return { kind: 'granted', waitMs: 0 }
      }
      this.#refilling ??= this.#refillOnce(host).finally(() => {
        this.#refilling = undefined
      })
      const retryAfterMs = await this.#refilling
      if (retryAfterMs > 0) return { kind: 'refused', retryAfterMs: Math.ceil(retryAfterMs) }
    }
  }

  /** Milliseconds until there is a permit; 0 where it has got some. */
  async #refill({ clock, random }: PolicyHost): Promise<number> {
    for (let attempt = 1; ; attempt++) {
      const last = await this.#last(clock)
      try {
        if (this.#offsetMs !== undefined) return await this.#takeFrom(last, clock.monotonicMs() + this.#offsetMs, clock)
        // Nothing is taken: what is stored tells the database's time.
        await this.#store(last, { permits: 0, fullAtMs: last.fullAtMs })
        await this.#events.setMetadata(this.#stream, { countMax: KEPT_EVENTS })
        this.#offsetMs = -Infinity
      } catch (error) {
        if (!isTrunklineError(error, 'store.wrong_revision') || attempt >= CONFLICTS_MAX) throw error
        await sleep(clock, backoffMs(CONFLICT_BACKOFF, attempt, random))
      }
    }
  }

  async #takeFrom(last: Last, nowMs: number, clock: Clock): Promise<number> {
    const fromMs = Math.max(last.fullAtMs, nowMs)
    const permits = Math.min(this.#chunk, Math.floor((nowMs + this.#burstMs - fromMs) / this.#intervalMs + 1e-6))
    if (permits < 1) return Math.max(1, fromMs + this.#intervalMs - this.#burstMs - nowMs)
    await this.#store(last, { permits, fullAtMs: fromMs + permits * this.#intervalMs })
    this.#left = permits
    this.#takenAtMs = clock.monotonicMs()
    return 0
  }

  async #store(last: Last, taken: PermitsTaken): Promise<void> {
    await this.#events.append(this.#stream, last.revision ?? 'noStream', [fact(Taken, taken)])
  }

  async #last(clock: Clock): Promise<Last> {
    for await (const { data, revision, storedAtMs } of this.#events.read(this.#stream, [Taken], { direction: 'backwards', limit: 1 })) {
      // It was stored before it was read: the database's clock shows at least this.
      if (this.#offsetMs !== undefined) this.#offsetMs = Math.max(this.#offsetMs, storedAtMs - clock.monotonicMs())
      return { revision, fullAtMs: Number(data.fullAtMs) || 0 }
    }
    return { revision: undefined, fullAtMs: 0 }
  }
}
