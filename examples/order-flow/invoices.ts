import { type Chunks, type CsvRecord, csvRecords } from './csv.ts'
import { isAmount } from './money.ts'

// From lines of the file to invoices. Where an item starts depends on the file alone, so a shop that
// begins again at a recorded line makes the same items with the same numbers.

/** The columns of the file, in their order. */
export const COLUMNS = ['invoice_no', 'stock_code', 'description', 'quantity', 'invoice_date', 'unit_price', 'customer_id', 'country'] as const

/** Most lines in one message; a larger invoice travels in parts. */
export const PART_LINES_MAX = 250
/** Text of one part, in characters, before the next part begins: far below the largest message body. */
const PART_TEXT_MAX = 60_000

/** One article of an invoice. */
export interface InvoiceLine {
  readonly stockCode: string
  readonly description: string
  readonly quantity: number
  readonly unitPrice: string
}

/** An invoice, or a part of it. */
export interface Invoice {
  readonly invoiceNo: string
  readonly invoicedAt: string
  readonly customerId: string | null
  readonly country: string
  readonly lines: readonly InvoiceLine[]
}

/** What one line of the file says. */
interface FileLine extends Omit<Invoice, 'lines'> {
  readonly article: InvoiceLine
}

/**
 * What the file holds, in its order. `line` is unique; who has dealt with the item and all before it
 * can begin again at `resumeLine`.
 */
export type FileItem =
  | { readonly kind: 'invoice'; readonly line: number; readonly resumeLine: number; readonly invoice: Invoice }
  | { readonly kind: 'refused'; readonly line: number; readonly resumeLine: number; readonly text: string; readonly problem: string }

/** True for the number of a cancellation. */
export function isCancellation(invoiceNo: string): boolean {
  return invoiceNo.startsWith('C')
}

/** Reads one line of the file; a text says what is wrong with it. */
export function readLine(fields: readonly string[]): FileLine | string {
  if (fields.length !== COLUMNS.length) return `the line has ${fields.length} fields, not ${COLUMNS.length}`
  const [invoiceNo = '', stockCode = '', description = '', quantity = '', invoicedAt = '', unitPrice = '', customerId = '', country = ''] = fields
  if (!/^[A-Z0-9-]{1,20}$/.test(invoiceNo)) return `invoice_no ${shown(invoiceNo)} is not 1 to 20 capital letters, digits or dashes`
  if (stockCode === '' || stockCode.length > 40) return `stock_code ${shown(stockCode)} has not 1 to 40 characters`
  if (description.length > 2_000) return 'description is longer than 2000 characters'
  if (!/^-?\d{1,9}$/.test(quantity)) return `quantity ${shown(quantity)} is not a whole number`
  if (!isInstant(invoicedAt)) return `invoice_date ${shown(invoicedAt)} is not a time like 2010-12-01T08:26:00Z`
  if (!isAmount(unitPrice) || unitPrice.length > 20) return `unit_price ${shown(unitPrice)} is not a decimal number with at most nine decimals`
  if (!/^[\w.-]{0,40}$/.test(customerId)) return `customer_id ${shown(customerId)} is not a customer's number`
  if (country.length > 100) return 'country is longer than 100 characters'
  const article = { stockCode, description, quantity: Number(quantity), unitPrice }
  return { invoiceNo, invoicedAt, customerId: customerId === '' ? null : customerId, country, article }
}

function isInstant(text: string): boolean {
  if (!/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$/.test(text)) return false
  const date = new Date(text)
  return !Number.isNaN(date.getTime()) && date.toISOString().startsWith(text.slice(0, -1))
}

function shown(text: string): string {
  return JSON.stringify(text.length > 60 ? `${text.slice(0, 60)}…` : text)
}

/**
 * The invoices of a file from a line on, and every line that is none.
 *
 * @param open gives the file from its beginning; called twice.
 * @throws an `Error` when the first line does not name the columns.
 */
export async function* fileItems(open: () => Chunks, fromLine: number): AsyncGenerator<FileItem> {
  await checkHeader(open())
  let current: OpenInvoice | undefined
  for await (const record of csvRecords(open(), { columns: COLUMNS.length, fromLine: Math.max(2, fromLine) })) {
    const line = record.kind === 'broken' ? record.problem : readLine(record.fields)
    if (typeof line === 'string') {
      // A broken line does not end the invoice that it stands in.
      yield { kind: 'refused', line: record.line, resumeLine: current?.line ?? record.lastLine + 1, text: record.text, problem: line }
    } else if (current === undefined || !current.takes(line, record)) {
      if (current !== undefined) yield current.item(record.line)
      current = new OpenInvoice(line, record)
    }
  }
  if (current !== undefined) yield current.item(current.lastLine + 1)
}

async function checkHeader(chunks: Chunks): Promise<void> {
  for await (const record of csvRecords(chunks, { columns: COLUMNS.length })) {
    if (record.line === 1 && record.kind === 'fields' && record.fields.join(',') === COLUMNS.join(',')) return
    break
  }
  throw new Error(`the first line of the file is not: ${COLUMNS.join(',')}`)
}

/** The invoice that is being read. */
class OpenInvoice {
  /** Where it begins. */
  readonly line: number
  lastLine: number
  readonly #head: FileLine
  readonly #articles: InvoiceLine[]
  #textLength: number

  constructor(first: FileLine, record: CsvRecord) {
    this.line = record.line
    this.lastLine = record.lastLine
    this.#head = first
    this.#articles = [first.article]
    this.#textLength = record.text.length
  }

  /** False where the line belongs to the next invoice, or to the next part of this one. */
  takes(next: FileLine, record: CsvRecord): boolean {
    const { invoiceNo, customerId, country } = this.#head
    if (next.invoiceNo !== invoiceNo || next.customerId !== customerId || next.country !== country) return false
    if (this.#articles.length === PART_LINES_MAX || this.#textLength + record.text.length > PART_TEXT_MAX) return false
    this.#articles.push(next.article)
    this.#textLength += record.text.length
    this.lastLine = record.lastLine
    return true
  }

  item(resumeLine: number): FileItem {
    const { invoiceNo, invoicedAt, customerId, country } = this.#head
    return { kind: 'invoice', line: this.line, resumeLine, invoice: { invoiceNo, invoicedAt, customerId, country, lines: this.#articles } }
  }
}
