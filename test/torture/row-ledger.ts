import { Pool } from 'pg'
import { DatabaseSync } from 'node:sqlite'
import type { Ledger, Progress } from './ledger.ts'
import { OPENING_CENTS } from './plan.ts'
import { type Books, PLACES, type Place } from './reckoning.ts'
import { type Rows, rowsOf, setUp } from './rows.ts'

/** Accounts, requests and effects as rows. */
export class RowLedger implements Ledger {
  readonly #isSqlite: boolean
  readonly #pool: Pool | undefined
  readonly #file: DatabaseSync | undefined
  readonly #rows: Rows
  readonly #counted: Record<Place, number> = { ledger: 0, audit: 0, tally: 0 }
  #seq = 0

  constructor(isSqlite: boolean, address: string) {
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
        this.#counted[placeOf(row)]++
      }
      return { ...this.#counted }
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
      for (const place of PLACES) if ((await this.#count('select count(distinct id) as c from t_effect where place = ?', place)) < requests) return false
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
      effects: effects.map((row) => ({ place: placeOf(row), id: String(row['id']), name: String(row['name']), n: Number(row['n']) })),
      cents: new Map(accounts.map((row) => [String(row['name']), Number(row['cents'])])),
    }
  }

  async close(): Promise<void> {
    await this.#pool?.end()
    this.#file?.close()
  }
}

function placeOf(row: Record<string, unknown>): Place {
  const place = PLACES.find((name) => name === row['place'])
  if (place === undefined) throw new Error(`an effect is at ${String(row['place'])}`)
  return place
}
