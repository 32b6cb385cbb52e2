import type { BodyTable, DeadOutboxRow, InboxTable, OutboxOutcome, OutboxReadOptions, OutboxRow, OutboxStats, OutboxTable, TimerTable } from '../../outbox/port.ts'
import type { CheckpointTable, Lease, LeaseTable, Snapshot, StoredTimer } from '../../store/port.ts'
import { type MemoryData, rowKey } from './memory-store-data.ts'
import { byText } from './memory-store-tables.ts'

/** Gives the database where the store is open, and throws where it is not. */
export type OpenData = () => MemoryData

/** Checkpoints and snapshots as everybody sees them. */
export class MemoryCheckpointTable implements CheckpointTable {
  readonly #open: OpenData

  constructor(open: OpenData) {
    this.#open = open
  }

  async load(name: string): Promise<bigint | undefined> {
    return await Promise.resolve(this.#open().checkpoints.get(name))
  }

  async loadSnapshot(stream: string, shape: string): Promise<Snapshot | undefined> {
    return await Promise.resolve(this.#open().snapshots.get(rowKey(stream, shape)))
  }

  async remove(name: string): Promise<void> {
    this.#open().checkpoints.delete(name)
    await Promise.resolve()
  }
}

/** Leases by the clock of the database. */
export class MemoryLeaseTable implements LeaseTable {
  readonly #open: OpenData

  constructor(open: OpenData) {
    this.#open = open
  }

  async hold(names: readonly string[], owner: string, ttlMs: number, most: number): Promise<readonly Lease[]> {
    const data = this.#open()
    return await Promise.resolve(data.leases.hold(names, owner, ttlMs, most, data.nowMs))
  }

  async release(names: readonly string[], owner: string): Promise<void> {
    this.#open().leases.release(names, owner)
    await Promise.resolve()
  }
}

/** The outbox as the relay sees it. */
export class MemoryOutboxTable implements OutboxTable {
  readonly shards: number
  readonly #open: OpenData

  constructor(open: OpenData, shards: number) {
    this.#open = open
    this.shards = shards
  }

  async read(shard: number, options: OutboxReadOptions): Promise<readonly OutboxRow[]> {
    return await Promise.resolve(this.#open().outbox.read(shard, options))
  }

  async settle(shard: number, epoch: bigint, outcome: OutboxOutcome): Promise<void> {
    const { outbox, leases } = this.#open()
    outbox.settle(shard, epoch, outcome, leases)
    await Promise.resolve()
  }

  async waiting(shards: readonly number[]): Promise<readonly number[]> {
    return await Promise.resolve(this.#open().outbox.waiting(shards))
  }

  async stats(): Promise<OutboxStats> {
    const { outbox, nowMs } = this.#open()
    return await Promise.resolve(outbox.stats(nowMs))
  }

  async dead(limit: number, after: bigint | undefined): Promise<readonly DeadOutboxRow[]> {
    return await Promise.resolve(this.#open().outbox.dead(limit, after))
  }

  async redrive(id: bigint): Promise<boolean> {
    const data = this.#open()
    const wasThere = data.outbox.redrive(id, data.nowMs)
    if (wasThere) data.wake(undefined)
    return await Promise.resolve(wasThere)
  }

  async removeDead(id: bigint): Promise<boolean> {
    return await Promise.resolve(this.#open().outbox.removeDead(id))
  }
}

/** Upkeep of the marks. */
export class MemoryInboxTable implements InboxTable {
  readonly #open: OpenData

  constructor(open: OpenData) {
    this.#open = open
  }

  async prune(olderThanMs: number, limit: number): Promise<number> {
    const { marks, nowMs } = this.#open()
    return await Promise.resolve(pruneOldest(marks, ({ markedAtMs }) => markedAtMs < nowMs - olderThanMs, limit))
  }

  async count(): Promise<number> {
    return await Promise.resolve(this.#open().marks.size)
  }
}

/** Alarms as everybody sees them. */
export class MemoryTimerTable implements TimerTable {
  readonly #open: OpenData

  constructor(open: OpenData) {
    this.#open = open
  }

  async nextInMs(): Promise<number | undefined> {
    const { timers, nowMs } = this.#open()
    let next: number | undefined
    for (const { dueAtMs } of timers.values()) next = Math.min(next ?? dueAtMs, dueAtMs)
    return await Promise.resolve(next === undefined ? undefined : Math.max(0, next - nowMs))
  }

  async read(id: string): Promise<StoredTimer | undefined> {
    return await Promise.resolve(this.#open().timers.get(id))
  }

  async list(limit: number, after: string | undefined): Promise<readonly StoredTimer[]> {
    const beyond = [...this.#open().timers.values()].filter(({ id }) => after === undefined || id > after)
    return await Promise.resolve(beyond.toSorted((left, right) => byText(left.id, right.id)).slice(0, limit))
  }
}

/** Bodies that are kept beside their messages. */
export class MemoryBodyTable implements BodyTable {
  readonly #open: OpenData

  constructor(open: OpenData) {
    this.#open = open
  }

  async put(id: string, body: Uint8Array): Promise<void> {
    const { bodies, nowMs } = this.#open()
    // Again at the end, where the youngest stand.
    bodies.delete(id)
    bodies.set(id, { body, storedAtMs: nowMs })
    await Promise.resolve()
  }

  async get(id: string): Promise<Uint8Array | undefined> {
    return await Promise.resolve(this.#open().bodies.get(id)?.body)
  }

  async prune(olderThanMs: number, limit: number): Promise<number> {
    const { bodies, nowMs } = this.#open()
    return await Promise.resolve(pruneOldest(bodies, ({ storedAtMs }) => storedAtMs < nowMs - olderThanMs, limit))
  }
}

/** Removes rows from the oldest on, until one stays or there are enough; gives the number of those removed. */
function pruneOldest<V>(rows: Map<string, V>, isOld: (row: V) => boolean, limit: number): number {
  let removed = 0
  for (const [key, row] of rows) {
    if (removed >= limit || !isOld(row)) break
    rows.delete(key)
    removed++
  }
  return removed
}
