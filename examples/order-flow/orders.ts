import { category, projection, runSagas, sagaEvents, type Unit } from 'trunkline'
import type { SqliteHandle } from 'trunkline/sqlite'
import { orderSaga } from './order-saga.ts'
import { type RunningService, type ServiceSetup, openService, startService } from './service.ts'

const TABLES = `
  CREATE TABLE IF NOT EXISTS order_book (order_id TEXT PRIMARY KEY, status TEXT NOT NULL, outcome TEXT, reason TEXT) WITHOUT ROWID;
`

/** How every order stands, written in the transaction that moves its saga. */
const orderBook = projection({
  name: 'order-book',
  contracts: [sagaEvents.started, sagaEvents['compensation-begun'], sagaEvents.ended, sagaEvents.quarantined],
  from: category(orderSaga.category),
  apply: (happened, { tx }: Unit<SqliteHandle> & { readonly version: number }) => {
    const orderId = happened.stream.slice(orderSaga.category.length + 1)
    const put = tx.prepare('INSERT INTO order_book VALUES (?, ?, ?, ?) ON CONFLICT DO UPDATE SET status = excluded.status, outcome = excluded.outcome, reason = excluded.reason')
    const { type, data } = happened
    if (type === 'saga.ended' && 'outcome' in data) put.run(orderId, 'ended', data.outcome, data.reason ?? null)
    else if (type === 'saga.quarantined' && 'code' in data) put.run(orderId, 'quarantined', null, data.reason)
    else put.run(orderId, 'open', null, null)
  },
})

/** Runs the orders: a worker of sagas, with no handlers of its own. */
export async function startOrders(setup: ServiceSetup): Promise<RunningService> {
  const service = await openService('orders', setup, TABLES, [orderBook])
  runSagas({ bus: service.bus, store: service.store, sagas: [orderSaga] })
  return await startService(service, setup)
}
