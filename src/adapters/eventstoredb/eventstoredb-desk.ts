import { sleep } from '../../core/clock.ts'
import { TrunklineError } from '../../core/errors.ts'
import type { StoreHost } from '../../outbox/port.ts'
import { EsdbDeskArchive } from './eventstoredb-desk-archive.ts'
import { DeskState, ops, type Op } from './eventstoredb-desk-state.ts'
import { fieldsOf, recordOf, type EsdbEvent } from './eventstoredb-event.ts'
import type { EsdbFailure } from './eventstoredb-failure.ts'
import { EsdbFeed } from './eventstoredb-feed.ts'
import type { EsdbLink } from './eventstoredb-link.ts'

const PAGE = 256
const TRIES_MAX = 200
const UNKNOWN_TRIES_MAX = 5
const AGAIN_MS = 100
const DESK = '-desk'
/** Operations after which the state is written down anew. */
const COMPACT_AFTER = 2_000n

/**
 * The stream of a store's operations and what they come to. Whoever commits has read everything before, and appends at exactly that revision: what
 * it has found out is still true when it is written.
 */
export class EsdbDesk {
  readonly stream: string
  readonly #archive: EsdbDeskArchive
  #state = new DeskState()
  /** Revision of the last archive that this process knows of. */
  #archivedAt = -1n
  readonly #link: EsdbLink
  readonly #host: StoreHost
  readonly #listeners = new Set<() => void>()
  readonly #closed = new AbortController()
  #last = -1n
  #tail: Promise<unknown> = Promise.resolve()
  #commits: Promise<unknown> = Promise.resolve()
  #clock: { readonly serverMs: number; readonly atMs: number } | undefined
  #isHearing = false

  constructor(link: EsdbLink, host: StoreHost, stream: string) {
    this.#link = link
    this.#host = host
    this.stream = stream
    this.#archive = new EsdbDeskArchive(link, `${stream}-archive`)
  }

  /** What all that has been read comes to. */
  get state(): DeskState {
    return this.#state
  }

  get hearsOthers(): boolean {
    return this.#isHearing
  }

  /** The server's clock, never ahead of it. */
  get nowMs(): number {
    const { clock } = this.#host
    return this.#clock === undefined ? 0 : this.#clock.serverMs + Math.floor(clock.monotonicMs() - this.#clock.atMs)
  }

  /** Reads what is there and hears the server's clock. @throws `store.down`. */
  async open(): Promise<void> {
    await this.#restore()
    await this.commit(() => [ops.tick()])
    void this.#follow()
  }

  close(): void {
    this.#closed.abort()
    this.#listeners.clear()
  }

  onCommitted(listener: () => void): () => void {
    this.#listeners.add(listener)
    return () => {
      this.#listeners.delete(listener)
    }
  }

  /** Resolves when everything is known that had been committed when it was called. @throws `store.down`. */
  refresh(): Promise<void> {
    const reading = this.#tail.then(() => this.#readOn())
    this.#tail = reading.catch(() => undefined)
    return reading
  }

  /**
   * Commits what `make` gives, which is called with everything known, and again where somebody else was faster. Nothing is written
   * where it gives nothing.
   *
   * @throws what `make` throws, `store.down`, `store.conflict`, `store.refused`.
   */
  commit(make: () => readonly Op[], from?: string): Promise<void> {
    const committing = this.#commits.then(() => this.#commit(make, from))
    this.#commits = committing.catch(() => undefined)
    return committing
  }

  /** Writes the state down and lets the server forget what led to it, where that is more than `afterCount` operations. */
  async compact(afterCount: bigint = COMPACT_AFTER): Promise<void> {
    await this.refresh()
    if (this.#last - this.#archivedAt < afterCount) return
    const [revision, items] = [this.#last, this.#state.items()]
    const failure = await this.#archive.write(this.#host.random.id(this.#host.clock.nowMs()), { revision, items })
    if (failure !== undefined) throw downOf(failure)
    this.#archivedAt = revision
    await this.#link.call((client) => client.setStreamMetadata(this.stream, { truncateBefore: Number(revision) + 1 }, this.#link.callOptions))
  }

  /** Takes or keeps a lease; false where another process has it. A process that only waits writes nothing. */
  async lead(name: string, owner: string, ttlMs: number): Promise<boolean> {
    await this.commit(() => (this.#isOpenTo(name, owner) ? [ops.hold([name], owner, ttlMs, 1)] : []))
    return this.state.leasesOf([name], owner, this.nowMs).length > 0
  }

  #isOpenTo(name: string, owner: string): boolean {
    const lease = this.state.leases.get(name)
    return lease === undefined || lease.owner === owner || lease.endsAtMs <= this.nowMs
  }

  async #commit(make: () => readonly Op[], from: string | undefined): Promise<void> {
    for (let tries = 1; tries <= TRIES_MAX; tries++) {
      await this.refresh()
      if (from !== undefined && this.state.posted.has(from)) return
      const list = make()
      if (list.length === 0) return
      const id = this.#host.random.id(this.#host.clock.nowMs())
      const failure = await this.#append(id, list, from)
      if (failure === undefined) return
      if (failure.kind === 'wrong-revision') await sleep(this.#host.clock, this.#host.random.next() * Math.min(50, tries * 3), this.#link.closed)
      else raise(failure)
    }
    throw new TrunklineError('store.conflict', { store: 'eventstoredb', problem: 'too many others commit at the same time' })
  }

  async #append(id: string, list: readonly Op[], from: string | undefined): Promise<EsdbFailure | undefined> {
    const event = recordOf(id, DESK, { ops: list, ...(from === undefined ? {} : { from }) })
    const expected = this.#last < 0n ? 'no_stream' : this.#last
    for (let tries = 1; ; tries++) {
      const result = await this.#link.call((client) =>
        client.appendToStream(this.stream, [event], { ...this.#link.callOptions, expectedRevision: expected, streamState: expected }),
      )
      const ackedAtMs = this.#host.clock.monotonicMs()
      if (result.kind === 'done') {
        await this.refresh()
        this.#hear(id, ackedAtMs)
        return undefined
      }
      if (!['unknown', 'not-leader', 'poisoned'].includes(result.failure.kind) || tries >= UNKNOWN_TRIES_MAX || this.#link.closed.aborted) return result.failure
      await sleep(this.#host.clock, AGAIN_MS * tries, this.#link.closed)
    }
  }

  /** The server's time of our own event was not later than when its answer came. */
  #hear(id: string, ackedAtMs: number): void {
    if (this.#seen?.id === id) this.#clock = { serverMs: this.#seen.storedAtMs, atMs: ackedAtMs }
  }

  #seen: EsdbEvent | undefined

  async #readOn(): Promise<void> {
    for (;;) {
      const fromRevision = this.#last + 1n
      const result = await this.#link.read((client) => client.readStream(this.stream, { ...this.#link.callOptions, direction: 'forwards', fromRevision, maxCount: PAGE }))
      if (result.kind === 'failed') {
        if (result.failure.kind === 'stream-missing') return
        throw downOf(result.failure)
      }
      const { events, isCut } = result.value
      // Others have gone on so far that what comes next here is gone already.
      const [next] = events
      if (next !== undefined && next.revision > fromRevision) {
        await this.#restore()
        if (this.#last + 1n < next.revision) throw downOf({ problem: 'the desk has a gap', cause: undefined })
        continue
      }
      for (const event of events) this.#take(event)
      if (!isCut && events.length < PAGE) return
    }
  }

  async #restore(): Promise<void> {
    const archived = await this.#archive.read()
    if (archived === undefined) return
    if ('kind' in archived) throw downOf(archived)
    this.#archivedAt = archived.revision
    if (archived.revision <= this.#last) return
    this.#state = new DeskState()
    this.#state.restore(archived.items)
    this.#last = archived.revision
  }

  #take(event: EsdbEvent): void {
    if (event.revision <= this.#last) return
    this.#last = event.revision
    this.#seen = event
    const fields = fieldsOf(event)
    const [list, from] = [fields['ops'], fields['from']]
    this.#state.apply(Array.isArray(list) ? list : [], typeof from === 'string' ? from : undefined, event.storedAtMs)
  }

  /** Hears what others commit. */
  async #follow(): Promise<void> {
    const stop = AbortSignal.any([this.#closed.signal, this.#link.closed])
    while (!stop.aborted) {
      const feed = new EsdbFeed(this.#link, PAGE, () => this.#link.client.subscribeToStream(this.stream, { ...this.#link.callOptions, fromRevision: this.#last < 0n ? 'start' : this.#last }))
      this.#isHearing = true
      for (let item = feed.poll(); item?.kind !== 'ended' && !stop.aborted; item = feed.poll()) {
        if (item?.kind === 'event') for (const listener of this.#listeners) listener()
        if (item === undefined) await feed.arrived(60_000, stop)
      }
      this.#isHearing = false
      feed.close()
      await sleep(this.#host.clock, 1_000, stop)
    }
  }
}

/** The error of a call whose outcome is unknown. */
export function downOf({ problem, cause }: Pick<EsdbFailure, 'problem' | 'cause'>): TrunklineError {
  return new TrunklineError('store.down', { store: 'eventstoredb', problem }, { cause })
}

function raise(failure: EsdbFailure): never {
  if (['unknown', 'poisoned', 'not-leader'].includes(failure.kind)) throw downOf(failure)
  throw new TrunklineError('store.refused', { store: 'eventstoredb', problem: failure.problem }, { cause: failure.cause })
}
