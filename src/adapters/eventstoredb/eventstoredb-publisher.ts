import type { PublishSignal } from '../../bus/port.ts'
import { backoffMs } from '../../core/backoff.ts'
import { sleep } from '../../core/clock.ts'
import { TrunklineError } from '../../core/errors.ts'
import { RECONNECT_INITIAL_MS } from '../../core/limits.ts'
import type { Random } from '../../core/random.ts'
import type { EsdbProposed } from './eventstoredb-client.ts'
import type { EsdbFailure } from './eventstoredb-failure.ts'
import type { EsdbLink } from './eventstoredb-link.ts'

/** Events and bytes of one append; a server takes 1 MiB by default. */
const BATCH_MAX = 100
const BATCH_BYTES_MAX = 524_288
/** Metadata of an event, roughly. */
const EVENT_BYTES = 1_024
/** Events of a stream that are looked at to find out whether an append was done. */
const LOOK_BACK_MAX = 512
const AGAIN = { initialMs: RECONNECT_INITIAL_MS, factor: 2, maxMs: 2_000 }

interface Pending {
  readonly event: EsdbProposed
  readonly bytes: number
  readonly key: string | undefined
  readonly signal: PublishSignal | undefined
  readonly resolve: () => void
  readonly reject: (error: TrunklineError) => void
}

/** What is on its way to one stream. */
interface Lane {
  readonly waiting: Pending[]
  isSending: boolean
}

/**
 * Appends where nobody knows the stream's revision, one append at a time per stream with all that waits for it: that keeps the order of the
 * calls, and is faster than one append each.
 *
 * What was never answered is looked for before it is sent again: the server recognises a repetition by its ids only while it remembers
 * them (E-05).
 */
export class EsdbPublisher {
  readonly #link: EsdbLink
  readonly #random: Random
  readonly #lanes = new Map<string, Lane>()
  /** Keys whose messages are on their way to a stream: those for another stream wait until they have arrived. */
  readonly #keys = new Map<string, { readonly stream: string; count: number; readonly behind: (() => void)[] }>()

  constructor(link: EsdbLink, random: Random) {
    this.#link = link
    this.#random = random
  }

  /**
   * Resolves when the event is stored. It waits through lost links until `signal` aborts or the link is closed.
   *
   * @param key messages of one key are stored in the order of the calls, whatever their streams.
   * @throws `bus.publish_refused`, `bus.connection_lost`.
   */
  store(stream: string, event: EsdbProposed, bytes: number, options: { readonly key?: string | undefined; readonly signal?: PublishSignal | undefined } = {}): Promise<void> {
    return new Promise((resolve, reject) => {
      this.#admit(stream, { event, bytes: bytes + EVENT_BYTES, key: options.key, signal: options.signal, resolve, reject })
    })
  }

  #admit(stream: string, pending: Pending): void {
    const { key } = pending
    if (key !== undefined) {
      const known = this.#keys.get(key)
      if (known !== undefined && (known.stream !== stream || known.behind.length > 0)) {
        known.behind.push(() => this.#admit(stream, pending))
        return
      }
      if (known === undefined) this.#keys.set(key, { stream, count: 1, behind: [] })
      else known.count++
    }
    const lane = this.#lanes.get(stream) ?? { waiting: [], isSending: false }
    this.#lanes.set(stream, lane)
    lane.waiting.push(pending)
    if (lane.isSending) return
    lane.isSending = true
    void this.#send(stream, lane)
  }

  async #send(stream: string, lane: Lane): Promise<void> {
    while (lane.waiting.length > 0) {
      // Whatever is given in the same turn goes along.
      await Promise.resolve()
      const given = taken(lane.waiting)
      const [late, batch] = [given.filter(isGivenUp), given.filter((one) => !isGivenUp(one))]
      this.#settle(late, lost('it was given up before it was sent'))
      if (batch.length > 0) await this.#append(stream, batch)
    }
    this.#lanes.delete(stream)
    lane.isSending = false
  }

  async #append(stream: string, batch: readonly Pending[]): Promise<void> {
    let events = batch.map(({ event }) => event)
    for (let tries = 1; ; tries++) {
      if (this.#link.closed.aborted) return this.#settle(batch, lost('the transport was closed'))
      const result = await this.#link.call((client) =>
        client.appendToStream(stream, events, { ...this.#link.callOptions, expectedRevision: 'any', streamState: 'any' }),
      )
      if (result.kind === 'done') return this.#settle(batch, undefined)
      const { failure } = result
      if (!['unknown', 'poisoned', 'not-leader', 'wrong-revision'].includes(failure.kind)) return await this.#refused(stream, batch, failure)
      if (batch.every(({ signal }) => signal?.aborted === true)) return this.#settle(batch, lost(failure.problem))
      await sleep(this.#link.host.clock, backoffMs(AGAIN, tries, this.#random), this.#link.closed)
      if (failure.kind !== 'not-leader') events = await this.#missing(stream, events)
      if (events.length === 0) return this.#settle(batch, undefined)
    }
  }

  /** Looks for events at the end of the stream, until it is known which of them are not there. */
  async #missing(stream: string, events: EsdbProposed[]): Promise<EsdbProposed[]> {
    const { closed, host, callOptions } = this.#link
    for (let tries = 1; !closed.aborted; tries++) {
      const result = await this.#link.read((client) =>
        client.readStream(stream, { ...callOptions, direction: 'backwards', fromRevision: 'end', maxCount: LOOK_BACK_MAX }),
      )
      if (result.kind === 'done') {
        const stored = new Set(result.value.events.map(({ id }) => id))
        return events.filter(({ id }) => !stored.has(id))
      }
      if (result.failure.kind === 'stream-missing') return events
      await sleep(host.clock, backoffMs(AGAIN, tries, this.#random), closed)
    }
    return events
  }

  /** One bad event must not take its neighbours with it. */
  async #refused(stream: string, batch: readonly Pending[], failure: EsdbFailure): Promise<void> {
    if (batch.length > 1) {
      for (const pending of batch) await this.#append(stream, [pending])
      return
    }
    const [one] = batch
    if (one === undefined) return
    const details = { type: one.event.type, id: one.event.id, problem: failure.problem }
    this.#settle(batch, new TrunklineError('bus.publish_refused', details, { cause: failure.cause }))
  }

  #settle(batch: readonly Pending[], error: TrunklineError | undefined): void {
    for (const { key, resolve, reject } of batch) {
      if (error === undefined) resolve()
      else reject(error)
      if (key !== undefined) this.#arrived(key)
    }
  }

  #arrived(key: string): void {
    const known = this.#keys.get(key)
    if (known === undefined || --known.count > 0) return
    this.#keys.delete(key)
    for (const admit of known.behind) admit()
  }
}

/** The next batch. */
function taken(waiting: Pending[]): readonly Pending[] {
  const batch: Pending[] = []
  let bytes = 0
  while (batch.length < BATCH_MAX) {
    const next = waiting[0]
    if (next === undefined || (batch.length > 0 && bytes + next.bytes > BATCH_BYTES_MAX)) break
    waiting.shift()
    bytes += next.bytes
    batch.push(next)
  }
  return batch
}

function isGivenUp({ signal }: Pending): boolean {
  return signal?.aborted === true
}

function lost(problem: string): TrunklineError {
  return new TrunklineError('bus.connection_lost', { adapter: 'eventstoredb', problem })
}
