import { TrunklineError } from '../../core/errors.ts'
import { derivedId } from '../../core/random.ts'
import type { BodyTable, DeadOutboxRow, InboxTable, OutboxOutcome, OutboxReadOptions, OutboxRow, OutboxStats, OutboxTable, TimerTable } from '../../outbox/port.ts'
import { shardLease } from '../../outbox/protocol/lease-names.ts'
import type { CheckpointTable, Lease, LeaseTable, Snapshot, StoredTimer } from '../../store/port.ts'
import { downOf, type EsdbDesk } from './eventstoredb-desk.ts'
import { keyOf, ops, type DeskState } from './eventstoredb-desk-state.ts'
import type { EsdbProposed } from './eventstoredb-client.ts'
import type { EsdbLink } from './eventstoredb-link.ts'

/** Gives the desk where the store is open, and throws where it is not. */
export type OpenDesk = () => EsdbDesk

/** The desk's state with everything that was committed until now. */
async function fresh(open: OpenDesk): Promise<{ readonly desk: EsdbDesk; readonly state: DeskState }> {
  const desk = open()
  await desk.refresh()
  return { desk, state: desk.state }
}

/** Checkpoints and snapshots. */
export class EsdbCheckpointTable implements CheckpointTable {
  readonly #open: OpenDesk

  constructor(open: OpenDesk) {
    this.#open = open
  }

  async load(name: string): Promise<bigint | undefined> {
    return (await fresh(this.#open)).state.checkpoints.get(name)
  }

  async loadSnapshot(stream: string, shape: string): Promise<Snapshot | undefined> {
    return (await fresh(this.#open)).state.snapshots.get(keyOf(stream, shape))
  }

  async remove(name: string): Promise<void> {
    const desk = this.#open()
    await desk.commit(() => (desk.state.checkpoints.has(name) ? [ops.checkpoint(name, undefined)] : []))
  }
}

/** Leases by the server's clock: it is the event's own time that decides. */
export class EsdbLeaseTable implements LeaseTable {
  readonly #open: OpenDesk

  constructor(open: OpenDesk) {
    this.#open = open
  }

  async hold(names: readonly string[], owner: string, ttlMs: number, most: number): Promise<readonly Lease[]> {
    const desk = this.#open()
    if (names.length === 0) return []
    await desk.commit(() => {
      const isOpen = names.some((name) => {
        const lease = desk.state.leases.get(name)
        return lease === undefined || lease.owner === owner || lease.endsAtMs <= desk.nowMs
      })
      return isOpen ? [ops.hold(names, owner, ttlMs, most)] : []
    })
    return desk.state.leasesOf(names, owner, desk.nowMs)
  }

  async release(names: readonly string[], owner: string): Promise<void> {
    const desk = this.#open()
    await desk.commit(() => (names.some((name) => desk.state.leases.get(name)?.owner === owner) ? [ops.release(names, owner)] : []))
  }
}

/** Messages that wait for the relay. One shard: the order of the desk is the order of them all. */
export class EsdbOutboxTable implements OutboxTable {
  readonly shards = 1
  readonly #open: OpenDesk

  constructor(open: OpenDesk) {
    this.#open = open
  }

  async read(shard: number, { limit, after, withoutKeys }: OutboxReadOptions): Promise<readonly OutboxRow[]> {
    const { state } = await fresh(this.#open)
    const keys = new Set(withoutKeys)
    const found: OutboxRow[] = []
    for (const { row } of state.rows.values()) {
      if (found.length >= limit) break
      const isWaiting = row.message.key !== undefined && keys.has(row.message.key)
      if (row.shard === shard && !isWaiting && (after === undefined || row.id > after)) found.push(row)
    }
    return found
  }

  async settle(shard: number, epoch: bigint, outcome: OutboxOutcome): Promise<void> {
    const desk = this.#open()
    await desk.commit(() => {
      const lease = shardLease(shard)
      if (desk.state.leases.get(lease)?.epoch !== epoch) throw new TrunklineError('store.lease_lost', { store: 'eventstoredb', lease })
      return outcome.published.length + outcome.dead.length > 0 ? [ops.settle(outcome)] : []
    })
  }

  async waiting(shards: readonly number[]): Promise<readonly number[]> {
    const { state } = await fresh(this.#open)
    const found = new Set([...state.rows.values()].map(({ row }) => row.shard))
    return shards.filter((shard) => found.has(shard))
  }

  async stats(): Promise<OutboxStats> {
    const { desk, state } = await fresh(this.#open)
    const [oldest] = state.rows.values()
    return { waiting: state.rows.size, oldestAgeMs: oldest === undefined ? 0 : Math.max(0, desk.nowMs - oldest.atMs), dead: state.dead.size }
  }

  async dead(limit: number, after: bigint | undefined): Promise<readonly DeadOutboxRow[]> {
    const { state } = await fresh(this.#open)
    const beyond = [...state.dead.values()].filter(({ row }) => after === undefined || row.id > after)
    const ordered = beyond.toSorted((one, other) => (one.row.id < other.row.id ? -1 : 1)).slice(0, limit)
    return ordered.map(({ row: { id, kind, message }, record }) => ({ id, kind, message, record }))
  }

  async redrive(id: bigint): Promise<boolean> {
    return await this.#actOnDead(id, () => [ops.redrive(id)])
  }

  async removeDead(id: bigint): Promise<boolean> {
    return await this.#actOnDead(id, () => [ops.removeDead(id)])
  }

  async #actOnDead(id: bigint, make: () => readonly (readonly unknown[])[]): Promise<boolean> {
    const desk = this.#open()
    let isThere = false
    await desk.commit(() => {
      isThere = desk.state.dead.has(id)
      return isThere ? make() : []
    })
    return isThere
  }
}

/** Upkeep of the marks. */
export class EsdbInboxTable implements InboxTable {
  readonly #open: OpenDesk

  constructor(open: OpenDesk) {
    this.#open = open
  }

  async prune(olderThanMs: number, limit: number): Promise<number> {
    const desk = this.#open()
    let removed = 0
    await desk.commit(() => {
      const old = oldest(desk.state.marks, ({ atMs }) => atMs < desk.nowMs - olderThanMs, limit)
      removed = old.length
      return old.length > 0 ? [ops.prune(old)] : []
    })
    return removed
  }

  async count(): Promise<number> {
    return (await fresh(this.#open)).state.marks.size
  }
}

/** Alarms, as everybody sees them. */
export class EsdbTimerTable implements TimerTable {
  readonly #open: OpenDesk

  constructor(open: OpenDesk) {
    this.#open = open
  }

  async nextInMs(): Promise<number | undefined> {
    const { desk, state } = await fresh(this.#open)
    const dues = [...state.timers.values()].map(({ dueAtMs }) => dueAtMs)
    return dues.length === 0 ? undefined : Math.max(0, dues.reduce((one, other) => Math.min(one, other)) - desk.nowMs)
  }

  async read(id: string): Promise<StoredTimer | undefined> {
    return (await fresh(this.#open)).state.timers.get(id)
  }

  async list(limit: number, after: string | undefined): Promise<readonly StoredTimer[]> {
    const { state } = await fresh(this.#open)
    const beyond = [...state.timers.values()].filter(({ id }) => after === undefined || id > after)
    return beyond.toSorted((one, other) => (one.id < other.id ? -1 : 1)).slice(0, limit)
  }
}

const CHUNK_BYTES = 524_288

/** Bodies, each in a stream of its own, in pieces. */
export class EsdbBodyTable implements BodyTable {
  readonly #open: OpenDesk
  readonly #link: () => EsdbLink
  readonly #stream: (id: string) => string

  constructor(open: OpenDesk, link: () => EsdbLink, stream: (id: string) => string) {
    this.#open = open
    this.#link = link
    this.#stream = stream
  }

  async put(id: string, body: Uint8Array): Promise<void> {
    const link = this.#link()
    const stream = this.#stream(id)
    const count = Math.max(1, Math.ceil(body.length / CHUNK_BYTES))
    const put = derivedId(stream, `${link.host.clock.monotonicMs()}`)
    for (let at = 0; at < count; at++) {
      const event: EsdbProposed = {
        id: derivedId(put, `${at}`), type: '-body', contentType: 'application/octet-stream', data: new Uint8Array(body.subarray(at * CHUNK_BYTES, (at + 1) * CHUNK_BYTES)),
        metadata: { 'trunkline-put': put, 'trunkline-count': `${count}` },
      }
      const result = await link.call((client) => client.appendToStream(stream, [event], { ...link.callOptions, expectedRevision: 'any', streamState: 'any' }))
      if (result.kind === 'failed') throw downOf(result.failure)
    }
    await this.#open().commit(() => [ops.body(id)])
  }

  async get(id: string): Promise<Uint8Array | undefined> {
    const { state } = await fresh(this.#open)
    if (!state.bodies.has(id)) return undefined
    const link = this.#link()
    const pieces: Uint8Array[] = []
    let [put, left, from]: readonly [unknown, number, bigint | 'end'] = [undefined, 1, 'end']
    while (left > 0) {
      const fromRevision: bigint | 'end' = from
      const result = await link.read((client) => client.readStream(this.#stream(id), { ...link.callOptions, direction: 'backwards', fromRevision, maxCount: 8 }))
      if (result.kind === 'failed') throw downOf(result.failure)
      const { events } = result.value
      if (events.length === 0) return undefined
      for (const { metadata, body, revision } of events) {
        if (put === undefined) [put, left] = [metadata['trunkline-put'], Number(metadata['trunkline-count'])]
        if (left > 0 && metadata['trunkline-put'] === put) {
          pieces.unshift(body)
          left--
        }
        if (revision === 0n && left > 0) return undefined
        from = revision - 1n
      }
    }
    return Buffer.concat(pieces)
  }

  async prune(olderThanMs: number, limit: number): Promise<number> {
    const desk = this.#open()
    let old: readonly string[] = []
    await desk.commit(() => {
      old = oldest(desk.state.bodies, (atMs) => atMs < desk.nowMs - olderThanMs, limit)
      return old.length > 0 ? [ops.pruneBodies(old)] : []
    })
    const link = this.#link()
    for (const id of old) await link.call((client) => client.deleteStream(this.#stream(id), link.callOptions))
    return old.length
  }
}

/** Keys from the oldest on, until one is not old or there are enough. */
function oldest<V>(rows: ReadonlyMap<string, V>, isOld: (row: V) => boolean, limit: number): readonly string[] {
  const found: string[] = []
  for (const [key, row] of rows) {
    if (found.length >= limit || !isOld(row)) break
    found.push(key)
  }
  return found
}
