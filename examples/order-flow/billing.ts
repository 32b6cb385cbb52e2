import { CASHIER_TABLES, subscribeCashier } from './cashier.ts'
import { EntryPosted, GetBalance, PostEntry } from './contracts.ts'
import { amountOf, amountText } from './money.ts'
import { type RunningService, type ServiceSetup, isOfRun, openService, startService } from './service.ts'

// No key is unique by message: money that is booked twice would stand in the ledger twice.
const TABLES = `
  CREATE TABLE IF NOT EXISTS ledger (
    entry INTEGER PRIMARY KEY AUTOINCREMENT, message_id TEXT NOT NULL, account TEXT NOT NULL, invoice_no TEXT NOT NULL,
    kind TEXT NOT NULL, amount TEXT NOT NULL
  );
  CREATE INDEX IF NOT EXISTS ledger_by_message ON ledger (message_id);
  CREATE INDEX IF NOT EXISTS ledger_by_account ON ledger (account);
`

/** Keeps the ledger, tells when something was booked, and answers what an account comes to. Takes payments for orders, too. */
export async function startBilling(setup: ServiceSetup): Promise<RunningService> {
  const service = await openService('billing', setup, TABLES + CASHIER_TABLES)
  const { bus, store } = service
  bus.handle(PostEntry, { within: store }, (message, { tx, publish }) => {
    if (!isOfRun(setup, message)) return
    const { account, invoiceNo, kind, amount } = message.data
    tx.prepare('INSERT INTO ledger (message_id, account, invoice_no, kind, amount) VALUES (?, ?, ?, ?, ?)').run(message.id, account, invoiceNo, kind, amount)
    publish(EntryPosted, message.data, { id: `${message.id}.posted` })
  })
  bus.answer(GetBalance, ({ data: { account } }) => store.transaction(({ tx }) => {
    const select = tx.prepare(`SELECT amount FROM ledger ${account === undefined ? '' : 'WHERE account = ?'}`)
    let entries = 0
    let balance = 0n
    for (const row of select.iterate(...(account === undefined ? [] : [account]))) {
      entries++
      balance += amountOf(String(row['amount']))
    }
    return { entries, balance: amountText(balance) }
  }))
  subscribeCashier(service, setup)
  return await startService(service, setup)
}
