import { deadLetterOf } from '../bus/dead-letter-of.ts'
import type { DeadLetterRecord } from '../bus/port.ts'
import { backoffMs } from '../core/backoff.ts'
import { type Clock, sleep } from '../core/clock.ts'
import { TrunklineError, isTrunklineError } from '../core/errors.ts'
import type { Logger } from '../core/logger.ts'
import type { Random } from '../core/random.ts'
import type { OutboxRow, OutboxTable } from './port.ts'

/** What the shards of one relay share. */
export interface ShardHost {
  readonly table: OutboxTable
  readonly clock: Clock
  readonly random: Random
  readonly logger: Logger
  readonly service: string
  readonly instance: string
  readonly pageMax: number
  readonly publishTimeoutMs: number
  /** What was made earlier is given up instead of published; undefined: nothing is. */
  readonly notBeforeMs: number | undefined
  readonly publish: (row: OutboxRow, timeoutMs: number) => Promise<void> | undefined
  /** False while the link to the broker is down: then nothing is tried. */
  readonly canPublish: () => boolean
  /** The epoch under which a shard is held, while it is. */
  readonly epochOf: (shard: number) => bigint | undefined
  readonly lost: (shard: number) => void
  /** Counts what was published and what was given up. */
  readonly count: (published: number, dead: number) => void
}

/** Bytes of bodies on one page: the page shrinks where messages are large. */
const PAGE_BYTES_MAX = 4_194_304
/** Rows that a broker refuses this often, while it takes others, are given up. */
const REFUSALS_MAX = 5
/** Keys that wait for their first message to be taken; with more of them the whole shard waits. */
const HELD_KEYS_MAX = 1_000
/** Longest wait between two looks while keys are held. */
const HELD_LOOK_MS = 250
/** Shortest one. */
const HELD_LOOK_MIN_MS = 10
/** A key whose wait ended this long ago has no row any more. */
const HELD_STALE_MS = 10_000
/** Time after which what is on its way no longer holds up the next look. */
const STUCK_MS = 200
/** Waits after a failure. */
const BACKOFF = { initialMs: 100, factor: 2, maxMs: 5_000 } as const

/** A key, or a message without one, that waits after a failure. */
interface Held {
  untilMs: number
  failures: number
}

/**
 * Publishes the rows of one shard in order of their ids and removes them when the broker has confirmed (O-02). Within a key
 * the next one goes out after the confirm of the one before; across keys all go out at once.
 */
export class RelayShard {
  readonly #host: ShardHost
  readonly #shard: number
  /** Published, or given up, and not yet removed from the table. */
  readonly #published = new Set<bigint>()
  readonly #dead = new Map<bigint, DeadLetterRecord>()
  readonly #inFlight = new Set<bigint>()
  readonly #chains = new Map<string, Promise<boolean>>()
  readonly #held = new Map<string, Held>()
  /** Of which a row was passed over since the last look from the beginning: the later ones wait for the next, even where the wait is over by now. */
  readonly #passedOver = new Set<string>()
  readonly #refusals = new Map<bigint, number>()
  #isDirty = false
  #run: Promise<void> | undefined
  #isStopped = false
  #pageMax: number
  #drained: (() => void) | undefined
  #settling: Promise<void> | undefined

  constructor(host: ShardHost, shard: number) {
    this.#host = host
    this.#shard = shard
    this.#pageMax = Math.min(64, host.pageMax)
  }

  /** True while it has something to do. */
  get isBusy(): boolean {
    return this.#run !== undefined
  }

  /** Rows may have come. */
  wake(): void {
    this.#isDirty = true
    if (this.#isStopped) return
    this.#run ??= this.#passes().finally(() => {
      this.#run = undefined
      // What was committed between the last look and now. Who does not hold the shard is woken when it does.
      if (this.#isDirty && this.#epoch !== undefined) this.wake()
    })
  }

  /** Resolves when nothing was left at the last look, or the shard is no longer held. */
  async idle(): Promise<void> {
    while (this.#run !== undefined) await this.#run
  }

  /** Begins nothing new; resolves when what is on its way has an outcome. */
  async stop(): Promise<void> {
    this.#isStopped = true
    this.#isDirty = false
    this.#drained?.()
    await this.#run
  }

  get #epoch(): bigint | undefined {
    return this.#isStopped ? undefined : this.#host.epochOf(this.#shard)
  }

  async #passes(): Promise<void> {
    const { clock, random, logger } = this.#host
    let failures = 0
    while (this.#isDirty && this.#epoch !== undefined) {
      this.#isDirty = false
      try {
        await this.#pass()
        failures = 0
      } catch (error) {
        if (isTrunklineError(error, 'store.lease_lost')) {
          this.#forget()
          this.#host.lost(this.#shard)
          return
        }
        if (failures++ === 0) logger.warn({ err: error, shard: this.#shard }, 'the outbox cannot be read or cleaned up; it is tried again')
        this.#isDirty = true
        await sleep(clock, backoffMs(BACKOFF, failures, random))
      }
      await this.#waitForHeld()
    }
  }

  /** Reads from the oldest row to the newest, publishes, and removes. */
  async #pass(): Promise<void> {
    const { table } = this.#host
    let after: bigint | undefined
    this.#passedOver.clear()
    try {
      while (this.#epoch !== undefined && this.#host.canPublish() && this.#held.size < HELD_KEYS_MAX) {
        const rows = await table.read(this.#shard, { limit: this.#pageMax, after, withoutKeys: this.#keysPassedOver() })
        after = rows.at(-1)?.id
        if (after === undefined) break
        this.#adapt(rows)
        for (const row of rows) this.#take(row)
        // The next page is read while this one is on its way, but not the one after that.
        await this.#room(this.#host.pageMax)
        if (rows.length < this.#pageMax) break
      }
    } finally {
      await this.#roomOrNews()
    }
    await this.#settling
    await this.#settle()
  }

  /** Waits for what is on its way; one that takes long must not keep the news of other keys waiting. */
  async #roomOrNews(): Promise<void> {
    const { clock } = this.#host
    while (this.#inFlight.size > 0) {
      const waited = new AbortController()
      const isDone = await Promise.race([this.#room(0).then(() => true), sleep(clock, STUCK_MS, waited.signal).then(() => false)])
      waited.abort()
      if (isDone || (this.#isDirty && !this.#isStopped)) return
    }
  }

  #adapt(rows: readonly OutboxRow[]): void {
    let bytes = 0
    for (const { message } of rows) bytes += message.body.length
    const mean = Math.max(1, bytes / rows.length)
    this.#pageMax = Math.max(1, Math.min(this.#host.pageMax, Math.floor(PAGE_BYTES_MAX / mean)))
  }

  #keysPassedOver(): readonly string[] {
    for (const name of this.#held.keys()) if (this.#isHeld(name)) this.#passedOver.add(name)
    return [...this.#passedOver].flatMap((name) => (name.startsWith('k') ? [name.slice(1)] : []))
  }

  #isHeld(name: string): boolean {
    const held = this.#held.get(name)
    return held !== undefined && held.untilMs > this.#host.clock.monotonicMs()
  }

  #take(row: OutboxRow): void {
    const { id, message } = row
    if (this.#inFlight.has(id) || this.#published.has(id) || this.#dead.has(id)) return
    const name = nameOf(row)
    if (this.#isHeld(name)) this.#passedOver.add(name)
    if (this.#passedOver.has(name)) return
    this.#inFlight.add(id)
    const { key } = message
    const before = key === undefined ? undefined : this.#chains.get(key)
    const ended = before === undefined ? this.#publish(row) : before.then((isStored) => isStored && this.#publish(row))
    if (ended === true) {
      this.#ended(id)
      return
    }
    if (ended === false) this.#passedOver.add(name)
    const outcome = Promise.resolve(ended).then((isStored) => {
      if (!isStored) this.#passOver(name)
      if (key !== undefined && this.#chains.get(key) === outcome) this.#chains.delete(key)
      this.#ended(id)
      return isStored
    })
    if (key !== undefined) this.#chains.set(key, outcome)
  }

  #passOver(name: string): void {
    this.#passedOver.add(name)
    // The link was down for a moment, and whoever tells that it is back may have done so.
    if (!this.#held.has(name) && this.#host.canPublish()) this.#isDirty = true
  }

  #ended(id: bigint): void {
    this.#inFlight.delete(id)
    if (this.#published.size >= this.#host.pageMax && this.#settling === undefined) this.#settleBeside()
    this.#drained?.()
  }

  /** True where it is stored, or given up; false where it and its key have to wait. It never throws. */
  #publish(row: OutboxRow): boolean | Promise<boolean> {
    if (this.#epoch === undefined || !this.#host.canPublish()) return false
    const { id, type, time } = row.message
    const { notBeforeMs } = this.#host
    if (notBeforeMs !== undefined && Date.parse(time) < notBeforeMs) return this.#refused(row, new TrunklineError('outbox.too_old', { id, type, time }))
    try {
      const stored = this.#host.publish(row, this.#host.publishTimeoutMs)
      if (stored === undefined) return this.#stored(row)
      return stored.then(() => this.#stored(row), (error: unknown) => this.#refused(row, error))
    } catch (error) {
      return this.#refused(row, error)
    }
  }

  #stored(row: OutboxRow): true {
    this.#published.add(row.id)
    this.#refusals.delete(row.id)
    this.#held.delete(nameOf(row))
    return true
  }

  #refused(row: OutboxRow, error: unknown): boolean {
    const { clock, random, logger, service, instance } = this.#host
    const known = isTrunklineError(error) ? error : new TrunklineError('bus.connection_lost', { adapter: 'the transport', problem: 'it threw an error that is not of this library' }, { cause: error })
    if (known.code === 'bus.publish_refused') this.#refusals.set(row.id, (this.#refusals.get(row.id) ?? 0) + 1)
    const refusals = this.#refusals.get(row.id) ?? 0
    if (known.disposition === 'reject' || refusals >= REFUSALS_MAX) {
      logger.error({ err: error, messageId: row.message.id, type: row.message.type }, 'a message in the outbox was given up and is a dead row now')
      this.#dead.set(row.id, deadLetterOf(known, { attempts: Math.max(1, refusals), handler: 'relay', service, instance, nowMs: clock.nowMs() }))
      this.#refusals.delete(row.id)
      this.#held.delete(nameOf(row))
      return true
    }
    const name = nameOf(row)
    const held = this.#held.get(name) ?? { untilMs: 0, failures: 0 }
    held.failures++
    held.untilMs = clock.monotonicMs() + backoffMs(BACKOFF, held.failures, random)
    this.#held.set(name, held)
    return false
  }

  /** Rows that wait must be looked at again when their time has come, and not before. */
  async #waitForHeld(): Promise<void> {
    if (this.#held.size === 0 || this.#epoch === undefined) return
    const nowMs = this.#host.clock.monotonicMs()
    let nextMs = Number.POSITIVE_INFINITY
    for (const [name, { untilMs }] of this.#held) {
      // It was not tried again although it could have been: another relay has published it.
      if (untilMs < nowMs - HELD_STALE_MS && this.#host.canPublish()) this.#held.delete(name)
      nextMs = Math.min(nextMs, untilMs)
    }
    // New rows of other keys need not wait for the longest of them. Where nothing can be tried, time still has to pass.
    if (!this.#isDirty) await sleep(this.#host.clock, Math.max(HELD_LOOK_MIN_MS, Math.min(nextMs - nowMs, HELD_LOOK_MS)))
    this.#isDirty = true
  }

  async #room(most: number): Promise<void> {
    while (this.#inFlight.size > most) {
      await new Promise<void>((resolve) => {
        this.#drained = resolve
      })
      this.#drained = undefined
    }
  }

  #settleBeside(): void {
    this.#settling = this.#settle().catch((error: unknown) => {
      // The pass tries again at its end, and tells.
      this.#host.logger.debug({ err: error, shard: this.#shard }, 'published rows could not be removed yet')
    }).finally(() => {
      this.#settling = undefined
    })
  }

  async #settle(): Promise<void> {
    const published = [...this.#published]
    const dead = [...this.#dead].map(([id, record]) => ({ id, record }))
    if (published.length === 0 && dead.length === 0) return
    // Also while stopping: what was published and not removed is published again by the next holder.
    const epoch = this.#host.epochOf(this.#shard)
    if (epoch === undefined) return
    await this.#host.table.settle(this.#shard, epoch, { published, dead })
    for (const id of published) this.#published.delete(id)
    for (const { id } of dead) this.#dead.delete(id)
    this.#host.count(published.length, dead.length)
  }

  #forget(): void {
    this.#published.clear()
    this.#dead.clear()
    this.#held.clear()
    this.#refusals.clear()
  }
}

function nameOf(row: OutboxRow): string {
  return row.message.key === undefined ? `r${row.id}` : `k${row.message.key}`
}
