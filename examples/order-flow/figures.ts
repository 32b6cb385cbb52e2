import { amountText } from './money.ts'
import { ReadableFile } from './readable-file.ts'
import type { ServiceName } from './service.ts'

// What the services' files say, read from outside. Nothing here comes from the input or from the shop's memory.

/** How far the services are, in messages that had their effect. */
export interface Progress {
  /** Messages with invoices that the shop has committed to its outbox. */
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
  using shop = new ReadableFile(dir, 'shop')
  using stock = new ReadableFile(dir, 'stock')
  using billing = new ReadableFile(dir, 'billing')
  using reporting = new ReadableFile(dir, 'reporting')
  const messages = (file: ReadableFile, table: string): number => file.count(`SELECT count(DISTINCT message_id) AS n FROM ${table}`)
  return {
    published: shop.count(`SELECT count(*) AS n FROM published WHERE kind = 'invoice'`),
    refused: shop.count(`SELECT count(*) AS n FROM published WHERE kind = 'refused'`),
    isShopFinished: shop.fact('finished') === 1,
    stock: messages(stock, 'inventory WHERE position = 1'),
    billing: messages(billing, 'ledger'),
    reporting: messages(reporting, 'invoices') + messages(reporting, 'postings'),
    retries: [shop, stock, billing, reporting].reduce((sum, file) => sum + (file.fact('retried') ?? 0), 0),
  }
}

/** True once the instance has subscribed its groups. */
export function isReady(dir: string, service: ServiceName, instance: number): boolean {
  using file = new ReadableFile(dir, service)
  return file.fact(`ready-${instance}`) !== undefined
}

/** Adds the consumers' books up. */
export function readFigures(dir: string): Figures {
  using billing = new ReadableFile(dir, 'billing')
  using reporting = new ReadableFile(dir, 'reporting')
  return {
    invoices: reporting.count('SELECT count(DISTINCT invoice_no) AS n FROM invoices'),
    cancellations: reporting.count(`SELECT count(DISTINCT invoice_no) AS n FROM invoices WHERE kind = 'cancellation'`),
    gross: amountText(billing.sum(`SELECT amount FROM ledger WHERE kind = 'sale'`)),
    cancelled: amountText(billing.sum(`SELECT amount FROM ledger WHERE kind = 'cancellation'`)),
    reported: amountText(reporting.sum('SELECT amount FROM postings')),
  }
}
