import { TrunklineError } from '../../core/errors.ts'
import type { DeadOutboxRow, NewOutboxRow, OutboxOutcome, OutboxReadOptions, OutboxRow, OutboxStats } from '../../outbox/port.ts'
import { shardLease } from '../../outbox/protocol/lease-names.ts'
import type { Lease, StoredTimer } from '../../store/port.ts'

/** A lease and when it ends. */
interface HeldLease {
  owner: string
  epoch: bigint
  endsAtMs: number
}

/** Leases of a database. A row stays after its end, so that epochs never start again. */
export class MemoryLeases {
  readonly #leases = new Map<string, HeldLease>()

  hold(names: readonly string[], owner: string, ttlMs: number, most: number, nowMs: number): readonly Lease[] {
    const isOwn = (name: string): boolean => {
      const lease = this.#leases.get(name)
      return lease?.owner === owner && lease.endsAtMs > nowMs
    }
    const isFree = (name: string): boolean => (this.#leases.get(name)?.endsAtMs ?? 0) <= nowMs
    const distinct = [...new Set(names)]
    const held = [...distinct.filter(isOwn), ...distinct.filter(isFree)].slice(0, Math.max(0, most))
    return held.map((name) => ({ name, epoch: this.#take(name, owner, nowMs + ttlMs, isOwn(name)) }))
  }

  #take(name: string, owner: string, endsAtMs: number, isOwn: boolean): bigint {
    const before = this.#leases.get(name)?.epoch ?? 0n
    const epoch = isOwn ? before : before + 1n
    this.#leases.set(name, { owner, epoch, endsAtMs })
    return epoch
  }

  release(names: readonly string[], owner: string): void {
    for (const name of names) {
      const lease = this.#leases.get(name)
      if (lease?.owner === owner) lease.endsAtMs = 0
    }
  }

  /**
   * Stops who works under an epoch that is over.
   *
   * @throws `store.lease_lost` where a later holder has the lease (P-15).
   */
  check(name: string, epoch: bigint): void {
    if (this.#leases.get(name)?.epoch === epoch) return
    throw new TrunklineError('store.lease_lost', { store: 'memory', lease: name })
  }
}

/** A row and when it was written. */
interface TimedRow {
  readonly row: OutboxRow
  readonly writtenAtMs: number
}

/** Committed messages on their way out, and those that were given up. */
export class MemoryOutbox {
  readonly shards: number
  readonly #rows: readonly Map<bigint, TimedRow>[]
  readonly #dead = new Map<bigint, DeadOutboxRow & { readonly shard: number }>()
  #id = 0n

  constructor(shards: number) {
    this.shards = shards
    this.#rows = Array.from({ length: shards }, () => new Map<bigint, TimedRow>())
  }

  add(rows: readonly NewOutboxRow[], nowMs: number): void {
    for (const row of rows) this.#shard(row.shard).set(++this.#id, { row: { ...row, id: this.#id }, writtenAtMs: nowMs })
  }

  read(shard: number, { limit, after, withoutKeys }: OutboxReadOptions): readonly OutboxRow[] {
    const keys = new Set(withoutKeys)
    const found: OutboxRow[] = []
    for (const { row } of this.#shard(shard).values()) {
      if (found.length >= limit) break
      const isWaiting = row.message.key !== undefined && keys.has(row.message.key)
      if (!isWaiting && (after === undefined || row.id > after)) found.push(row)
    }
    return found
  }

  settle(shard: number, epoch: bigint, { published, dead }: OutboxOutcome, leases: MemoryLeases): void {
    leases.check(shardLease(shard), epoch)
    const rows = this.#shard(shard)
    for (const id of published) rows.delete(id)
    for (const { id, record } of dead) {
      const timed = rows.get(id)
      if (timed === undefined) continue
      rows.delete(id)
      this.#dead.set(id, { id, shard, kind: timed.row.kind, message: timed.row.message, record })
    }
  }

  waiting(shards: readonly number[]): readonly number[] {
    return shards.filter((shard) => this.#shard(shard).size > 0)
  }

  stats(nowMs: number): OutboxStats {
    const waiting = this.#rows.reduce((sum, rows) => sum + rows.size, 0)
    const oldest = this.#rows.flatMap((rows) => rows.values().next().value?.writtenAtMs ?? [])
    return { waiting, oldestAgeMs: oldest.length === 0 ? 0 : Math.max(0, nowMs - Math.min(...oldest)), dead: this.#dead.size }
  }

  dead(limit: number, after: bigint | undefined): readonly DeadOutboxRow[] {
    const beyond = [...this.#dead.values()].filter(({ id }) => after === undefined || id > after)
    const ordered = beyond.toSorted((left, right) => (left.id < right.id ? -1 : 1)).slice(0, limit)
    return ordered.map(({ id, kind, message, record }) => ({ id, kind, message, record }))
  }

  redrive(id: bigint, nowMs: number): boolean {
    const row = this.#dead.get(id)
    if (row === undefined) return false
    this.#dead.delete(id)
    this.add([{ kind: row.kind, message: row.message, shard: row.shard }], nowMs)
    return true
  }

  removeDead(id: bigint): boolean {
    return this.#dead.delete(id)
  }

  /** @throws `core.invariant_broken` for a shard that is none. */
  #shard(shard: number): Map<bigint, TimedRow> {
    const rows = this.#rows[shard]
    if (rows === undefined) throw new TrunklineError('core.invariant_broken', { expected: `a shard is a number from 0 to ${this.shards - 1}` })
    return rows
  }
}

/** Earliest first; those of one instant by their ids. */
export function byDue(left: StoredTimer, right: StoredTimer): number {
  return left.dueAtMs - right.dueAtMs || byText(left.id, right.id)
}

/** In the order of code units, which no locale changes. */
export function byText(left: string, right: string): number {
  return left < right ? -1 : left > right ? 1 : 0
}
