import { afterAll, describe, expect, test } from 'vitest'
import { type MemoryBroker, memory, memoryBroker } from '../../src/adapters/memory/index.ts'
import { type Bus, type SagaDefinition, type SagaObservation, type Sagas, createBus, runSagas, silentLogger, systemClock } from '../../src/index.ts'
import { sleep } from '../../src/core/clock.ts'
import { storeOf } from '../../src/outbox/store.ts'
import type { StorePlace, StoreSubject } from '../../src/testing/index.ts'
import { CalledOff, Charge, Charged, Declined, Placed, Refund, Refunded, Release, Released, Reserve, Reserved, Shipped, order } from '../saga/saga-rig.ts'
import { hasty, impatient } from '../saga/sagas-for-stores.ts'
import { PostgresStoreSubject } from './store-postgres-subject.ts'
import { eventStoreDbStoreSubject } from './store-eventstoredb-subject.ts'
import { memoryStoreSubject } from './store-memory-subject.ts'
import { sqliteStoreSubject } from './store-sqlite-subject.ts'

// The same sagas on every store: what they promise must not depend on what is below them.

const WAIT_MS = 100_000

/** Processes over one database and one broker. */
class Stage implements AsyncDisposable {
  readonly broker: MemoryBroker = memoryBroker()
  readonly seen: SagaObservation[] = []
  readonly #place: StorePlace
  readonly #buses: Bus[] = []

  constructor(place: StorePlace) {
    this.#place = place
  }

  process(sagas: readonly SagaDefinition[]): { readonly bus: Bus; readonly sagas: Sagas<unknown> } {
    const bus = createBus({ service: { name: 'shop' }, transport: memory({ broker: this.broker }), logger: silentLogger })
    const running = runSagas({ bus, store: storeOf(this.#place.make(), { leaseMs: 1_000 }), sagas })
    running.observe((one) => this.seen.push(one))
    this.#buses.push(bus)
    return { bus, sagas: running }
  }

  /** Another service on the same broker, without a store. */
  async service(join: (bus: Bus) => void): Promise<Bus> {
    const bus = createBus({ service: { name: 'other' }, transport: memory({ broker: this.broker }), logger: silentLogger })
    join(bus)
    this.#buses.push(bus)
    await bus.start()
    return bus
  }

  count(kind: SagaObservation['kind'], outcome?: string): number {
    return this.seen.filter((one) => one.kind === kind && (outcome === undefined || (one.kind === 'ended' && one.outcome === outcome))).length
  }

  async until(what: string, holds: () => boolean | Promise<boolean>): Promise<void> {
    const endMs = systemClock.monotonicMs() + WAIT_MS
    while (!(await holds())) {
      if (systemClock.monotonicMs() > endMs) throw new Error(`it did not come true: ${what}; seen: ${this.seen.filter(({ kind }) => kind !== 'changed').map((one) => JSON.stringify(one)).join('\n')}`)
      await sleep(systemClock, 10)
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all(this.#buses.map((bus) => bus.stop()))
    await this.#place.close()
  }
}

const postgres = new PostgresStoreSubject()
const subjects: readonly StoreSubject[] = [memoryStoreSubject, sqliteStoreSubject, postgres, eventStoreDbStoreSubject]

afterAll(async () => {
  await postgres.close()
})

/** Does what it is told, and tells. */
function obliging(bus: Bus, told: string[]): void {
  bus.handle(Reserve, async ({ data, id }) => {
    told.push(`reserve ${id}`)
    await bus.publish(Reserved, { ...data, shelf: 'A1' })
  })
  bus.handle(Release, async ({ data }) => {
    told.push('release')
    await bus.publish(Released, { orderId: data.orderId })
  })
  bus.handle(Refund, async ({ data }) => {
    told.push('refund')
    await bus.publish(Refunded, { orderId: data.orderId })
  })
}

describe.each(subjects.map((subject) => ({ name: subject.name, subject })))('on $name', { timeout: 120_000 }, ({ subject }) => {
  test('sagas go to their end, each effect once', async () => {
    await using stage = new Stage(await subject.place())
    const told: string[] = []
    const shipped: string[] = []
    await stage.service((bus) => {
      obliging(bus, told)
      bus.handle(Charge, async ({ data }) => await bus.publish(Charged, { orderId: data.orderId }))
      bus.on(Shipped, { group: 'mails' }, ({ data }) => void shipped.push(data.orderId))
    })
    const { bus } = stage.process([order])
    await bus.start()
    const ids = Array.from({ length: 10 }, (_, at) => `o-${at}`)
    await Promise.all(ids.map((orderId) => bus.publish(Placed, { orderId, cents: 5 })))
    await stage.until('all ended', () => stage.count('ended', 'completed') === ids.length && shipped.length === ids.length)
    expect(shipped.toSorted()).toEqual(ids)
    expect(new Set(told).size).toBe(ids.length)
  })

  test('one that fails undoes what it did, in reverse order', async () => {
    await using stage = new Stage(await subject.place())
    const told: string[] = []
    await stage.service((bus) => {
      obliging(bus, told)
      bus.handle(Charge, async ({ data }) => await bus.publish(Declined, { orderId: data.orderId, why: 'no money' }))
    })
    const { bus, sagas } = stage.process([order])
    await bus.start()
    await bus.publish(Placed, { orderId: 'o-1', cents: 5 })
    await stage.until('it ended', () => stage.count('ended', 'compensated') === 1)
    expect(told.map((one) => one.split(' ')[0])).toEqual(['reserve', 'release'])
    expect(await sagas.instance('order', 'o-1').inspect()).toMatchObject({ status: 'ended', outcome: 'compensated', reason: 'charge: no money', timers: [] })
  })

  test('an alarm that falls due while no process runs goes off when one does', async () => {
    await using stage = new Stage(await subject.place())
    const told: string[] = []
    await stage.service((bus) => {
      obliging(bus, told)
      bus.handle(Charge, () => {})
    })
    if (subject.capabilities.survivesProcessDeath) {
      const first = stage.process([hasty])
      await first.bus.start()
      await first.bus.publish(Placed, { orderId: 'o-1', cents: 5 })
      await stage.until('it waits', async () => (await first.sagas.instance('hasty', 'o-1').inspect().catch(() => undefined))?.waitsFor[0] === 'charge')
      await first.bus.stop()
      await sleep(systemClock, 1_200)
    }
    const { bus } = stage.process([hasty])
    await bus.start()
    if (!subject.capabilities.survivesProcessDeath) await bus.publish(Placed, { orderId: 'o-1', cents: 5 })
    await stage.until('it ended', () => stage.count('ended', 'compensated') === 1)
    expect(told.map((one) => one.split(' ')[0])).toEqual(['reserve', 'refund', 'release'])
    expect(stage.count('compensating')).toBe(1)
  })

  test('many messages for one instance at once, in two processes, make one history in which each counts once', async () => {
    await using stage = new Stage(await subject.place())
    const { bus, sagas } = stage.process([impatient])
    const other = stage.process([impatient])
    await bus.start()
    await other.bus.start()
    await bus.publish(Placed, { orderId: 'o-1', cents: 0 })
    await Promise.all(Array.from({ length: 50 }, (_, at) => bus.publish(Reserved, { orderId: 'o-1', shelf: `${at}` }, { id: `m-${at}` })))
    await stage.until('all were handled', async () => (await sagas.instance('impatient', 'o-1').inspect().catch(() => undefined))?.status === 'ended')
    const history = []
    for await (const one of sagas.instance('impatient', 'o-1').history()) history.push(one)
    expect(history.filter(({ kind }) => kind === 'input-handled')).toHaveLength(51)
    expect(history.map(({ revision }) => revision)).toEqual(history.map((_, at) => BigInt(at)))
    const sent = history.flatMap((one) => (one.kind === 'message-sent' ? [one.data.sent.id] : []))
    expect(new Set(sent).size).toBe(50)
    // No contention was ever a failure of a message.
    expect(bus.stats().retried + other.bus.stats().retried).toBe(0)
  })

  test('an operator calls one off, and the history tells who', async () => {
    await using stage = new Stage(await subject.place())
    const told: string[] = []
    await stage.service((bus) => obliging(bus, told))
    const { bus, sagas } = stage.process([order])
    await bus.start()
    await bus.publish(Placed, { orderId: 'o-1', cents: 5 })
    const one = sagas.instance(order, 'o-1')
    await stage.until('it waits', async () => (await one.inspect().catch(() => undefined))?.waitsFor[0] === 'charge')
    await one.cancel({ by: 'ann', reason: 'the customer called' })
    await stage.until('it ended', () => stage.count('ended', 'cancelled') === 1)
    expect(told.map((line) => line.split(' ')[0])).toEqual(['reserve', 'refund', 'release'])
    const acted = []
    for await (const { kind, data } of one.history()) if (kind === 'operator-acted') acted.push(data)
    expect(acted).toEqual([{ action: 'cancel', by: 'ann', reason: 'the customer called' }])
  })

  test('what calls one off before it starts keeps it from beginning anything', async () => {
    await using stage = new Stage(await subject.place())
    const told: string[] = []
    await stage.service((bus) => obliging(bus, told))
    const { bus, sagas } = stage.process([order])
    await bus.start()
    await bus.publish(CalledOff, { orderId: 'o-1', why: 'changed my mind' })
    await stage.until('it waits', async () => (await sagas.instance('order', 'o-1').inspect().catch(() => undefined))?.status === 'early')
    await bus.publish(Placed, { orderId: 'o-1', cents: 5 })
    await stage.until('it ended', () => stage.count('ended', 'cancelled') === 1)
    expect(told).toEqual([])
  })
})
