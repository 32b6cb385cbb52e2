import { InvoiceCancelled, InvoiceRecorded, PostEntry, accountOf } from './contracts.ts'
import { isCancellation } from './invoices.ts'
import { amountOf, amountText, priceOf } from './money.ts'
import { type RunningService, type ServiceSetup, isOfRun, openService, startService } from './service.ts'

const TABLES = `
  CREATE TABLE IF NOT EXISTS articles (stock_code TEXT PRIMARY KEY, pieces INTEGER NOT NULL) WITHOUT ROWID;
`

/** Moves goods for every invoice and then has its amount booked: an event comes in, a command goes out. */
export async function startStock(setup: ServiceSetup): Promise<RunningService> {
  const { bus, file } = await openService('stock', setup, TABLES)
  bus.on([InvoiceRecorded, InvoiceCancelled], { group: 'movements' }, async (message) => {
    if (!isOfRun(setup, message)) return
    const { data } = message
    await file.once(message, (database) => {
      const move = database.prepare('INSERT INTO articles VALUES (?, ?) ON CONFLICT DO UPDATE SET pieces = pieces + excluded.pieces')
      for (const line of data.lines) move.run(line.stockCode, -line.quantity)
    })
    let amount = 0n
    for (const line of data.lines) amount += priceOf(amountOf(line.unitPrice), line.quantity)
    const { invoiceNo, country } = data
    const kind = isCancellation(invoiceNo) ? 'cancellation' : 'sale'
    // Sent for a repeated event, too: the first run may have died before this line. The id tells billing that it is the same command.
    await bus.send(PostEntry, { account: accountOf(data), invoiceNo, kind, amount: amountText(amount), country }, { id: `${message.id}.entry` })
  })
  return await startService(bus, file, setup)
}
