import { type Amount, amountOf, amountText } from './money.ts'
import { ReadableFile } from './readable-file.ts'

/** How the orders stand. */
export interface Orders {
  readonly placed: number
  readonly started: number
  readonly fulfilled: number
  readonly cancelled: number
  readonly compensated: number
  readonly failed: number
  /** Orders that have not ended, or stand still. */
  readonly open: number
  /** Orders that are fulfilled although they were called off: the news has not reached them yet. */
  readonly unheard: number
}

/** Adds up how the orders of a run stand. */
export function readOrders(dir: string, run: string): Orders {
  using shop = new ReadableFile(dir, 'shop')
  using orders = new ReadableFile(dir, 'orders')
  const counts = new Map<string, number>()
  const fulfilled = new Set<string>()
  for (const row of orders.rows('SELECT order_id, status, outcome FROM order_book WHERE order_id GLOB ?', `${run}.*`)) {
    const how = row['status'] === 'ended' ? String(row['outcome']) : 'open'
    counts.set(how, (counts.get(how) ?? 0) + 1)
    if (how === 'completed') fulfilled.add(String(row['order_id']))
  }
  const of = (how: string): number => counts.get(how) ?? 0
  return {
    placed: shop.count('SELECT count(*) AS n FROM placed'),
    started: [...counts.values()].reduce((sum, count) => sum + count, 0),
    fulfilled: of('completed'), cancelled: of('cancelled'), compensated: of('compensated'), failed: of('failed'), open: of('open'),
    unheard: shop.rows('SELECT order_id FROM placed WHERE called_off_by IS NOT NULL').filter((row) => fulfilled.has(String(row['order_id']))).length,
  }
}

/** True when every order has ended, and has heard of its cancellation. */
export function areOver({ placed, started, open, unheard }: Orders): boolean {
  return started === placed && open === 0 && unheard === 0
}

interface Sums {
  pieces: number
  parcels: number
  cash: Amount
}

/** What does not fit in the books of stock and billing, after their services have stopped: an order that was fulfilled has its goods, its parcel and its price in them, every other one nothing. */
export function orderMistakes(dir: string): readonly string[] {
  using shop = new ReadableFile(dir, 'shop')
  using orders = new ReadableFile(dir, 'orders')
  using stock = new ReadableFile(dir, 'stock')
  const sums = sumsOf(dir)
  const mistakes: string[] = []
  for (const row of orders.rows(`SELECT order_id, reason FROM order_book WHERE status = 'quarantined' OR outcome = 'failed'`)) mistakes.push(`${String(row['order_id'])} stands still or has failed: ${String(row['reason'])}`)
  const outcomes = new Map(orders.rows('SELECT order_id, outcome FROM order_book').map((row) => [String(row['order_id']), row['outcome']]))
  for (const row of shop.rows('SELECT order_id, pieces, amount FROM placed')) {
    const orderId = String(row['order_id'])
    const isFulfilled = outcomes.get(orderId) === 'completed'
    const found = sums.get(orderId) ?? { pieces: 0, parcels: 0, cash: 0n }
    sums.delete(orderId)
    const wanted = isFulfilled ? { pieces: Number(row['pieces']), parcels: 1, cash: amountOf(String(row['amount'])) } : { pieces: 0, parcels: 0, cash: 0n }
    if (found.pieces === wanted.pieces && found.parcels === wanted.parcels && found.cash === wanted.cash) continue
    const text = ({ pieces, parcels, cash }: Sums): string => `${pieces} pieces, ${parcels} parcels, ${amountText(cash)}`
    mistakes.push(`the order ${orderId}, which ended as ${String(outcomes.get(orderId))}, stands for ${text(found)} instead of ${text(wanted)}`)
  }
  for (const orderId of sums.keys()) mistakes.push(`the books have an order ${orderId}, which the shop never placed`)
  const wrong = stock.count(LEVELS_WRONG)
  if (wrong > 0) mistakes.push(`${wrong} articles have another level than their movements make`)
  return mistakes
}

const LEVELS_WRONG = `
  SELECT count(*) AS n FROM levels LEFT JOIN (SELECT stock_code, sum(pieces) AS moved FROM goods GROUP BY stock_code) USING (stock_code)
  WHERE pieces <> at_first + coalesce(moved, 0) OR pieces < 0
`

function sumsOf(dir: string): Map<string, Sums> {
  using stock = new ReadableFile(dir, 'stock')
  using billing = new ReadableFile(dir, 'billing')
  const sums = new Map<string, Sums>()
  const of = (row: Record<string, unknown>): Sums => {
    const orderId = String(row['order_id'])
    const known = sums.get(orderId) ?? { pieces: 0, parcels: 0, cash: 0n }
    sums.set(orderId, known)
    return known
  }
  for (const row of stock.rows('SELECT order_id, -sum(pieces) AS pieces FROM goods GROUP BY order_id')) of(row).pieces += Number(row['pieces'])
  for (const row of stock.rows('SELECT order_id, sum(parcels) AS parcels FROM shipments GROUP BY order_id')) of(row).parcels += Number(row['parcels'])
  for (const row of billing.rows('SELECT order_id, amount FROM cash')) of(row).cash += amountOf(String(row['amount']))
  return sums
}
