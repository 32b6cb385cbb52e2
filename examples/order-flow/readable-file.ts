import { DatabaseSync } from 'node:sqlite'
import { existsSync } from 'node:fs'
import { type Amount, amountOf } from './money.ts'
import { type ServiceName, serviceFilePath } from './service.ts'

/** A service's file as others may see it, as far as it is there yet. */
export class ReadableFile implements Disposable {
  readonly #database: DatabaseSync | undefined

  constructor(dir: string, service: ServiceName) {
    const path = serviceFilePath(dir, service)
    this.#database = existsSync(path) ? new DatabaseSync(path, { readOnly: true }) : undefined
  }

  /** The column `n` of the first row. */
  count(sql: string): number {
    return Number(this.rows(sql)[0]?.['n'] ?? 0)
  }

  fact(name: string): number | undefined {
    const value = this.rows('SELECT value FROM facts WHERE name = ?', name)[0]?.['value']
    return value === undefined ? undefined : Number(value)
  }

  /** Exact sum of a column `amount`, which is text: SQLite itself would add in floating point. */
  sum(sql: string): Amount {
    let sum = 0n
    for (const row of this.rows(sql)) sum += amountOf(String(row['amount']))
    return sum
  }

  rows(sql: string, ...values: readonly string[]): readonly Record<string, unknown>[] {
    try {
      return this.#database?.prepare(sql).all(...values) ?? []
    } catch (error) {
      // The service is still making its tables, or writes at this very moment; the next look will see it.
      if (error instanceof Error && /no such table|is locked|is busy/.test(error.message)) return []
      throw error
    }
  }

  [Symbol.dispose](): void {
    this.#database?.close()
  }
}
