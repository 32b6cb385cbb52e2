import { sleep } from '../../core/clock.ts'
import { errorText } from '../../core/errors.ts'
import type { StoreHost } from '../../outbox/port.ts'
import type { EsdbDesk } from './eventstoredb-desk.ts'
import { COURIER, ops } from './eventstoredb-desk-state.ts'
import { EsdbFeed } from './eventstoredb-feed.ts'
import type { EsdbLink } from './eventstoredb-link.ts'
import { unitIn } from './eventstoredb-lookback.ts'
import { filterOf } from './eventstoredb-selection.ts'

/** A unit that is younger than this is brought to the desk by whoever committed it. */
const GRACE_MS = 1_000
const SAVE_EVERY = 500

/**
 * Brings to the desk what rides with events whose process died right after it had committed them: follows the log from a checkpoint, one process at a
 * time. What is at the desk already is recognised by the event.
 */
export class EsdbCourier {
  readonly #link: EsdbLink
  readonly #host: StoreHost
  readonly #desk: EsdbDesk
  readonly #leaseMs: number
  readonly #ended = new AbortController()
  #running: Promise<void> = Promise.resolve()

  constructor(link: EsdbLink, host: StoreHost, desk: EsdbDesk, leaseMs: number) {
    this.#leaseMs = leaseMs
    this.#link = link
    this.#host = host
    this.#desk = desk
  }

  start(): void {
    this.#running = this.#run()
  }

  async stop(): Promise<void> {
    this.#ended.abort()
    await this.#running
    const { instance } = this.#host
    await this.#desk.commit(() => (this.#desk.state.leases.get(COURIER)?.owner === instance ? [ops.release([COURIER], instance)] : [])).catch(() => undefined)
  }

  async #run(): Promise<void> {
    const stop = AbortSignal.any([this.#ended.signal, this.#link.closed])
    const { clock, random, instance, logger } = this.#host
    while (!stop.aborted) {
      try {
        if (await this.#desk.lead(COURIER, instance, this.#leaseMs)) {
          await this.#desk.compact()
          await this.#carry(stop)
        }
      } catch (error) {
        logger.debug({ problem: errorText(error) }, 'units could not be brought to the desk; it is tried again')
      }
      await sleep(clock, (this.#leaseMs / 3) * (0.75 + random.next() / 2), stop)
    }
  }

  /** Follows the log for most of the lease. */
  async #carry(stop: AbortSignal): Promise<void> {
    const { clock } = this.#host
    const endMs = clock.monotonicMs() + this.#leaseMs * 0.6
    const after = this.#desk.state.checkpoints.get(COURIER)
    const feed = new EsdbFeed(this.#link, 256, (onCheckpoint) =>
      this.#link.client.subscribeToAll({
        ...this.#link.callOptions,
        fromPosition: after === undefined ? 'start' : { commit: after, prepare: after },
        filter: { ...filterOf({ kind: 'all' }), checkpointInterval: 16, checkpointReached: onCheckpoint },
      }),
    )
    let cursor = after
    let passedAtMs = this.#desk.state.passedAtMs
    let unsaved = 0
    try {
      while (!stop.aborted && clock.monotonicMs() < endMs) {
        const item = feed.poll()
        if (item === undefined) await feed.arrived(Math.max(1, endMs - clock.monotonicMs()), stop)
        if (item?.kind === 'ended') break
        if (item?.kind === 'checkpoint') cursor = item.position
        if (item?.kind === 'event') {
          const list = unitIn(item.event)
          if (list.length > 0 && !this.#desk.state.posted.has(item.event.id)) {
            await sleep(clock, Math.max(0, GRACE_MS - (this.#desk.nowMs - item.event.storedAtMs)), stop)
            if (!stop.aborted) await this.#desk.commit(() => list, item.event.id)
          }
          cursor = item.event.position
          passedAtMs = item.event.storedAtMs
        }
        if (++unsaved >= SAVE_EVERY) unsaved = await this.#save(cursor, after, passedAtMs)
      }
    } finally {
      feed.close()
    }
    if (!stop.aborted) await this.#save(cursor, after, passedAtMs)
  }

  async #save(cursor: bigint | undefined, before: bigint | undefined, passedAtMs: number): Promise<number> {
    if (cursor !== undefined && cursor !== before) await this.#desk.commit(() => [ops.checkpoint(COURIER, cursor), ops.passed(passedAtMs)])
    return 0
  }
}
