import { EntryPosted, InvoiceCancelled, InvoiceRecorded } from './contracts.ts'
import { type RunningService, type ServiceSetup, isOfRun, openService, startService } from './service.ts'

// As in the books of the others, what were heard twice would stand here twice.
const TABLES = `
  CREATE TABLE IF NOT EXISTS invoices (message_id TEXT NOT NULL, invoice_no TEXT NOT NULL, kind TEXT NOT NULL, country TEXT NOT NULL);
  CREATE INDEX IF NOT EXISTS invoices_by_message ON invoices (message_id);
  CREATE TABLE IF NOT EXISTS postings (message_id TEXT NOT NULL, country TEXT NOT NULL, amount TEXT NOT NULL);
  CREATE INDEX IF NOT EXISTS postings_by_message ON postings (message_id);
`

/** Folds what the other services tell into tables for people. */
export async function startReporting(setup: ServiceSetup): Promise<RunningService> {
  const service = await openService('reporting', setup, TABLES)
  const { bus, store } = service
  bus.on([InvoiceRecorded, InvoiceCancelled, EntryPosted], { group: 'figures', order: 'key', within: store }, (message, { tx }) => {
    if (!isOfRun(setup, message)) return
    if (message.type === EntryPosted.type) {
      tx.prepare('INSERT INTO postings VALUES (?, ?, ?)').run(message.id, message.data.country, message.data.amount)
      return
    }
    // A large invoice comes in parts, each of them a row.
    const kind = message.type === InvoiceCancelled.type ? 'cancellation' : 'sale'
    tx.prepare('INSERT INTO invoices VALUES (?, ?, ?, ?)').run(message.id, message.data.invoiceNo, kind, message.data.country)
  })
  return await startService(service, setup)
}
