import type { DeadLetterRecord } from '../../bus/port.ts'
import { instantText, sleep } from '../../core/clock.ts'
import { errorText, isTrunklineError } from '../../core/errors.ts'
import type { OutboxRow, StoreHost } from '../../outbox/port.ts'
import { shardLease } from '../../outbox/protocol/lease-names.ts'
import type { EsdbDesk } from './eventstoredb-desk.ts'
import { ops } from './eventstoredb-desk-state.ts'
import { eventIdOf, eventOf } from './eventstoredb-event.ts'
import type { EsdbLink } from './eventstoredb-link.ts'
import type { EsdbNames } from './eventstoredb-names.ts'
import { EsdbPublisher } from './eventstoredb-publisher.ts'

const BATCH_MAX = 200
const AGAIN_MS = 500

/**
 * Moves rows of the desk into the streams of this store's own transport, where the bus publishes through it: a unit is one append to one stream, so
 * it cannot write there itself. One process at a time; a row that is moved twice has the same id both times.
 */
export class EsdbOwnRelay {
  readonly #link: EsdbLink
  readonly #host: StoreHost
  readonly #desk: EsdbDesk
  readonly #names: EsdbNames
  readonly #leaseMs: number
  readonly #publisher: EsdbPublisher
  readonly #ended = new AbortController()
  #running: Promise<void> = Promise.resolve()
  #wake: AbortController = new AbortController()
  #stopListening: () => void = () => undefined

  constructor(link: EsdbLink, host: StoreHost, desk: EsdbDesk, names: EsdbNames, leaseMs: number) {
    this.#link = link
    this.#host = host
    this.#desk = desk
    this.#names = names
    this.#leaseMs = leaseMs
    this.#publisher = new EsdbPublisher(link, host.random)
  }

  start(): void {
    this.#stopListening = this.#desk.onCommitted(() => this.#wake.abort())
    this.#running = this.#run()
  }

  async stop(): Promise<void> {
    this.#ended.abort()
    this.#stopListening()
    await this.#running
  }

  async #run(): Promise<void> {
    const stop = AbortSignal.any([this.#ended.signal, this.#link.closed])
    while (!stop.aborted) {
      this.#wake = new AbortController()
      let waitMs = this.#leaseMs / 3
      try {
        const isLeading = await this.#desk.lead(shardLease(0), this.#host.instance, this.#leaseMs)
        if (isLeading && (await this.#move())) waitMs = 0
      } catch (error) {
        this.#host.logger.debug({ problem: errorText(error) }, 'rows could not be moved to the transport; it is tried again')
        waitMs = AGAIN_MS
      }
      await sleep(this.#host.clock, waitMs, AbortSignal.any([stop, this.#wake.signal]))
    }
  }

  /** Moves the next rows; true where there may be more. */
  async #move(): Promise<boolean> {
    await this.#desk.refresh()
    const rows = [...this.#desk.state.rows.values()].slice(0, BATCH_MAX).map(({ row }) => row)
    if (rows.length === 0) return false
    const settled = await Promise.all(rows.map((row) => this.#publish(row)))
    const published = rows.filter((_row, at) => settled[at] === undefined).map(({ id }) => id)
    const dead = rows.flatMap(({ id }, at) => (isTrunklineError(settled[at], 'bus.publish_refused') ? [{ id, record: this.#recordOf(settled[at]) }] : []))
    const { instance } = this.#host
    await this.#desk.commit(() => (this.#desk.state.leases.get(shardLease(0))?.owner === instance ? [ops.settle({ published, dead })] : []))
    return published.length + dead.length === rows.length
  }

  async #publish({ kind, message }: OutboxRow): Promise<unknown> {
    const stream = this.#names.published(kind, message.type)
    return await this.#publisher.store(stream, eventOf(eventIdOf(message, stream), message), message.body.length, { key: message.key }).then(() => undefined, (error: unknown) => error)
  }

  #recordOf(error: unknown): DeadLetterRecord {
    const { service, instance, clock } = this.#host
    return { reason: 'bus.publish_refused', errors: [{ name: 'TrunklineError', message: errorText(error) }], attempts: 1, handler: 'relay', service, instance, at: instantText(clock.nowMs()) }
  }
}
