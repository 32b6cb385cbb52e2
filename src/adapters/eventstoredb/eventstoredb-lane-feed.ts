import { bucketOf } from '../../contract/names.ts'
import { backoffMs } from '../../core/backoff.ts'
import { sleep } from '../../core/clock.ts'
import { RECONNECT_DELAY_MAX_MS, RECONNECT_INITIAL_MS } from '../../core/limits.ts'
import type { TransportHost } from '../../bus/port.ts'
import { markOf, messageKey, type EsdbEvent } from './eventstoredb-event.ts'
import { EsdbFeed } from './eventstoredb-feed.ts'
import type { EsdbLink } from './eventstoredb-link.ts'

const AGAIN = { initialMs: RECONNECT_INITIAL_MS, factor: 2, maxMs: RECONNECT_DELAY_MAX_MS }
const ROOM = 512
/** Checkpoints come after this many times the server's own window of events that were looked at. */
const CHECKPOINT_EVERY = 4

/** A lane that takes its events from the feed. */
export interface FedLane {
  readonly number: number
  /** Everything up to this position was given to it. */
  readonly position: bigint
  /** False while it takes nothing more. */
  readonly hasRoom: boolean
  take(event: EsdbEvent): void
  /** Everything up to here has been looked at, and none of the rest was its own. */
  passed(position: bigint): void
}

/** What the lanes of one group in this process read. */
export interface LaneFeedPlan {
  readonly link: EsdbLink
  readonly host: TransportHost
  /** Pattern of the names of the streams with the group's messages. */
  readonly pattern: string
  readonly lanes: number
  readonly silenceMaxMs: number
}

/**
 * One catch-up subscription to everything that a group wants, dealt out to the lanes of this process. It begins where the lane that is furthest
 * behind is, and is opened again when it ends for whatever reason, and when it has been silent for long: what it missed comes then (E-06).
 */
export class EsdbLaneFeed {
  readonly #plan: LaneFeedPlan
  readonly #lanes = new Map<number, FedLane>()
  readonly #closed = new AbortController()
  #restart = new AbortController()
  #running: Promise<void> | undefined
  #room: (() => void) | undefined

  constructor(plan: LaneFeedPlan) {
    this.#plan = plan
  }

  add(lane: FedLane): void {
    this.#lanes.set(lane.number, lane)
    this.#restart.abort()
    this.#running ??= this.#run()
  }

  remove(lane: FedLane): void {
    if (this.#lanes.get(lane.number) === lane) this.#lanes.delete(lane.number)
    this.hasRoom()
  }

  /** A lane may take more. */
  hasRoom(): void {
    this.#room?.()
  }

  async close(): Promise<void> {
    this.#closed.abort()
    this.#restart.abort()
    this.hasRoom()
    await this.#running
  }

  async #run(): Promise<void> {
    const { link, host } = this.#plan
    for (let tries = 1; !this.#isOver; ) {
      this.#restart = new AbortController()
      if (this.#lanes.size === 0) {
        await this.#silent(this.#plan.silenceMaxMs)
        continue
      }
      const outcome = await this.#read(this.#restart.signal)
      if (outcome === 'progress') tries = 1
      if (outcome === 'failed') await sleep(host.clock, backoffMs(AGAIN, tries++, host.random), AbortSignal.any([this.#closed.signal, link.closed]))
    }
  }

  get #isOver(): boolean {
    return this.#closed.signal.aborted || this.#plan.link.closed.aborted
  }

  async #silent(timeMs: number): Promise<void> {
    await sleep(this.#plan.host.clock, timeMs, AbortSignal.any([this.#restart.signal, this.#plan.link.closed]))
  }

  async #read(restart: AbortSignal): Promise<'progress' | 'failed'> {
    const { link, pattern, silenceMaxMs } = this.#plan
    const from = [...this.#lanes.values()].reduce<bigint | undefined>((low, { position }) => (low === undefined || position < low ? position : low), undefined) ?? -1n
    const feed = new EsdbFeed(link, ROOM, (onCheckpoint) =>
      link.client.subscribeToAll({
        ...link.callOptions,
        fromPosition: from < 0n ? 'start' : { commit: from, prepare: from },
        filter: { filterOn: 'streamName', regex: pattern, checkpointInterval: CHECKPOINT_EVERY, checkpointReached: onCheckpoint },
      }),
    )
    const stop = AbortSignal.any([restart, link.closed])
    try {
      while (!stop.aborted) {
        const item = feed.poll()
        if (item === undefined) {
          const startedAtMs = this.#plan.host.clock.monotonicMs()
          await feed.arrived(silenceMaxMs, stop)
          if (this.#plan.host.clock.monotonicMs() - startedAtMs >= silenceMaxMs) return 'progress'
        } else if (item.kind === 'ended') {
          link.notice(item.cause ?? { type: 'cancelled', message: item.problem })
          return 'failed'
        } else if (item.kind === 'checkpoint') {
          for (const lane of this.#lanes.values()) lane.passed(item.position)
        } else if (item.kind === 'event') {
          await this.#give(item.event, stop)
        }
      }
      return 'progress'
    } finally {
      feed.close()
    }
  }

  async #give(event: EsdbEvent, stop: AbortSignal): Promise<void> {
    const number = laneOf(event, this.#plan.lanes)
    for (;;) {
      const lane = this.#lanes.get(number)
      if (lane === undefined || event.position <= lane.position || stop.aborted) break
      if (lane.hasRoom) {
        lane.take(event)
        break
      }
      await this.#roomOr(stop)
    }
    if (stop.aborted) return
    for (const lane of this.#lanes.values()) if (lane.number !== number) lane.passed(event.position)
  }

  async #roomOr(stop: AbortSignal): Promise<void> {
    await new Promise<void>((resolve) => {
      const finish = (): void => {
        this.#room = undefined
        stop.removeEventListener('abort', finish)
        resolve()
      }
      this.#room = finish
      stop.addEventListener('abort', finish, { once: true })
    })
  }
}

/** The lane of a message: that of its key, or of its id where it has none. */
export function laneOf(event: EsdbEvent, lanes: number): number {
  return bucketOf(messageKey(event) ?? markOf(event, 'place') ?? event.id) % lanes
}
