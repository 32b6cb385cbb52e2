import { existsSync } from 'node:fs'
import { setTimeout as delay } from 'node:timers/promises'
import { pino } from 'pino'
import { eventStoreDb } from '../../src/adapters/eventstoredb/index.ts'
import { nats } from '../../src/adapters/nats/index.ts'
import { postgres } from '../../src/adapters/postgres/index.ts'
import { rabbitmq } from '../../src/adapters/rabbitmq/index.ts'
import { sqlite } from '../../src/adapters/sqlite/index.ts'
import { type Store, type Transport, createBus } from '../../src/index.ts'
import { LEASE_MS, type WorkerPlan } from './plan.ts'
import { ackingFirst, ackingLate, plantedStore } from './planted.ts'
import { rowServices } from './row-services.ts'
import { SagaServices } from './saga-services.ts'
import type { Services } from './services.ts'
import { streamServices } from './stream-services.ts'

// One process of the torture; what it does is its role. It is killed at any instant.

function storeOf(plan: WorkerPlan): Store<object | undefined> {
  // Producers and consumers leave the publishing to the relays, so that those can be killed by themselves.
  const options = { relay: plan.role === 'relay', leaseMs: LEASE_MS }
  if (plan.planted !== 'none') return plantedStore(plan, options)
  if (plan.store === 'sqlite') return sqlite({ file: plan.storeAddress, ...options })
  if (plan.store === 'postgres') return postgres({ connectionString: plan.storeAddress, poolMax: 6, ...options })
  return eventStoreDb({ hosts: new URL(plan.storeAddress).host, tls: false, ...options })
}

function transportOf(plan: WorkerPlan, store: Store<object | undefined>): Transport {
  if (plan.transport === plan.store) return store.transport
  if (plan.transport === 'nats') return nats({ servers: plan.transportAddress, leaseMs: LEASE_MS })
  if (plan.transport === 'rabbitmq') return rabbitmq({ url: plan.transportAddress })
  throw new Error(`the pair ${plan.store} and ${plan.transport} is not tortured`)
}

/** Asks for transfers until the file says stop. */
async function produce(plan: WorkerPlan, services: Pick<Services, 'ask'>): Promise<void> {
  const pauseMs = 1_000 / plan.perSecond
  for (let count = 0; !existsSync(plan.stopFile); count++) {
    const from = Math.floor(Math.random() * plan.accounts)
    const to = (from + 1 + Math.floor(Math.random() * (plan.accounts - 1))) % plan.accounts
    const id = `${plan.instance}-${process.pid}-${Date.now()}-${count}`
    try {
      await services.ask({ id, from: `a${from}`, to: `a${to}`, cents: 1 + Math.floor(Math.random() * 500) })
    } catch (error) {
      // It was rolled back, or nobody knows: the database says what is true, so nothing has to be done again.
      logger.warn({ err: error }, 'a transfer was not asked for, or nobody knows')
      await delay(100)
    }
    await delay(pauseMs)
  }
}

const plan = JSON.parse(process.env['TRUNKLINE_TORTURE'] ?? '') as WorkerPlan
const logger = pino({ level: process.env['TRUNKLINE_TORTURE_LEVEL'] ?? 'warn', base: null, timestamp: pino.stdTimeFunctions.isoTime }, pino.destination({ dest: 2, sync: true }))
const store = storeOf(plan)
const transport = transportOf(plan, store)
const bent = plan.planted === 'ack-before-commit' ? ackingFirst(transport) : plan.planted === 'no-inbox' ? ackingLate(transport) : transport
const bus = createBus({ service: { name: plan.role }, transport: bent, outbox: store.outbox, logger })
const services = plan.store === 'eventstoredb' ? streamServices(store) : rowServices(store, plan)
const sagaServices = new SagaServices(store, plan.store !== 'eventstoredb')
if (plan.role === 'ledger' && plan.isSagas) sagaServices.legs(bus)
else if (plan.role === 'ledger') services.ledger(bus)
if (plan.role === 'sagas') sagaServices.sagas(bus)
if (plan.role === 'audit') {
  services.audit(bus)
  services.tally()
}
try {
  await bus.start()
} catch (error) {
  // The broker or the database may be the one that is dead right now: this process begins anew.
  logger.warn({ err: error }, 'it could not start')
  process.exit(75)
}
process.stdout.write('ready\n')
process.on('SIGTERM', () => {
  void bus.stop().then(() => process.exit(0))
})
if (plan.role === 'producer') {
  await produce(plan, plan.isSagas ? sagaServices : services)
  process.stdout.write('done\n')
}
