import type { Unit } from 'trunkline'
import type { SqliteHandle } from 'trunkline/sqlite'
import type { Chunks } from './csv.ts'
import { bankMoodOf } from './luck.ts'
import { type Invoice, fileItems, isCancellation } from './invoices.ts'
import { type Amount, amountOf, amountText, priceOf } from './money.ts'
import { OrderCalledOff, OrderPlaced } from './order-contracts.ts'
import { ANSWER_MS, PATIENCE_MS } from './order-saga.ts'

/** Orders that left the shop, for the summary to compare with what became of them. */
export const PLACED_TABLES = `
  CREATE TABLE IF NOT EXISTS placed (order_id TEXT PRIMARY KEY, pieces INTEGER NOT NULL, amount TEXT NOT NULL, called_off_by TEXT) WITHOUT ROWID;
`

/** That a customer calls an order off. The file says by which invoice; when, relative to the order, is the demo's choice. */
export interface CallOff {
  readonly invoiceNo: string
  readonly when: 'before' | 'during' | 'after'
}

/** Call-offs by the line at which their order begins. */
export type CallOffs = ReadonlyMap<number, CallOff>

const WHENS = ['before', 'during', 'after'] as const
/** How much later an order is placed that was called off before. */
const BEFORE_MS = 500
/** Time after which most orders have been shipped. */
const AFTER_MS = 2_000

/** A cancellation of the file calls off the last order that its customer had placed; one without such an order is about a time before the file. */
export async function callOffsOf(open: () => Chunks): Promise<CallOffs> {
  const lastOrders = new Map<string, number>()
  const found = new Map<number, CallOff>()
  for await (const item of fileItems(open, 1)) {
    if (item.kind === 'refused' || item.invoice.customerId === null) continue
    const { customerId, invoiceNo } = item.invoice
    if (!isCancellation(invoiceNo)) {
      if (goodsOf(item.invoice).lines.length > 0) lastOrders.set(customerId, item.line)
      continue
    }
    const order = lastOrders.get(customerId)
    if (order === undefined) continue
    lastOrders.delete(customerId)
    found.set(order, { invoiceNo, when: WHENS[found.size % WHENS.length] ?? 'during' })
  }
  return found
}

interface Goods {
  readonly lines: readonly { readonly stockCode: string; readonly pieces: number }[]
  readonly amount: Amount
}

/** What an invoice sells: corrections of the books are no goods. */
function goodsOf(invoice: Invoice): Goods {
  const pieces = new Map<string, number>()
  let amount = 0n
  for (const { stockCode, quantity, unitPrice } of invoice.lines) {
    const price = amountOf(unitPrice)
    if (quantity <= 0 || price < 0n) continue
    pieces.set(stockCode, (pieces.get(stockCode) ?? 0) + quantity)
    amount += priceOf(price, quantity)
  }
  return { lines: [...pieces].map(([stockCode, count]) => ({ stockCode, pieces: count })), amount }
}

/** Those whose bank is slow have none, so that a payment runs out of time now and then and all others have theirs, however busy the machine is. */
function hasPatience(orderId: string): boolean {
  const mood = bankMoodOf(orderId)
  return mood !== 'late' && mood !== 'silent'
}

/** Places the order of an invoice, where it sells something, and has it called off where the file says so; with the rest of the unit. */
export async function placeOrder({ tx, publish, schedule }: Pick<Unit<SqliteHandle>, 'tx' | 'publish' | 'schedule'>, run: string, line: number, invoice: Invoice, callOff: CallOff | undefined): Promise<void> {
  const goods = goodsOf(invoice)
  if (isCancellation(invoice.invoiceNo) || goods.lines.length === 0) return
  const orderId = `${run}.${invoice.invoiceNo}.${line}`
  const order = { orderId, lines: [...goods.lines], amount: amountText(goods.amount), payWithinMs: hasPatience(orderId) ? ANSWER_MS : PATIENCE_MS }
  const pieces = goods.lines.reduce((sum, { pieces: count }) => sum + count, 0)
  tx.prepare('INSERT INTO placed VALUES (?, ?, ?, ?)').run(orderId, pieces, order.amount, callOff?.invoiceNo ?? null)
  if (callOff?.when === 'before') await schedule(OrderPlaced, order, { afterMs: BEFORE_MS, id: `place-${orderId}` })
  else publish(OrderPlaced, order)
  if (callOff === undefined) return
  const off = { orderId, invoiceNo: callOff.invoiceNo }
  if (callOff.when === 'after') await schedule(OrderCalledOff, off, { afterMs: AFTER_MS, id: `call-off-${orderId}` })
  else publish(OrderCalledOff, off)
}
