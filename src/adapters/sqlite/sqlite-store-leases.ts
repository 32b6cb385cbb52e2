import { TrunklineError } from '../../core/errors.ts'
import type { Lease, LeaseTable } from '../../store/port.ts'
import { integer, text } from './sqlite-connection.ts'
import type { SqliteConnection } from './sqlite-connection.ts'
import type { SqliteStoreAccess } from './sqlite-store-access.ts'

/** A lease as it stands in the file. The row stays after its end, so that epochs never start again. */
interface LeaseRow {
  readonly owner: string
  readonly epoch: number
  readonly endsMs: number
}

/**
 * Stops who works under an epoch that is over.
 *
 * @throws `store.lease_lost` where a later holder has the lease (P-15).
 */
export function checkEpoch(connection: SqliteConnection, name: string, epoch: bigint): void {
  const row = connection.row('SELECT epoch FROM trunkline_lease WHERE name = ?', name)
  if (row === undefined || BigInt(integer(row, 'epoch')) !== epoch) throw new TrunklineError('store.lease_lost', { store: 'sqlite', lease: name })
}

/** Lets others have at once what an instance held that has left the file. */
export function endLeasesOf(connection: SqliteConnection, address: string): void {
  connection.run('UPDATE trunkline_lease SET ends_ms = 0 WHERE address = ?', address)
}

/** Leases by the wall clock of the machine, which is that of every process on the file. */
export class SqliteLeases implements LeaseTable {
  readonly #access: SqliteStoreAccess

  constructor(access: SqliteStoreAccess) {
    this.#access = access
  }

  async hold(names: readonly string[], owner: string, ttlMs: number, most: number): Promise<readonly Lease[]> {
    const access = this.#access
    const distinct = [...new Set(names)]
    // Who stands by and finds nothing takes no lock.
    const isIdle = await access.read((connection) => chosen(connection, distinct, owner, access.nowMs, most).length === 0)
    if (isIdle) return []
    return await access.writeSoon(({ connection }) => {
      const { nowMs } = access
      return chosen(connection, distinct, owner, nowMs, most).map(({ name, row }) => {
        const epoch = row !== undefined && isOwn(row, owner, nowMs) ? row.epoch : (row?.epoch ?? 0) + 1
        connection.run(
          `INSERT INTO trunkline_lease (name, owner, address, epoch, ttl_ms, ends_ms) VALUES (?, ?, ?, ?, ?, ?)
            ON CONFLICT (name) DO UPDATE SET
              owner = excluded.owner, address = excluded.address, epoch = excluded.epoch, ttl_ms = excluded.ttl_ms, ends_ms = excluded.ends_ms`,
          name, owner, access.address, epoch, Math.ceil(ttlMs), Math.ceil(nowMs + ttlMs),
        )
        return { name, epoch: BigInt(epoch) }
      })
    })
  }

  async release(names: readonly string[], owner: string): Promise<void> {
    await this.#access.writeSoon(({ connection }) => {
      for (const name of names) connection.run('UPDATE trunkline_lease SET ends_ms = 0 WHERE name = ? AND owner = ?', name, owner)
    })
  }
}

/** The leases that the owner may have, its own first. */
function chosen(
  connection: SqliteConnection,
  names: readonly string[],
  owner: string,
  nowMs: number,
  most: number,
): readonly { readonly name: string; readonly row: LeaseRow | undefined }[] {
  const found = names.map((name) => ({ name, row: leaseRow(connection, name, nowMs) }))
  const own = found.filter(({ row }) => row !== undefined && isOwn(row, owner, nowMs))
  const free = found.filter(({ row }) => row === undefined || row.endsMs <= nowMs)
  return [...own, ...free].slice(0, Math.max(0, most))
}

function isOwn(row: LeaseRow, owner: string, nowMs: number): boolean {
  return row.owner === owner && row.endsMs > nowMs
}

/** A wall clock that was set back must not make a lease longer than it ever was: one that ends later than any renewal could have put it, is over. */
function leaseRow(connection: SqliteConnection, name: string, nowMs: number): LeaseRow | undefined {
  const row = connection.row('SELECT owner, epoch, ttl_ms, ends_ms FROM trunkline_lease WHERE name = ?', name)
  if (row === undefined) return undefined
  const endsMs = integer(row, 'ends_ms')
  const isFromTheFuture = endsMs > nowMs + integer(row, 'ttl_ms') + CLOCK_GRAIN_MS
  return { owner: text(row, 'owner'), epoch: integer(row, 'epoch'), endsMs: isFromTheFuture ? 0 : endsMs }
}

/** A clock that goes back by less is corrected, not set. */
const CLOCK_GRAIN_MS = 1_000
