import { InvoiceCancelled, InvoiceRecorded, PostEntry, QuotePrice, accountOf } from './contracts.ts'
import { isCancellation } from './invoices.ts'
import { amountOf, amountText, priceOf } from './money.ts'
import { WAREHOUSE_TABLES, subscribeWarehouse } from './warehouse.ts'
import { type RunningService, type ServiceSetup, isOfRun, openService, startService } from './service.ts'

// Nothing here is unique by message: a second effect would stand in the inventory as a second row.
const TABLES = `
  CREATE TABLE IF NOT EXISTS inventory (
    movement INTEGER PRIMARY KEY AUTOINCREMENT, message_id TEXT NOT NULL, position INTEGER NOT NULL, stock_code TEXT NOT NULL, pieces INTEGER NOT NULL
  );
  CREATE INDEX IF NOT EXISTS inventory_by_message ON inventory (position, message_id);
  CREATE TABLE IF NOT EXISTS articles (stock_code TEXT PRIMARY KEY, pieces INTEGER NOT NULL, unit_price TEXT NOT NULL) WITHOUT ROWID;
`

/** Moves goods for every invoice and has its amount booked: an event comes in, a command goes out, in one transaction with the rows. Reserves and ships for orders, too, and tells prices. */
export async function startStock(setup: ServiceSetup): Promise<RunningService> {
  const service = await openService('stock', setup, TABLES + WAREHOUSE_TABLES)
  const { bus, store } = service
  bus.on([InvoiceRecorded, InvoiceCancelled], { group: 'movements', within: store }, (message, { tx, send }) => {
    if (!isOfRun(setup, message)) return
    const { data } = message
    const insert = tx.prepare('INSERT INTO inventory (message_id, position, stock_code, pieces) VALUES (?, ?, ?, ?)')
    const count = tx.prepare('INSERT INTO articles VALUES (?, ?, ?) ON CONFLICT DO UPDATE SET pieces = pieces + excluded.pieces, unit_price = excluded.unit_price')
    let amount = 0n
    for (const [at, { stockCode, quantity, unitPrice }] of data.lines.entries()) {
      insert.run(message.id, at + 1, stockCode, -quantity)
      count.run(stockCode, -quantity, unitPrice)
      amount += priceOf(amountOf(unitPrice), quantity)
    }
    const { invoiceNo, country } = data
    const kind = isCancellation(invoiceNo) ? 'cancellation' : 'sale'
    send(PostEntry, { account: accountOf(data), invoiceNo, kind, amount: amountText(amount), country }, { id: `${message.id}.entry` })
  })
  bus.answer(QuotePrice, ({ data: { stockCode } }) => store.transaction(({ tx }) => {
    const price = tx.prepare('SELECT unit_price FROM articles WHERE stock_code = ?').get(stockCode)?.['unit_price']
    return { unitPrice: typeof price === 'string' ? price : null, isListPrice: false }
  }))
  subscribeWarehouse(service, setup)
  return await startService(service, setup)
}
