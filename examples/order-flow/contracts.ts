import { command, event, query } from 'trunkline'
import { z } from 'zod'

// What the four services say to each other. The schemas admit what a real shop's books hold: sales without a
// customer, articles without a description, price 0, corrections with a negative quantity or price.

/** Exact decimal text: money is never a floating-point number. */
const decimal = z.string().regex(/^-?\d{1,30}(?:\.\d{1,9})?$/)
const invoiceNo = z.string().min(1).max(20)

const invoice = z.object({
  invoiceNo,
  invoicedAt: z.iso.datetime(),
  customerId: z.string().min(1).max(40).nullable(),
  country: z.string().max(100),
  /** A large invoice comes as several messages, each with a part of its lines. */
  lines: z
    .array(z.object({ stockCode: z.string().min(1).max(40), description: z.string().max(2_000), quantity: z.int(), unitPrice: decimal }))
    .min(1)
    .max(250),
})

const entry = z.object({
  /** The customer, or the invoice itself where nobody is known. */
  account: z.string().min(1).max(40),
  invoiceNo,
  kind: z.enum(['sale', 'cancellation']),
  amount: decimal,
  country: z.string().max(100),
})

/** Whose money it is about. What happens to one account keeps its order. */
export function accountOf(data: { readonly customerId: string | null; readonly invoiceNo: string }): string {
  return data.customerId ?? `invoice-${data.invoiceNo}`
}

/** The shop sold something. */
export const InvoiceRecorded = event('sales.invoice-recorded', { schema: invoice, key: accountOf, order: 'key' })

/** The shop took something back. */
export const InvoiceCancelled = event('sales.invoice-cancelled', { schema: invoice, key: accountOf, order: 'key' })

/** Record what a line of the file says that could not be read at once. */
export const RecordLine = command('sales.record-line', {
  schema: z.object({ line: z.int().min(1), text: z.string(), isCut: z.boolean(), problem: z.string() }),
})

/** Book an amount on an account. */
export const PostEntry = command('billing.post-entry', { schema: entry, key: ({ account }) => account, order: 'key' })

/** An amount was booked. */
export const EntryPosted = event('billing.entry-posted', { schema: entry, key: ({ account }) => account, order: 'key' })

/** What one piece of an article costs; stock knows the price that it was sold for last. */
export const QuotePrice = query('stock.quote-price', {
  request: z.object({ stockCode: z.string().min(1).max(40) }),
  response: z.object({ unitPrice: decimal.nullable(), isListPrice: z.boolean() }),
})

/** What all accounts come to, or one of them. */
export const GetBalance = query('billing.get-balance', {
  request: z.object({ account: z.string().max(40).optional() }),
  response: z.object({ entries: z.int(), balance: decimal }),
})
