import { setTimeout as delay } from 'node:timers/promises'
import { type Store, category, fact } from '../../src/index.ts'
import { MoneyMoved, TransferDone, TransferRequested } from './contracts.ts'
import type { WorkerPlan } from './plan.ts'
import { rowsOf } from './rows.ts'
import { PATIENT, type Services } from './services.ts'

/** Accounts, requests and effects as rows: each handler is one transaction. */
export function rowServices(store: Store<object | undefined>, plan: WorkerPlan): Services {
  return {
    ledger(bus) {
      bus.on(TransferRequested, { group: 'move', order: 'key', within: store, retry: PATIENT }, async ({ data }, { tx, publish, append }) => {
        const rows = rowsOf(tx)
        await rows.run('insert into t_effect (place, name, n, id) values (?, ?, ?, ?)', 'ledger', data.from, data.n, data.id)
        // In a fixed order, so that two transfers never wait for each other.
        for (const [name, cents] of (data.from < data.to ? [[data.from, -data.cents], [data.to, data.cents]] : [[data.to, data.cents], [data.from, -data.cents]]) as [string, number][]) {
          await rows.run('update t_account set cents = cents + ? where name = ?', cents, name)
        }
        await append(`account-${data.from}`, 'any', [fact(MoneyMoved, { id: data.id, n: data.n, cents: -data.cents })])
        // An event that has its place in the log and is committed after its neighbours: what a follower by ids never sees.
        if (plan.planted === 'checkpoint-by-id') await delay(Math.random() * 60)
        publish(TransferDone, data)
      })
    },
    audit(bus) {
      bus.on(TransferDone, { group: 'watch', order: 'key', within: store, retry: PATIENT }, async ({ data }, { tx }) => {
        await rowsOf(tx).run('insert into t_effect (place, name, n, id) values (?, ?, ?, ?)', 'audit', data.from, data.n, data.id)
      })
    },
    tally() {
      store.events.subscribe({ name: 'tally', from: category('account'), contracts: [MoneyMoved], retry: PATIENT }, async ({ data, stream }, { tx }) => {
        await rowsOf(tx).run('insert into t_effect (place, name, n, id) values (?, ?, ?, ?)', 'tally', stream.slice('account-'.length), data.n, data.id)
      })
    },
    ask: ({ id, from, to, cents }) =>
      store.transaction(async ({ tx, publish }) => {
        const rows = rowsOf(tx)
        // The row's lock makes `n` the order of the commits of this account.
        await rows.run('update t_account set asked = asked + 1 where name = ?', from)
        const [row] = await rows.all('select asked from t_account where name = ?', from)
        const n = Number(row?.['asked'])
        await rows.run('insert into t_request (id, name, target, n, cents) values (?, ?, ?, ?, ?)', id, from, to, n, cents)
        publish(TransferRequested, { id, from, to, cents, n }, { id })
      }),
  }
}
