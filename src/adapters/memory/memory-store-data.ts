import { type Clock, systemClock } from '../../core/clock.ts'
import type { Snapshot, StoredTimer } from '../../store/port.ts'
import type { MemoryBroker } from './memory-broker.ts'
import { MemoryEvents } from './memory-store-events.ts'
import { MemoryGate } from './memory-store-gate.ts'
import { MemoryLeases, MemoryOutbox } from './memory-store-tables.ts'

/** A mark of a handled message. */
export interface MemoryMark {
  readonly digest: Uint8Array
  readonly answer: Uint8Array | undefined
  readonly markedAtMs: number
}

/** A body that is kept beside its message. */
export interface MemoryBody {
  readonly body: Uint8Array
  readonly storedAtMs: number
}

/** Everything that is committed in a database, the clock that it goes by, and who waits for what. */
export class MemoryData {
  readonly broker: MemoryBroker
  readonly gate: MemoryGate = new MemoryGate()
  readonly events: MemoryEvents = new MemoryEvents()
  readonly leases: MemoryLeases = new MemoryLeases()
  readonly outbox: MemoryOutbox
  readonly checkpoints: Map<string, bigint> = new Map()
  /** By `rowKey` of stream and shape. */
  readonly snapshots: Map<string, Snapshot> = new Map()
  readonly timers: Map<string, StoredTimer> = new Map()
  /** By `rowKey` of group, source and id; oldest first. */
  readonly marks: Map<string, MemoryMark> = new Map()
  /** Oldest first. */
  readonly bodies: Map<string, MemoryBody> = new Map()
  readonly #tables = new Map<string, Map<string, unknown>>()
  /** With the store that listens, whose own commits it need not be told of. */
  readonly #listeners = new Map<() => void, object>()
  #clock: Clock | undefined

  constructor(broker: MemoryBroker, shards: number, clock: Clock | undefined) {
    this.broker = broker
    this.outbox = new MemoryOutbox(shards)
    this.#clock = clock
  }

  /** Gives the database a clock where it has none yet. */
  adopt(clock: Clock): void {
    this.#clock ??= clock
    this.broker.adopt(clock)
  }

  get clock(): Clock {
    return this.#clock ?? systemClock
  }

  get nowMs(): number {
    return this.clock.nowMs()
  }

  /** A table of the user's. */
  rows(name: string): Map<string, unknown> {
    let rows = this.#tables.get(name)
    if (rows === undefined) {
      rows = new Map()
      this.#tables.set(name, rows)
    }
    return rows
  }

  /** Tells the stores that listen, but the one whose commit it was. */
  wake(origin: object | undefined): void {
    // In a turn of its own, so that what a listener does or throws is no part of the commit.
    for (const [listener, owner] of this.#listeners) if (owner !== origin) this.clock.defer(listener)
  }

  listen(listener: () => void, owner: object): () => void {
    this.#listeners.set(listener, owner)
    return () => {
      this.#listeners.delete(listener)
    }
  }
}

/** One key of several parts, which may hold any characters. */
export function rowKey(...parts: readonly string[]): string {
  return JSON.stringify(parts)
}
