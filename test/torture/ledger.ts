import { Pool } from 'pg'
import { DatabaseSync } from 'node:sqlite'
import type { StoreKind } from './plan.ts'
import { OPENING_CENTS } from './plan.ts'
import { type Rows, rowsOf, setUp } from './rows.ts'

/** Where effects are counted. */
export const PLACES = ['ledger', 'audit', 'tally'] as const

/** What came out. */
export interface Reckoning {
  /** Transfers that were committed. */
  readonly requests: number
  /** Messages and events that had to have their effect. */
  readonly messages: number
  readonly lost: number
  readonly doubled: number
  readonly outOfOrder: number
  /** Effects of transfers that were never committed. */
  readonly ghosts: number
  /** True where every balance is what the transfers make it, and no money came or went. */
  readonly balances: boolean
}

/** The database as the torture itself sees it, past the library. */
export class Ledger {
  readonly #isSqlite: boolean
  readonly #pool: Pool | undefined
  readonly #file: DatabaseSync | undefined
  readonly #rows: Rows

  constructor(store: StoreKind, address: string) {
    this.#isSqlite = store === 'sqlite'
    this.#pool = store === 'postgres' ? new Pool({ connectionString: address, max: 2, connectionTimeoutMillis: 5_000, query_timeout: 10_000 }) : undefined
    this.#pool?.on('error', () => undefined)
    this.#file = store === 'sqlite' ? new DatabaseSync(address, { timeout: 10_000 }) : undefined
    this.#rows = rowsOf(this.#pool ?? this.#file ?? {})
  }

  async setUp(accounts: number): Promise<void> {
    if (this.#isSqlite) await this.#rows.all('pragma journal_mode = wal')
    await setUp(this.#rows, this.#isSqlite, accounts, OPENING_CENTS)
  }

  async #count(text: string, ...values: readonly unknown[]): Promise<number> {
    const [row] = await this.#rows.all(text, ...values)
    return Number(Object.values(row ?? {})[0] ?? 0)
  }

  /** Effects there are; undefined while the database cannot be asked. */
  async effects(): Promise<number | undefined> {
    try {
      return await this.#count('select count(*) as c from t_effect')
    } catch {
      return undefined
    }
  }

  /** True where every transfer has had each of its effects. */
  async isComplete(): Promise<boolean> {
    try {
      const requests = await this.#count('select count(*) as c from t_request')
      for (const place of PLACES) if ((await this.#count('select count(distinct id) as c from t_effect where place = ?', place)) < requests) return false
      return true
    } catch {
      return false
    }
  }

  async reckon(): Promise<Reckoning> {
    const requests = await this.#count('select count(*) as c from t_request')
    let [lost, doubled, outOfOrder, ghosts] = [0, 0, 0, 0]
    for (const place of PLACES) {
      const effects = await this.#rows.all('select name, n, id from t_effect where place = ? order by seq', place)
      const known = new Map((await this.#rows.all('select id, n from t_request')).map((row) => [String(row['id']), Number(row['n'])]))
      const seen = new Set<string>()
      const last = new Map<string, number>()
      for (const effect of effects) {
        const [id, name, n] = [String(effect['id']), String(effect['name']), Number(effect['n'])]
        if (!known.has(id)) ghosts++
        if (seen.has(id)) doubled++
        else if (n !== (last.get(name) ?? 0) + 1) outOfOrder++
        if (!seen.has(id)) last.set(name, n)
        seen.add(id)
      }
      lost += [...known.keys()].filter((id) => !seen.has(id)).length
    }
    return { requests, messages: requests * PLACES.length, lost, doubled, outOfOrder, ghosts, balances: await this.#balances() }
  }

  async #balances(): Promise<boolean> {
    const [row] = await this.#rows.all('select sum(cents) as total, count(*) as accounts from t_account')
    if (Number(row?.['total']) !== Number(row?.['accounts']) * OPENING_CENTS) return false
    // What left an account is what its own transfers say.
    const asked = await this.#rows.all('select a.name, a.asked, count(r.id) as requests from t_account a left join t_request r on r.name = a.name group by a.name, a.asked')
    return asked.every((one) => Number(one['asked']) === Number(one['requests']))
  }

  async close(): Promise<void> {
    await this.#pool?.end()
    this.#file?.close()
  }
}
