import type { Clock } from '../../core/clock.ts'
import { type OptionNames, optionNames, refuseUnknown } from '../../core/option-names.ts'
import { MemoryBroker } from './memory-broker.ts'
import { MemoryData } from './memory-store-data.ts'
import { MemoryStaging } from './memory-store-staging.ts'
import { MemoryOwnTransaction } from './memory-store-transaction.ts'

/** What `memoryDatabase` takes. */
export interface MemoryDatabaseOptions {
  /** The broker of the store's own transport. Default: one of its own. */
  readonly broker?: MemoryBroker
  /** The database's clock. Default: that of the first program that opens it. */
  readonly clock?: Clock
  /** Shards of the outbox. Default 16. */
  readonly shards?: number
}

const OPTIONS: OptionNames = optionNames<MemoryDatabaseOptions>({ broker: true, clock: true, shards: true })
const SHARDS = 16
const HOLD_MS_MAX = 30_000

/**
 * A database inside the process. Stores that share it see the same events, rows and leases, as processes that
 * share a database do. One transaction runs at a time. It dies with the process.
 */
export class MemoryDatabase {
  /** @internal */
  readonly data: MemoryData

  constructor(options: MemoryDatabaseOptions = {}) {
    refuseUnknown('memoryDatabase()', options, OPTIONS)
    this.data = new MemoryData(options.broker ?? new MemoryBroker(), options.shards ?? SHARDS, options.clock)
  }

  /** The broker that the store's own transport works on. */
  get broker(): MemoryBroker {
    return this.data.broker
  }

  /** The committed rows of a table of the user's, as they are now. */
  rows<Row = unknown>(table: string): ReadonlyMap<string, Readonly<Row>> {
    // What a table holds is known to who named it alone, as with a table of any database.
    return new Map(this.data.rows(table)) as ReadonlyMap<string, Readonly<Row>>
  }

  /**
   * Opens a transaction that the caller commits or rolls back, for `outbox.in(transaction)`. Others wait until that is
   * done; after 30 s it is rolled back.
   *
   * @throws `store.conflict` where another transaction did not end within 30 s.
   */
  async begin(): Promise<MemoryOwnTransaction> {
    await this.data.gate.enter({ clock: this.data.clock, timeoutMs: HOLD_MS_MAX, signal: undefined })
    return new MemoryOwnTransaction(new MemoryStaging(this.data), HOLD_MS_MAX)
  }
}

/** Makes a database for the stores of one process to share. */
export function memoryDatabase(options: MemoryDatabaseOptions = {}): MemoryDatabase {
  return new MemoryDatabase(options)
}
