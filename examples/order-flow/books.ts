import { amountOf, amountText } from './money.ts'
import { orderMistakes } from './order-books.ts'
import { ReadableFile } from './readable-file.ts'
import type { ServiceName } from './service.ts'

// Whether the books of all services fit together. Their tables have no key that would refuse a second effect of one message, so
// a second effect stands there as a second row.

/** What the books come to, and what is wrong with them. */
export interface Books {
  /** Rows of the inventory, and the pieces that left it. */
  readonly movements: number
  readonly pieces: number
  /** Rows of the ledger, and their sum. */
  readonly entries: number
  readonly balance: string
  /** Effects that are there twice. */
  readonly doubled: number
  /** What does not fit, in words; empty where everything does. */
  readonly mistakes: readonly string[]
}

interface Table {
  readonly service: ServiceName
  readonly name: string
  /** What one message can have one row of. */
  readonly effect: string
}

const TABLES: readonly Table[] = [
  { service: 'stock', name: 'inventory', effect: 'message_id, position' },
  { service: 'billing', name: 'ledger', effect: 'message_id' },
  { service: 'reporting', name: 'invoices', effect: 'message_id' },
  { service: 'reporting', name: 'postings', effect: 'message_id' },
  { service: 'stock', name: 'goods', effect: 'message_id, position' },
  { service: 'stock', name: 'shipments', effect: 'message_id' },
  { service: 'billing', name: 'cash', effect: 'message_id' },
]

const ARTICLES_WRONG = `
  SELECT count(*) AS n FROM (SELECT stock_code, sum(pieces) AS moved FROM inventory GROUP BY stock_code) FULL JOIN articles USING (stock_code) WHERE moved IS NOT pieces
`

/** Reads the books of services that have stopped. */
export function readBooks(dir: string): Books {
  using shop = new ReadableFile(dir, 'shop')
  using stock = new ReadableFile(dir, 'stock')
  using billing = new ReadableFile(dir, 'billing')
  const doubles = TABLES.map((table) => doublesOf(dir, table)).filter(({ rows }) => rows > 0)
  const pieces = -stock.count('SELECT sum(pieces) AS n FROM inventory')
  const balance = billing.sum('SELECT amount FROM ledger')
  const mistakes = doubles.map(({ table, rows, example }) => `${table} holds ${rows} effects that it had already, such as one of ${example}`)
  const sold = shop.count('SELECT sum(pieces) AS n FROM published')
  if (pieces !== sold) mistakes.push(`${pieces} pieces left the inventory, and the shop sold ${sold}`)
  const wrong = stock.count(ARTICLES_WRONG)
  if (wrong > 0) mistakes.push(`${wrong} articles have another quantity than their movements make`)
  mistakes.push(...moneyMistakes(shop, billing), ...orderMistakes(dir))
  return {
    movements: stock.count('SELECT count(*) AS n FROM inventory'),
    pieces,
    entries: billing.count('SELECT count(*) AS n FROM ledger'),
    balance: amountText(balance),
    doubled: doubles.reduce((sum, { rows }) => sum + rows, 0),
    mistakes,
  }
}

function doublesOf(dir: string, { service, name, effect }: Table): { readonly table: string; readonly rows: number; readonly example: string } {
  using file = new ReadableFile(dir, service)
  const found = file.rows(`SELECT message_id, count(*) - 1 AS more FROM ${name} GROUP BY ${effect} HAVING count(*) > 1`)
  return { table: `${service}'s ${name}`, rows: found.reduce((sum, row) => sum + Number(row['more']), 0), example: String(found[0]?.['message_id']) }
}

/** Every invoice that left the shop is in the ledger with its amount, and nothing else is. */
function moneyMistakes(shop: ReadableFile, billing: ReadableFile): readonly string[] {
  const booked = new Map<string, bigint>()
  for (const row of billing.rows('SELECT message_id, amount FROM ledger')) {
    const id = String(row['message_id'])
    booked.set(id, (booked.get(id) ?? 0n) + amountOf(String(row['amount'])))
  }
  const mistakes: string[] = []
  for (const row of shop.rows(`SELECT message_id, amount FROM published WHERE kind = 'invoice'`)) {
    const id = `${String(row['message_id'])}.entry`
    const [wanted, found] = [amountOf(String(row['amount'])), booked.get(id)]
    if (found !== wanted) mistakes.push(`the ledger has ${found === undefined ? 'nothing' : amountText(found)} for ${id}, which is ${amountText(wanted)}`)
    booked.delete(id)
  }
  for (const id of booked.keys()) mistakes.push(`the ledger has an entry of ${id}, which the shop never published`)
  return mistakes
}
