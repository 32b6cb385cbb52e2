import { setTimeout as delay } from 'node:timers/promises'
import { Pool } from 'pg'
import { postgresBackend } from '../../src/adapters/postgres/index.ts'
import type { LogPage, Selection, Store, StoredEvent, Transport } from '../../src/index.ts'
import type { StoreBackend } from '../../src/outbox/port.ts'
import { storeOf } from '../../src/outbox/store.ts'
import { type StoreOptions, storeSettings } from '../../src/outbox/store-options.ts'
import type { EventLog, FollowOptions } from '../../src/store/port.ts'
import { laidOver } from '../conformance/bent-transport.ts'
import type { WorkerPlan } from './plan.ts'
import { BurningStore, contended, losingAlarms, sendingFirst, skippingCompensations, withUnits } from './saga-bugs.ts'
import { Refund, Refunded } from './saga-contracts.ts'

// Bugs that the torture must find. They live here and never in the library.

type Backend = StoreBackend<object>

/** A store of PostgreSQL with a bug in it. */
export function plantedStore(plan: WorkerPlan, options: StoreOptions): Store<object> {
  if (plan.store !== 'postgres') throw new Error('bugs are planted into PostgreSQL only')
  const inner: Backend = postgresBackend({ connectionString: plan.storeAddress, poolMax: 6 })
  if (plan.planted === 'no-inbox') return storeOf(withoutInbox(inner), options)
  if (plan.planted === 'delete-before-publish') return storeOf(deletingFirst(inner), options)
  if (plan.planted === 'alarm-lost') return storeOf(losingAlarms(inner, () => Math.random() < 0.1), options)
  if (plan.planted === 'sent-before-append' && plan.role === 'sagas') return storeOf(sendingFirst(inner, () => delay(GAP_MS)), options)
  if (plan.planted === 'compensation-skipped') return storeOf(skippingCompensations(inner, Refund.type, Refunded.type, ({ id }: { readonly id: string }) => ({ id })), options)
  if (plan.planted === 'conflict-burns-attempts' && plan.role === 'sagas') return new BurningStore(contended(inner, isBusy), storeSettings(options))
  if (plan.planted === 'checkpoint-by-id') return storeOf(followingIds(inner, plan.storeAddress), options)
  return storeOf(inner, options)
}

/** Every message is new. */
function withoutInbox(inner: Backend): Backend {
  return withUnits(inner, () => ({
    enter: () => Promise.resolve({ kind: 'new' }),
    enterMany: (entries) => Promise.resolve(entries.map(() => ({ kind: 'new' }))),
  }))
}

/** One instance in ten is changed by others, for six seconds in nine. */
function isBusy(stream: string): boolean {
  let sum = 0
  for (const letter of stream) sum = (sum * 33 + letter.charCodeAt(0)) % 1_000
  return sum % 10 === 0 && stream.startsWith('saga_') && Math.floor(Date.now() / 3_000) % 3 !== 0
}

/** Rows are gone from the outbox before anybody has published them (O-02). */
function deletingFirst(inner: Backend): Backend {
  const epochs = new Map<string, bigint>()
  return laidOver(inner, {
    leases: laidOver(inner.leases, {
      hold: async (names, owner, ttlMs, most) => {
        const leases = await inner.leases.hold(names, owner, ttlMs, most)
        for (const { name, epoch } of leases) epochs.set(name, epoch)
        return leases
      },
    }),
    outbox: laidOver(inner.outbox, {
      read: async (shard, options) => {
        const rows = await inner.outbox.read(shard, options)
        const epoch = epochs.get(`outbox/${shard}`)
        if (rows.length > 0 && epoch !== undefined) {
          await inner.outbox.settle(shard, epoch, { published: rows.map(({ id }) => id), dead: [] })
          await delay(GAP_MS)
        }
        return rows
      },
    }),
  })
}

/** Followers of the log go by its numbers, and so pass over what is committed late (P-01). */
function followingIds(inner: Backend, address: string): Backend {
  const pool = new Pool({ connectionString: address, max: 1 })
  pool.on('error', () => undefined)
  return laidOver(inner, { log: laidOver(inner.log, { follow: (selection, after, options) => followIds(inner.log, pool, selection, after, options) }) })
}

async function* followIds(log: EventLog, pool: Pool, selection: Selection, after: bigint | undefined, { pageMax, signal }: FollowOptions): AsyncIterable<LogPage> {
  const category = selection.kind === 'category' ? selection.category : ''
  const text = 'select e.position, e.revision, s.name from trunkline.event e join trunkline.stream s on s.id = e.stream_id where e.category = $1 and e.position > $2 order by e.position limit $3'
  let cursor = after ?? 0n
  while (!signal.aborted) {
    const { rows } = await pool.query<{ position: string; revision: string; name: string }>(text, [category, String(cursor), pageMax])
    const events: StoredEvent[] = []
    for (const { revision, name } of rows) {
      const before = revision === '0' ? undefined : BigInt(revision) - 1n
      events.push(...(await log.read({ selection: { kind: 'stream', stream: name }, direction: 'forwards', after: before, limit: 1 })).events)
    }
    cursor = BigInt(rows.at(-1)?.position ?? cursor)
    if (events.length > 0) yield { events, cursor, isEnd: false }
    else await delay(10)
  }
}

/** Time between the two steps that a kill has to come between, so that few kills show it. */
const GAP_MS = 150

/** A transport whose deliveries are acked before they are handled (I-02). */
export function ackingFirst(inner: Transport): Transport {
  return laidOver(inner, {
    subscribe: (subscription, sink) =>
      inner.subscribe(subscription, (delivery) => {
        const handled = laidOver(delivery, { ack: () => undefined, retry: () => Promise.resolve(), release: () => Promise.resolve() })
        void Promise.resolve(delivery.ack()).then(() => delay(GAP_MS)).then(() => sink(handled))
      }),
  })
}

/** A transport that takes its time to ack: what the inbox is for comes about more often. */
export function ackingLate(inner: Transport): Transport {
  return laidOver(inner, {
    subscribe: (subscription, sink) =>
      inner.subscribe(subscription, (delivery) => sink(laidOver(delivery, { ack: () => delay(GAP_MS).then(() => delivery.ack()) }))),
  })
}
