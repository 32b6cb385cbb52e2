import { describe, expect, test } from 'vitest'
import { z } from 'zod'
import { MemoryDatabase, memoryStore } from '../../src/adapters/memory/index.ts'
import { type Store, command } from '../../src/index.ts'
import { type IdempotencyKeys, memoryKeys, route, storedKeys } from '../../src/gateway/index.ts'
import { GatewayRig, PlaceOrder, QuotePrice, requestTo } from './gateway-rig.ts'

const Pay = command('sales.pay', { schema: z.object({ cents: z.int() }), response: z.object({ receipt: z.string() }), errors: { declined: z.object({ cents: z.int() }) } })

/** A gateway whose payments are counted and can be held up. */
class PayRig extends GatewayRig {
  readonly paid: number[] = []
  readonly ids: string[] = []
  hold: Promise<void> | undefined

  async paying(): Promise<this> {
    this.service.handle(Pay, async ({ data, id }) => {
      this.ids.push(id)
      await this.hold
      if (data.cents > 100) throw Pay.error('declined', { cents: data.cents })
      if (data.cents < 0) return { receipt: 5 } as never
      this.paid.push(data.cents)
      return { receipt: `r-${this.paid.length}` }
    })
    return await this.started()
  }
}

function pay(cents: unknown, key: string | undefined, more: Readonly<Record<string, string>> = {}): Request {
  return requestTo('/sales/pay', { body: { cents }, headers: { ...(key === undefined ? {} : { 'idempotency-key': key }), ...more } })
}

async function opened(rig: PayRig, database: MemoryDatabase): Promise<Store<unknown>> {
  const store = memoryStore({ database })
  await store.open({ service: 'front', clock: rig.clock })
  return store
}

describe.each<readonly [string, (rig: PayRig) => Promise<{ readonly keys: () => Promise<IdempotencyKeys>; readonly isShared: boolean }>]>([
  ['in memory', async (rig) => {
    const keys = memoryKeys({ clock: rig.clock })
    return await Promise.resolve({ keys: () => Promise.resolve(keys), isShared: false })
  }],
  ['in the event store', async (rig) => {
    const database = new MemoryDatabase({ clock: rig.clock })
    return await Promise.resolve({ keys: async () => storedKeys((await opened(rig, database)).events, { clock: rig.clock }), isShared: true })
  }],
])('keys %s', (_where, place) => {
  test('give the same answer to the same request, and run it once', async () => {
    await using rig = await new PayRig().paying()
    const { keys } = await place(rig)
    const { fetch } = rig.gateway({ routes: [Pay], idempotency: await keys() })
    const first = await fetch(pay(5, '"k-1"'))
    const again = await fetch(pay(5, 'k-1', { 'x-correlation-id': 'c-2' }))
    expect([await first.json(), first.headers.get('idempotency-replayed')]).toEqual([{ receipt: 'r-1' }, null])
    expect([await again.json(), again.status, again.headers.get('idempotency-replayed'), again.headers.get('x-correlation-id')]).toEqual([{ receipt: 'r-1' }, 200, 'true', 'c-2'])
    expect((await (await fetch(pay(5, '"k-2"'))).json())).toEqual({ receipt: 'r-2' })
    expect(rig.paid).toEqual([5, 5])
  })

  test('refuse another request with the same key', async () => {
    await using rig = await new PayRig().paying()
    const { keys } = await place(rig)
    const { fetch } = rig.gateway({ routes: [Pay], idempotency: await keys() })
    await fetch(pay(5, 'k-1'))
    const other = await fetch(pay(6, 'k-1'))
    expect([other.status, await other.json(), rig.paid]).toMatchObject([422, { code: 'gateway.key_reused' }, [5]])
  })

  test('refuse a repetition while the first one is being answered', async () => {
    await using rig = await new PayRig().paying()
    const { keys } = await place(rig)
    const { fetch } = rig.gateway({ routes: [Pay], idempotency: await keys() })
    const { promise, resolve } = Promise.withResolvers<void>()
    rig.hold = promise
    const first = fetch(pay(5, 'k-1'))
    await rig.settled()
    const again = await fetch(pay(5, 'k-1'))
    expect([again.status, again.headers.get('retry-after'), await again.json()]).toMatchObject([409, '1', { code: 'gateway.key_in_progress' }])
    resolve()
    expect([(await first).status, (await fetch(pay(5, 'k-1'))).status, rig.paid]).toEqual([200, 200, [5]])
  })

  test('keep a declared error as the answer that it is', async () => {
    await using rig = await new PayRig().paying()
    const { keys } = await place(rig)
    const { fetch } = rig.gateway({ routes: [route(Pay, { errors: { declined: 402 } })], idempotency: await keys() })
    const [first, again] = [await fetch(pay(500, 'k-1')), await fetch(pay(500, 'k-1'))]
    expect([first.status, again.status, again.headers.get('content-type'), await again.json(), rig.ids.length]).toMatchObject([402, 402, 'application/problem+json', { name: 'declined' }, 1])
  })

  test('are not taken up by what was refused before it was sent', async () => {
    await using rig = await new PayRig().paying()
    const { keys } = await place(rig)
    const { fetch } = rig.gateway({ routes: [Pay], idempotency: await keys() })
    expect([(await fetch(pay('five', 'k-1'))).status, (await fetch(pay(5, 'k-1'))).status]).toEqual([422, 200])
  })

  test('are free again where the outcome is not known, and the message keeps its id', async () => {
    await using rig = await new PayRig().paying()
    const { keys } = await place(rig)
    const { fetch } = rig.gateway({ routes: [Pay], idempotency: await keys() })
    const { promise, resolve } = Promise.withResolvers<void>()
    rig.hold = promise
    const late = fetch(pay(5, 'k-1'))
    await rig.settled()
    await rig.clock.advance(5_000)
    expect((await late).status).toBe(504)
    rig.hold = undefined
    resolve()
    expect((await fetch(pay(5, 'k-1'))).status).toBe(200)
    expect([rig.ids.length, new Set(rig.ids).size]).toEqual([2, 1])
  })

  test('are forgotten after their time', async () => {
    await using rig = await new PayRig().paying()
    const { keys } = await place(rig)
    const { fetch } = rig.gateway({ routes: [Pay], idempotency: await keys() })
    await fetch(pay(5, 'k-1'))
    await rig.clock.advance(86_400_001)
    expect([(await fetch(pay(6, 'k-1'))).status, rig.paid]).toEqual([200, [5, 6]])
  })

  test('are those of one caller and one route', async () => {
    await using rig = await new PayRig().paying()
    const { keys } = await place(rig)
    const { fetch } = rig.gateway({ routes: [Pay, PlaceOrder], idempotency: await keys(), authenticate: ({ headers }) => ({ id: headers.get('authorization') ?? 'nobody' }) })
    await fetch(pay(5, 'k-1', { authorization: 'ann' }))
    const other = await fetch(pay(5, 'k-1', { authorization: 'bob' }))
    expect([await other.json(), other.headers.get('idempotency-replayed')]).toEqual([{ receipt: 'r-2' }, null])
    expect((await fetch(requestTo('/sales/place-order', { body: { orderId: 'o' }, headers: { 'idempotency-key': 'k-1', authorization: 'ann' } }))).status).toBe(200)
  })
})

test('keys in the event store are known to every instance, and a dead one holds them for its lease alone', async () => {
  await using rig = await new PayRig().paying()
  const database = new MemoryDatabase({ clock: rig.clock })
  const keysOf = async (): Promise<IdempotencyKeys> => storedKeys((await opened(rig, database)).events, { clock: rig.clock, leaseMs: 60_000 })
  const [one, other] = [rig.gateway({ routes: [Pay], idempotency: await keysOf() }), rig.gateway({ routes: [Pay], idempotency: await keysOf() })]
  await one.fetch(pay(5, 'k-1'))
  expect(await (await other.fetch(pay(5, 'k-1'))).json()).toEqual({ receipt: 'r-1' })
  // A process that died after it had begun.
  const dead = await keysOf()
  expect(await dead.begin('k', 'f')).toEqual({ kind: 'new' })
  const living = await keysOf()
  expect([await living.begin('k', 'f'), await living.begin('k', 'g')]).toEqual([{ kind: 'in-progress' }, { kind: 'reused' }])
  await rig.clock.advance(60_000)
  expect((await Promise.all([living.begin('k', 'f'), (await keysOf()).begin('k', 'f')])).map(({ kind }) => kind).toSorted()).toEqual(['in-progress', 'new'])
})

test('a message whose inbox is in a store is handled once without any memory of the gateway, and another body is refused', async () => {
  await using rig = new GatewayRig()
  const store = memoryStore({ database: new MemoryDatabase({ clock: rig.clock }) })
  let runs = 0
  rig.service.handle(Pay, { within: store }, () => ({ receipt: `r-${++runs}` }))
  await rig.started()
  const fresh = (): ReturnType<GatewayRig['gateway']> => rig.gateway({ routes: [Pay], idempotency: memoryKeys({ clock: rig.clock }) })
  const answers = []
  for (const cents of [5, 5, 6]) {
    const asked = fresh().fetch(pay(cents, 'k-1'))
    await rig.settled()
    const response = await asked
    answers.push([response.status, (await response.json() as { readonly receipt?: string; readonly code?: string })])
  }
  expect(answers).toMatchObject([[200, { receipt: 'r-1' }], [200, { receipt: 'r-1' }], [422, { code: 'gateway.key_reused' }]])
  expect(runs).toBe(1)
})

test('a route can ask for a key, or pass it over', async () => {
  await using rig = await new PayRig().paying()
  const strict = rig.gateway({ routes: [route(Pay, { idempotencyKey: 'required' })] })
  const statuses = []
  for (const key of [undefined, '', '"a', 'a b', '"k-1", "k-2"', 'k'.repeat(256)]) statuses.push((await strict.fetch(pay(5, key))).status)
  expect([statuses, rig.paid]).toEqual([[400, 400, 400, 400, 400, 400], []])
  const loose = rig.gateway({ routes: [route(Pay, { idempotencyKey: 'ignored' }), QuotePrice] })
  await loose.fetch(pay(5, 'k-1'))
  await loose.fetch(pay(6, 'k-1'))
  expect(rig.paid).toEqual([5, 6])
  expect((await loose.fetch(requestTo('/pricing/quote-price?sku=a', { headers: { 'idempotency-key': 'k-1' } }))).headers.get('idempotency-replayed')).toBeNull()
})

test('memory is bounded: the oldest keys go first', async () => {
  const keys = memoryKeys({ keysMax: 2 })
  for (const key of ['a', 'b', 'c']) await keys.begin(key, 'f')
  expect((await Promise.all(['c', 'b', 'a'].map((key) => keys.begin(key, 'f')))).map(({ kind }) => kind)).toEqual(['in-progress', 'in-progress', 'new'])
})
