import type { TransportHost } from '../../bus/port.ts'
import { sleep, type Timer } from '../../core/clock.ts'
import { derivedId } from '../../core/random.ts'
import { copyOf, markOf, type EsdbEvent } from './eventstoredb-event.ts'
import { EsdbFeed } from './eventstoredb-feed.ts'
import { EsdbLedger } from './eventstoredb-ledger.ts'
import type { EsdbLink } from './eventstoredb-link.ts'
import type { EsdbPublisher } from './eventstoredb-publisher.ts'

const AGAIN_MS = 250
const SILENCE_MS = 5_000
const MOVE_MAX = 64
const ROOM = 256

/** What moves messages whose time has come. */
export interface DelayPlan {
  readonly link: EsdbLink
  readonly host: TransportHost
  readonly publisher: EsdbPublisher
  /** Where they wait. */
  readonly stream: string
  /** Where they go. */
  readonly ready: string
  /** The server's clock, never ahead of it. */
  readonly serverNowMs: () => number | undefined
}

/**
 * Moves the delayed messages of a group to where its instances take them from, as long as this process has that role. Times count from the
 * server's `created`. A successor that moves one again because its removal was lost stores it under the same id.
 */
export class EsdbDelays {
  readonly #plan: DelayPlan
  readonly #ledger: EsdbLedger
  readonly #ended = new AbortController()
  /** Due times by the server's clock, by revision. */
  readonly #due = new Map<bigint, number>()
  #timer: Timer | undefined
  #moving: Promise<void> = Promise.resolve()

  constructor(plan: DelayPlan) {
    this.#plan = plan
    this.#ledger = new EsdbLedger(plan.link, plan.stream, {
      onEntry: (event) => this.#due.set(event.revision, event.storedAtMs + Number(markOf(event, 'delay') ?? 0)),
      onRemoved: (revision) => this.#due.delete(revision),
    })
  }

  start(): void {
    void this.#follow()
  }

  async stop(): Promise<void> {
    this.#ended.abort()
    this.#timer?.cancel()
    await this.#moving
  }

  async #follow(): Promise<void> {
    const { link, host, stream } = this.#plan
    const { signal } = this.#ended
    while (!signal.aborted && !link.closed.aborted) {
      const failure = await this.#ledger.refresh()
      if (failure === undefined) {
        this.#arm()
        await this.#read(stream, signal)
      }
      await sleep(host.clock, AGAIN_MS, signal)
    }
  }

  /** Takes in what is added, until the subscription ends or is silent: then the ledger is read again, which finds what it has missed. */
  async #read(stream: string, signal: AbortSignal): Promise<void> {
    const { link } = this.#plan
    const { last } = this.#ledger
    const feed = new EsdbFeed(link, ROOM, () => link.client.subscribeToStream(stream, { ...link.callOptions, fromRevision: last < 0n ? 'start' : last }))
    try {
      while (!signal.aborted && !link.closed.aborted) {
        const item = feed.poll()
        if (item?.kind === 'ended') return
        if (item?.kind === 'event') this.#ledger.take(item.event)
        if (item !== undefined) {
          this.#arm()
          continue
        }
        await feed.arrived(SILENCE_MS, signal)
        if ((await this.#ledger.refresh()) !== undefined) return
        this.#arm()
      }
    } finally {
      feed.close()
    }
  }

  #arm(): void {
    this.#timer?.cancel()
    const nowMs = this.#plan.serverNowMs()
    if (this.#ended.signal.aborted || this.#due.size === 0) return
    const nextMs = Math.min(...this.#due.values())
    const waitMs = nowMs === undefined ? AGAIN_MS : Math.max(0, nextMs - nowMs)
    this.#timer = this.#plan.host.clock.setTimer(waitMs, () => {
      this.#moving = this.#moving.then(() => this.#move())
    }, { background: true })
  }

  async #move(): Promise<void> {
    const nowMs = this.#plan.serverNowMs()
    if (nowMs === undefined) return this.#arm()
    const due = [...this.#due].filter(([, atMs]) => atMs <= nowMs).map(([revision]) => revision).slice(0, MOVE_MAX)
    const moved = await Promise.all(due.map((revision) => this.#moveOne(revision)))
    const done = due.filter((_revision, at) => moved[at] === true)
    if (done.length > 0) {
      const { stream } = this.#plan
      const result = await this.#ledger.append([this.#ledger.removal(derivedId(stream, ...done.map(String)), done)], 'any')
      if (result.kind === 'done') {
        for (const revision of done) this.#due.delete(revision)
        await this.#ledger.truncate()
      }
    }
    if (done.length < due.length) await sleep(this.#plan.host.clock, AGAIN_MS, this.#ended.signal)
    this.#arm()
  }

  async #moveOne(revision: bigint): Promise<boolean> {
    const { stream, ready, publisher } = this.#plan
    const result = await this.#ledger.readOne(revision)
    if (result.kind === 'failed' || this.#ended.signal.aborted) return false
    if (result.value === undefined) return true
    return await publisher.store(ready, readyCopy(result.value, stream, revision), result.value.body.length).then(() => true, () => false)
  }
}

/** A delayed message as it goes back to its group. */
function readyCopy(event: EsdbEvent, stream: string, revision: bigint): ReturnType<typeof copyOf> {
  return copyOf(derivedId(stream, `${revision}`), event, { attempts: markOf(event, 'attempts') ?? '0', ...(markOf(event, 'redriven') === 'true' ? { redriven: 'true' } : {}) })
}
