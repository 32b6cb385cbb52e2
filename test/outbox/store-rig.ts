import { MemoryDatabase, type MemoryTransaction, memoryStore } from '../../src/adapters/memory/index.ts'
import type { StoreOptions } from '../../src/outbox/store-options.ts'
import type { Store } from '../../src/outbox/store.ts'
import { TrunklineError, silentLogger } from '../../src/index.ts'
import type { Bus, BusOptions } from '../../src/index.ts'
import { BusRig, Placed } from '../bus/bus-rig.ts'

/** A rig whose buses can work with stores over one memory database; the brokers of bus and database are not the same. */
export class StoreRig extends BusRig {
  readonly database: MemoryDatabase

  readonly #closers: (() => Promise<void>)[] = []

  constructor() {
    super()
    this.database = new MemoryDatabase({ clock: this.clock })
  }

  /** What a broker says that does not want a message. */
  refusal(id: string): TrunklineError {
    return new TrunklineError('bus.publish_refused', { type: Placed.type, id, problem: 'not this one' })
  }

  override bus(options: Partial<BusOptions> = {}): Bus {
    return super.bus({ logger: silentLogger, ...options })
  }

  store(options: StoreOptions = {}): Store<MemoryTransaction> {
    return memoryStore({ database: this.database, ...options })
  }

  /** Something to close with the rig. */
  closing(close: () => Promise<void>): void {
    this.#closers.push(close)
  }

  /** Waits for what needs the clock to go on. */
  async settling<T>(work: Promise<T>): Promise<T> {
    await this.clock.advance(10_000)
    return await work
  }

  override async [Symbol.asyncDispose](): Promise<void> {
    const closing = Promise.all(this.#closers.map((close) => close()))
    await super[Symbol.asyncDispose]()
    await closing
  }
}

/** Everything that a reader gives. */
export async function listed<T>(source: AsyncIterable<T>): Promise<T[]> {
  const items: T[] = []
  for await (const item of source) items.push(item)
  return items
}
