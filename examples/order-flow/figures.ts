import { DatabaseSync } from 'node:sqlite'
import { existsSync } from 'node:fs'
import { amountOf, amountText } from './money.ts'
import { type ServiceName, serviceFilePath } from './service.ts'

// What the services' files say, read from outside. Nothing here comes from the input or from the shop's memory.

/** How far the services are. */
export interface Progress {
  /** Messages with invoices that the shop knows to be stored. */
  readonly published: number
  /** Lines of the file that are none. */
  readonly refused: number
  readonly isShopFinished: boolean
  readonly stock: number
  readonly billing: number
  readonly reporting: number
  readonly retries: number
}

/** What the consumers found. */
export interface Figures {
  readonly invoices: number
  readonly cancellations: number
  readonly gross: string
  readonly cancelled: string
  /** What reporting was told that billing booked; the same as `gross` and `cancelled` together, if both heard everything. */
  readonly reported: string
}

/** Reads how far the services are. */
export function readProgress(dir: string): Progress {
  const shop = new ReadOnlyFile(dir, 'shop')
  const consumers = ['stock', 'billing', 'reporting'] as const
  const [stock, billing, reporting] = consumers.map((service) => new ReadOnlyFile(dir, service))
  try {
    const files = [shop, stock, billing, reporting]
    const handled = (file: ReadOnlyFile | undefined): number => file?.count('SELECT count(*) AS n FROM inbox') ?? 0
    return {
      published: shop.count(`SELECT count(*) AS n FROM published WHERE kind = 'invoice'`),
      refused: shop.count(`SELECT count(*) AS n FROM published WHERE kind = 'refused'`),
      isShopFinished: shop.fact('finished') === 1,
      stock: handled(stock),
      billing: handled(billing),
      reporting: handled(reporting),
      retries: files.reduce((sum, file) => sum + (file?.fact('retried') ?? 0), 0),
    }
  } finally {
    for (const file of [shop, stock, billing, reporting]) file?.close()
  }
}

/** True once the instance has subscribed its groups. */
export function isReady(dir: string, service: ServiceName, instance: number): boolean {
  const file = new ReadOnlyFile(dir, service)
  try {
    return file.fact(`ready-${instance}`) !== undefined
  } finally {
    file.close()
  }
}

/** Adds the consumers' books up. */
export function readFigures(dir: string): Figures {
  const billing = new ReadOnlyFile(dir, 'billing')
  const reporting = new ReadOnlyFile(dir, 'reporting')
  try {
    return {
      invoices: reporting.count('SELECT count(*) AS n FROM invoices'),
      cancellations: reporting.count(`SELECT count(*) AS n FROM invoices WHERE kind = 'cancellation'`),
      gross: billing.sum(`SELECT amount FROM ledger WHERE kind = 'sale'`),
      cancelled: billing.sum(`SELECT amount FROM ledger WHERE kind = 'cancellation'`),
      reported: reporting.sum('SELECT amount FROM postings'),
    }
  } finally {
    billing.close()
    reporting.close()
  }
}

/** A service's file, as far as it is there yet. */
class ReadOnlyFile {
  readonly #database: DatabaseSync | undefined

  constructor(dir: string, service: ServiceName) {
    const path = serviceFilePath(dir, service)
    this.#database = existsSync(path) ? new DatabaseSync(path, { readOnly: true }) : undefined
  }

  count(sql: string): number {
    return Number(this.#rows(sql)[0]?.['n'] ?? 0)
  }

  fact(name: string): number | undefined {
    const value = this.#rows('SELECT value FROM facts WHERE name = ?', name)[0]?.['value']
    return value === undefined ? undefined : Number(value)
  }

  /** Exact sum of a column `amount`, which is text: SQLite itself would add in floating point. */
  sum(sql: string): string {
    let sum = 0n
    for (const row of this.#rows(sql)) sum += amountOf(String(row['amount']))
    return amountText(sum)
  }

  #rows(sql: string, ...values: readonly string[]): readonly Record<string, unknown>[] {
    try {
      return this.#database?.prepare(sql).all(...values) ?? []
    } catch (error) {
      // The service is still making its tables, or writes at this very moment; the next look will see it.
      if (error instanceof Error && /no such table|is locked|is busy/.test(error.message)) return []
      throw error
    }
  }

  close(): void {
    this.#database?.close()
  }
}
