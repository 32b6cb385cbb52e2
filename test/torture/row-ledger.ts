import { Pool } from 'pg'
import { DatabaseSync } from 'node:sqlite'
import type { Ledger, Progress } from './ledger.ts'
import { OPENING_CENTS } from './plan.ts'
import type { Books } from './reckoning.ts'
import { type Rows, rowsOf, setUp } from './rows.ts'

/** Accounts, requests and effects as rows. */
export class RowLedger implements Ledger {
  readonly #isSqlite: boolean
  readonly #pool: Pool | undefined
  readonly #file: DatabaseSync | undefined
  readonly #rows: Rows
  readonly #places: readonly string[]
  readonly #counted = new Map<string, number>()
  #seq = 0

  /** @param places where each transfer must have an effect in the end. */
  constructor(isSqlite: boolean, address: string, places: readonly string[]) {
    this.#places = places
    this.#isSqlite = isSqlite
    this.#pool = isSqlite ? undefined : new Pool({ connectionString: address, max: 2, connectionTimeoutMillis: 5_000, query_timeout: 10_000 })
    this.#pool?.on('error', () => undefined)
    this.#file = isSqlite ? new DatabaseSync(address, { timeout: 10_000 }) : undefined
    this.#rows = rowsOf(this.#pool ?? this.#file ?? {})
  }

  async setUp(accounts: number): Promise<void> {
    if (this.#isSqlite) await this.#rows.all('pragma journal_mode = wal')
    await setUp(this.#rows, this.#isSqlite, accounts, OPENING_CENTS)
  }

  async progress(): Promise<Progress | undefined> {
    try {
      for (const row of await this.#rows.all('select seq, place from t_effect where seq > ? order by seq', this.#seq)) {
        this.#seq = Number(row['seq'])
        const place = String(row['place'])
        this.#counted.set(place, (this.#counted.get(place) ?? 0) + 1)
      }
      return new Map(this.#counted)
    } catch {
      return undefined
    }
  }

  async #count(text: string, ...values: readonly unknown[]): Promise<number> {
    const [row] = await this.#rows.all(text, ...values)
    return Number(Object.values(row ?? {})[0] ?? 0)
  }

  async isComplete(): Promise<boolean> {
    try {
      const requests = await this.#count('select count(*) as c from t_request')
      for (const place of this.#places) if ((await this.#count('select count(distinct id) as c from t_effect where place = ?', place)) < requests) return false
      return true
    } catch {
      return false
    }
  }

  async books(): Promise<Books> {
    const asked = await this.#rows.all('select id, name, target, cents, n from t_request')
    const effects = await this.#rows.all('select place, id, name, n from t_effect order by seq')
    const accounts = await this.#rows.all('select name, cents from t_account')
    return {
      asked: asked.map((row) => ({ id: String(row['id']), from: String(row['name']), to: String(row['target']), cents: Number(row['cents']), n: Number(row['n']) })),
      effects: effects.map((row) => ({ place: String(row['place']), id: String(row['id']), name: String(row['name']), n: Number(row['n']) })),
      cents: new Map(accounts.map((row) => [String(row['name']), Number(row['cents'])])),
    }
  }

  async close(): Promise<void> {
    await this.#pool?.end()
    this.#file?.close()
  }
}
