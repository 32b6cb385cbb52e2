import { EntryPosted, InvoiceCancelled, InvoiceRecorded } from './contracts.ts'
import { type RunningService, type ServiceSetup, isOfRun, openService, startService } from './service.ts'

const TABLES = `
  CREATE TABLE IF NOT EXISTS invoices (invoice_no TEXT PRIMARY KEY, kind TEXT NOT NULL, country TEXT NOT NULL) WITHOUT ROWID;
  CREATE TABLE IF NOT EXISTS postings (message_id TEXT PRIMARY KEY, country TEXT NOT NULL, amount TEXT NOT NULL) WITHOUT ROWID;
`

/** Folds what the other services tell into tables for people. */
export async function startReporting(setup: ServiceSetup): Promise<RunningService> {
  const { bus, file } = await openService('reporting', setup, TABLES)
  bus.on([InvoiceRecorded, InvoiceCancelled, EntryPosted], { group: 'figures', order: 'key' }, async (message) => {
    if (!isOfRun(setup, message)) return
    await file.once(message, (database) => {
      if (message.type === EntryPosted.type) {
        database.prepare('INSERT INTO postings VALUES (?, ?, ?)').run(message.id, message.data.country, message.data.amount)
        return
      }
      const kind = message.type === InvoiceCancelled.type ? 'cancellation' : 'sale'
      // A large invoice comes in parts, and is one invoice all the same.
      database.prepare('INSERT OR IGNORE INTO invoices VALUES (?, ?, ?)').run(message.data.invoiceNo, kind, message.data.country)
    })
  })
  return await startService(bus, file, setup)
}
