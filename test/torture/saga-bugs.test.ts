import { describe, expect, test } from 'vitest'
import { MemoryBackend, type MemoryTransaction } from '../../src/adapters/memory/index.ts'
import { type Store, TrunklineError, runSagas } from '../../src/index.ts'
import type { NewOutboxRow, StoreBackend } from '../../src/outbox/port.ts'
import { storeOf } from '../../src/outbox/store.ts'
import { storeSettings } from '../../src/outbox/store-options.ts'
import { listed } from '../outbox/store-rig.ts'
import { Charge, Charged, Placed, Refund, Refunded, Release, Released, Reserve, Reserved, SagaRig, Shipped, order } from '../saga/saga-rig.ts'
import { BurningStore, contended, losingAlarms, sendingFirst, skippingCompensations, withUnits } from './saga-bugs.ts'

// Each promise of a saga that always ends, put to a store that keeps it and to one with a bug: the second has to be noticed.

type Backend = StoreBackend<MemoryTransaction>
type Make = (inner: Backend) => Store<MemoryTransaction>

/** An order over a store that may have a bug; everybody does what they are told, but nobody answers for the money. */
class Play extends SagaRig {
  readonly #received: { readonly type: string; readonly id: string }[] = []
  readonly #make: Make

  constructor(make: (play: Play) => Make) {
    super()
    this.#make = make(this)
  }

  /** Plays, and says what was wrong in the end. */
  async problems(answersAtMs: number | undefined): Promise<readonly string[]> {
    const bus = this.bus()
    const sagas = runSagas({ bus, store: this.#make(new MemoryBackend(this.database)), sagas: [order] })
    const received = (message: { readonly type: string; readonly id: string }): void => void this.#received.push(message)
    bus.handle(Reserve, async (message) => {
      received(message)
      await bus.publish(Reserved, { orderId: message.data.orderId, shelf: 'A1' })
    })
    bus.handle(Release, async (message) => {
      received(message)
      await bus.publish(Released, { orderId: message.data.orderId })
    })
    bus.handle(Refund, async (message) => {
      received(message)
      await bus.publish(Refunded, { orderId: message.data.orderId })
    })
    bus.handle(Charge, received)
    bus.on(Shipped, { group: 'mails' }, received)
    await bus.start()
    await bus.publish(Placed, { orderId: 'o-1', cents: 5 })
    await this.clock.advance(answersAtMs ?? 0)
    if (answersAtMs !== undefined) await bus.publish(Charged, { orderId: 'o-1' })
    await this.clock.advance(120_000)
    const history = await listed(sagas.instance('order', 'o-1').history())
    const told = new Set(JSON.stringify(history.map(({ data }) => data)).match(/"id":"[^"]+"/g))
    const { status, outcome } = await sagas.instance('order', 'o-1').inspect().catch(() => ({ status: 'none', outcome: undefined }))
    const has = (type: string): boolean => this.#received.some((one) => one.type === type)
    const isUndone = outcome === 'compensated'
    return [
      ...(status === 'ended' ? [] : [`it is ${status}`]),
      ...(isUndone && has(Charge.type) && !has(Refund.type) ? ['the money was not given back'] : []),
      ...(outcome === 'completed' && has(Refund.type) ? ['it was fulfilled, and the money given back'] : []),
      ...this.#received.flatMap(({ type, id }) => (told.has(`"id":"${id}"`) ? [] : [`the history does not tell of ${type}`])),
      ...this.kinds('delivery-dead-lettered').map(({ type }) => `${type} was given up`),
    ]
  }
}

async function problems(make: (play: Play) => Make, answersAtMs?: number): Promise<readonly string[]> {
  await using play = new Play(make)
  return await play.problems(answersAtMs)
}

/** The process dies once when it has told the outbox that money is to be given back. */
function death(): (rows: readonly NewOutboxRow[]) => Promise<void> {
  let isOver = false
  return async (rows) => {
    if (isOver || !rows.some(({ message }) => message.type === Refund.type)) return
    isOver = true
    throw await Promise.resolve(new TrunklineError('store.down', { store: 'memory', problem: 'the process died' }))
  }
}

function dying(inner: Backend, die: (rows: readonly NewOutboxRow[]) => Promise<void>): Backend {
  return withUnits(inner, (tx) => ({
    write: async (rows) => {
      await tx.write(rows)
      await die(rows)
    },
  }))
}

/** Others change the instance all the time, for longer than five attempts last. */
function busy({ clock }: Play, inner: Backend): Backend {
  const endMs = clock.nowMs() + 12_000
  return contended(inner, (stream) => stream.startsWith('saga_order-') && clock.nowMs() < endMs)
}

describe('a saga', () => {
  test('whose alarm goes off ends, and one whose alarm was lost is noticed', async () => {
    expect(await problems(() => (inner) => storeOf(inner))).toEqual([])
    let count = 0
    expect(await problems(() => (inner) => storeOf(losingAlarms(inner, () => ++count === 2)))).toEqual(['it is running'])
  })

  test('undoes what it did, and one whose compensation was passed over is noticed', async () => {
    const skipping: Make = (inner) => storeOf(skippingCompensations(inner, Refund.type, Refunded.type, ({ orderId }: { readonly orderId: string }) => ({ orderId })))
    expect(await problems(() => skipping)).toEqual(['the money was not given back'])
  })

  test('sends nothing where its process dies before the commit, and what was sent before is noticed', async () => {
    // The alarm goes off and its process dies; before the alarm comes again, the answer does.
    expect(await problems(() => (inner) => storeOf(dying(inner, death())), 60_300)).toEqual([])
    expect(await problems(() => (inner) => storeOf(sendingFirst(inner, death())), 60_300)).toEqual(['it was fulfilled, and the money given back', 'the history does not tell of money.refund'])
  })

  test('spends no attempts on contention, and one that does is noticed', async () => {
    expect(await problems((play) => (inner) => storeOf(busy(play, inner)))).toEqual([])
    expect(await problems((play) => (inner) => new BurningStore(busy(play, inner), storeSettings({})))).toEqual(['it is none', 'sales.order-placed was given up'])
  })
})
