import { existsSync } from 'node:fs'
import { setTimeout as delay } from 'node:timers/promises'
import { nats } from '../../src/adapters/nats/index.ts'
import { postgres } from '../../src/adapters/postgres/index.ts'
import { rabbitmq } from '../../src/adapters/rabbitmq/index.ts'
import { sqlite } from '../../src/adapters/sqlite/index.ts'
import { type Bus, type Store, type Transport, category, createBus, fact } from '../../src/index.ts'
import { MoneyMoved, TransferDone, TransferRequested } from './contracts.ts'
import type { WorkerPlan } from './plan.ts'
import { ackingFirst, ackingLate, plantedStore } from './planted.ts'
import { rowsOf } from './rows.ts'

// One process of the torture; what it does is its role. It is killed at any instant.

function storeOf(plan: WorkerPlan): Store<object> {
  // Producers and consumers leave the publishing to the relays, so that those can be killed by themselves.
  const options = { relay: plan.role === 'relay', leaseMs: 2_000 }
  if (plan.planted !== 'none') return plantedStore(plan, options)
  if (plan.store === 'sqlite') return sqlite({ file: plan.storeAddress, ...options })
  return postgres({ connectionString: plan.storeAddress, poolMax: 6, ...options })
}

function transportOf(plan: WorkerPlan, store: Store<object>): Transport {
  if (plan.transport === plan.store) return store.transport
  if (plan.transport === 'nats') return nats({ servers: plan.transportAddress })
  if (plan.transport === 'rabbitmq') return rabbitmq({ url: plan.transportAddress })
  throw new Error(`the pair ${plan.store} and ${plan.transport} is not tortured`)
}

/** Moves money once for each message, and says so. */
function subscribeLedger(bus: Bus, store: Store<object>): void {
  bus.on(TransferRequested, { group: 'move', order: 'key', within: store, retry: { attemptsMax: 1_000, initialMs: 50, maxMs: 500 } }, async ({ data }, { tx, publish, append }) => {
    const rows = rowsOf(tx)
    await rows.run('insert into t_effect (place, name, n, id) values (?, ?, ?, ?)', 'ledger', data.from, data.n, data.id)
    // In a fixed order, so that two transfers never wait for each other.
    for (const [name, cents] of (data.from < data.to ? [[data.from, -data.cents], [data.to, data.cents]] : [[data.to, data.cents], [data.from, -data.cents]]) as [string, number][]) {
      await rows.run('update t_account set cents = cents + ? where name = ?', cents, name)
    }
    await append(`account-${data.from}`, 'any', [fact(MoneyMoved, { id: data.id, n: data.n, cents: -data.cents })])
    publish(TransferDone, data)
  })
}

function subscribeAudit(bus: Bus, store: Store<object>): void {
  bus.on(TransferDone, { group: 'watch', order: 'key', within: store, retry: { attemptsMax: 1_000, initialMs: 50, maxMs: 500 } }, async ({ data }, { tx }) => {
    await rowsOf(tx).run('insert into t_effect (place, name, n, id) values (?, ?, ?, ?)', 'audit', data.from, data.n, data.id)
  })
}

/** Follows the event log itself. */
function subscribeTally(store: Store<object>): void {
  store.events.subscribe({ name: 'tally', from: category('account'), contracts: [MoneyMoved], retry: { attemptsMax: 1_000, initialMs: 50, maxMs: 500 } }, async ({ data, stream }, { tx }) => {
    await rowsOf(tx).run('insert into t_effect (place, name, n, id) values (?, ?, ?, ?)', 'tally', stream.slice('account-'.length), data.n, data.id)
  })
}

/** Asks for transfers until the file says stop. What the database gave up, or lost the link to, is tried with the same id. */
async function produce(plan: WorkerPlan, store: Store<object>): Promise<void> {
  const pauseMs = 1_000 / plan.perSecond
  for (let count = 0; !existsSync(plan.stopFile); count++) {
    const from = `a${Math.floor(Math.random() * plan.accounts)}`
    const to = `a${(Number(from.slice(1)) + 1 + Math.floor(Math.random() * (plan.accounts - 1))) % plan.accounts}`
    const id = `${plan.instance}-${process.pid}-${Date.now()}-${count}`
    const cents = 1 + Math.floor(Math.random() * 500)
    try {
      await store.transaction(async ({ tx, publish }) => {
        const rows = rowsOf(tx)
        // The row's lock makes `n` the order of the commits of this account.
        await rows.run('update t_account set asked = asked + 1 where name = ?', from)
        const [row] = await rows.all('select asked from t_account where name = ?', from)
        const n = Number(row?.['asked'])
        await rows.run('insert into t_request (id, name, n, cents) values (?, ?, ?, ?)', id, from, n, cents)
        publish(TransferRequested, { id, from, to, cents, n }, { id })
      })
    } catch (error) {
      // It was rolled back, or nobody knows: the rows say what is true, so nothing has to be done again.
      process.stderr.write(`producer: ${error instanceof Error ? error.message.slice(0, 200) : 'failed'}\n`)
      await delay(100)
    }
    await delay(pauseMs)
  }
}

const plan = JSON.parse(process.env['TRUNKLINE_TORTURE'] ?? '') as WorkerPlan
const store = storeOf(plan)
const transport = transportOf(plan, store)
const bent = plan.planted === 'ack-before-commit' ? ackingFirst(transport) : plan.planted === 'no-inbox' ? ackingLate(transport) : transport
const bus = createBus({ service: { name: plan.role }, transport: bent, outbox: store.outbox })
if (plan.role === 'ledger') subscribeLedger(bus, store)
if (plan.role === 'audit') {
  subscribeAudit(bus, store)
  subscribeTally(store)
}
for (;;) {
  try {
    await bus.start()
    break
  } catch (error) {
    // The broker or the database may be the one that is dead right now: this process begins anew.
    process.stderr.write(`${plan.role}: ${error instanceof Error ? error.message.slice(0, 300) : 'failed'}\n`)
    process.exit(75)
  }
}
process.stdout.write('ready\n')
process.on('SIGTERM', () => {
  void bus.stop().then(() => process.exit(0))
})
if (plan.role === 'producer') {
  await produce(plan, store)
  process.stdout.write('done\n')
}
