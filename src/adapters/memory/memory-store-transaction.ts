import type { Timer } from '../../core/clock.ts'
import type { MemoryStaging } from './memory-store-staging.ts'
import type { StagedTable } from './memory-store-staged.ts'

const stagings = new WeakMap<MemoryTransaction, MemoryStaging>()

/** A table of the user's within a transaction. Rows are frozen when they are set (their
 * own fields, not what stands in those): change a row by setting another one. */
export class MemoryTable<Row> {
  readonly #staging: MemoryStaging
  readonly #rows: StagedTable<string, unknown>

  /** @internal */
  constructor(staging: MemoryStaging, name: string) {
    this.#staging = staging
    this.#rows = staging.table(name)
  }

  /** @throws `outbox.unit_over` after the end of the transaction, as all of these. */
  get(key: string): Readonly<Row> | undefined {
    this.#staging.checkOpen('table.get')
    // What a table holds is known to who named it alone, as with a table of any database.
    return this.#rows.get(key) as Readonly<Row> | undefined
  }

  set(key: string, row: Row): void {
    this.#staging.checkOpen('table.set')
    // A change to the row itself would be seen at once and survive a rollback. The platform cannot freeze bytes.
    this.#rows.set(key, ArrayBuffer.isView(row) ? row : Object.freeze(row))
  }

  /** False where there was none. */
  delete(key: string): boolean {
    this.#staging.checkOpen('table.delete')
    return this.#rows.delete(key)
  }

  entries(): readonly (readonly [string, Readonly<Row>])[] {
    this.#staging.checkOpen('table.entries')
    // As in `get`.
    return this.#rows.entries() as readonly (readonly [string, Readonly<Row>])[]
  }
}

/** What business rows are written on within a transaction of a memory store. */
export class MemoryTransaction {
  readonly #staging: MemoryStaging

  /** @internal */
  constructor(staging: MemoryStaging) {
    this.#staging = staging
    stagings.set(this, staging)
  }

  /** A table of the user's; it need not exist. */
  table<Row extends object | string | number | boolean | bigint>(name: string): MemoryTable<Row> {
    return new MemoryTable<Row>(this.#staging, name)
  }
}

/** A transaction that its caller commits or rolls back: what a driver's client inside `BEGIN` is to a real database. */
export class MemoryOwnTransaction extends MemoryTransaction {
  readonly #staging: MemoryStaging
  readonly #timer: Timer

  /** @internal It is rolled back after `holdMsMax`, because everybody waits for it. */
  constructor(staging: MemoryStaging, holdMsMax: number) {
    super(staging)
    this.#staging = staging
    this.#timer = staging.data.clock.setTimer(holdMsMax, () => staging.end(), { background: true })
  }

  /** @throws `outbox.unit_over` where it has ended, and what `commit` of a unit of work throws. */
  async commit(): Promise<void> {
    this.#timer.cancel()
    this.#staging.commit()
    await Promise.resolve()
  }

  /** Does nothing where it has ended. */
  async rollback(): Promise<void> {
    this.#timer.cancel()
    this.#staging.end()
    await Promise.resolve()
  }
}

/** What stands behind a handle; undefined for anything else. */
export function stagingOf(handle: unknown): MemoryStaging | undefined {
  return handle instanceof MemoryTransaction ? stagings.get(handle) : undefined
}
