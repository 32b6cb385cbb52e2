import { bankMoodOf } from './luck.ts'
import { GivePaymentBack, PaymentDeclined, PaymentGivenBack, PaymentTaken, TakePayment } from './order-contracts.ts'
import { PATIENCE_MS } from './order-saga.ts'
import { type OpenService, type ServiceSetup, isOrderOfRun } from './service.ts'

/** `cash` holds what was done, without a key that would refuse a second effect; `payments` how it stands. */
export const CASHIER_TABLES = `
  CREATE TABLE IF NOT EXISTS payments (order_id TEXT PRIMARY KEY, state TEXT NOT NULL, amount TEXT NOT NULL) WITHOUT ROWID;
  CREATE TABLE IF NOT EXISTS cash (movement INTEGER PRIMARY KEY AUTOINCREMENT, message_id TEXT NOT NULL, order_id TEXT NOT NULL, amount TEXT NOT NULL);
`

/** When a late answer comes: nobody waits for it any more. */
const LATE_MS = 2 * PATIENCE_MS

/** Takes payments and gives them back. A command to give back what was never taken keeps it from being taken later. */
export function subscribeCashier({ bus, store }: OpenService, setup: ServiceSetup): void {
  bus.handle(TakePayment, { within: store }, async ({ id, data: { orderId, amount } }, { tx, publish, schedule }) => {
    if (!isOrderOfRun(setup, orderId)) return
    const known = tx.prepare('SELECT state FROM payments WHERE order_id = ?').get(orderId)?.['state']
    const mood = bankMoodOf(orderId)
    if (known !== undefined || mood === 'no') {
      publish(PaymentDeclined, { orderId, why: known === undefined ? 'the bank says no' : 'the order is over' })
      return
    }
    tx.prepare(`INSERT INTO payments VALUES (?, 'taken', ?)`).run(orderId, amount)
    tx.prepare('INSERT INTO cash (message_id, order_id, amount) VALUES (?, ?, ?)').run(id, orderId, amount)
    if (mood === 'well') publish(PaymentTaken, { orderId })
    else if (mood === 'late') await schedule(PaymentTaken, { orderId }, { afterMs: LATE_MS, id: `late-${orderId}` })
  })
  bus.handle(GivePaymentBack, { within: store }, ({ id, data: { orderId } }, { tx, publish }) => {
    if (!isOrderOfRun(setup, orderId)) return
    const payment = tx.prepare('SELECT state, amount FROM payments WHERE order_id = ?').get(orderId)
    if (payment?.['state'] === 'taken') {
      const amount = String(payment['amount'])
      tx.prepare('INSERT INTO cash (message_id, order_id, amount) VALUES (?, ?, ?)').run(id, orderId, amount === '0.00' ? amount : `-${amount}`)
    }
    tx.prepare(`INSERT INTO payments VALUES (?, 'back', '0.00') ON CONFLICT DO UPDATE SET state = 'back'`).run(orderId)
    publish(PaymentGivenBack, { orderId })
  })
}
