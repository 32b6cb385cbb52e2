import { describe, expect, test } from 'vitest'
import { z } from 'zod'
import { MemoryDatabase, memoryStore } from '../../src/adapters/memory/index.ts'
import { type Bus, type Store, category, event, fact, query, stream as streamOf } from '../../src/index.ts'
import { type GatewayOptions, type StreamOptions, stream } from '../../src/gateway/index.ts'
import { GatewayRig, requestTo } from './gateway-rig.ts'

const Placed = event('sales.order-placed', { visibility: 'public', schema: z.object({ orderId: z.string(), text: z.string().default('') }), key: (data) => data.orderId })
const Paid = event('sales.order-paid', { visibility: 'public', schema: z.object({ orderId: z.string() }) })
const Secret = event('sales.order-scored', { schema: z.object({ orderId: z.string() }) })

/** What a caller has got of a stream so far. */
class Caller {
  text = ''
  ending: 'open' | 'closed' | 'cut' = 'open'
  readonly response: Response
  readonly #reader: ReadableStreamDefaultReader<Uint8Array>

  constructor(response: Response, reads = true) {
    this.response = response
    if (response.body === null) throw new TypeError('there is no stream')
    this.#reader = response.body.getReader()
    if (reads) this.read()
  }

  /** Takes what comes from now on. */
  read(): void {
    const step = (): void => {
      this.#reader.read().then(({ done, value }) => {
        if (done) this.ending = 'closed'
        else {
          this.text += Buffer.from(value).toString()
          step()
        }
      }, () => { this.ending = 'cut' })
    }
    step()
  }

  async leave(): Promise<void> {
    await this.#reader.cancel().catch(() => {})
  }

  /** Names, ids and data of the events. */
  get events(): readonly { readonly id: string | undefined; readonly event: string; readonly data: { readonly type?: string; readonly data?: { readonly orderId: string } } }[] {
    return this.text.split('\n\n').flatMap((block) => {
      const field = (name: string): string | undefined => new RegExp(`^${name}: (.*)$`, 'm').exec(block)?.[1]
      const name = field('event')
      return name === undefined ? [] : [{ id: field('id'), event: name, data: JSON.parse(field('data') ?? '{}') }]
    })
  }

  get orders(): readonly (string | undefined)[] {
    return this.events.map(({ data }) => data.data?.orderId)
  }
}

class StreamRig extends GatewayRig {
  readonly store: Store<unknown>
  readonly outbound: Bus
  callers: Caller[] = []

  constructor() {
    super()
    this.store = memoryStore({ database: new MemoryDatabase({ clock: this.clock }) })
    this.outbound = this.bus({ service: { name: 'sales' }, outbox: this.store.outbox })
  }

  async running(options: Partial<StreamOptions> = {}, more: Partial<GatewayOptions> = {}): Promise<(path?: string, headers?: Readonly<Record<string, string>>, reads?: boolean) => Promise<Caller>> {
    const api = this.gateway({ routes: [stream([Placed, Paid], { path: '/events', from: this.store.events, ...options })], ...more })
    await this.started()
    await this.outbound.start()
    this.drain = () => api.drain()
    this.followers = () => api.followers
    return async (path = '/events', headers = {}, reads = true) => {
      const caller = new Caller(await api.fetch(requestTo(path, { headers })), reads)
      this.callers.push(caller)
      await this.settled()
      return caller
    }
  }

  drain: () => void = () => {}
  followers: () => number = () => 0

  async append(name: string, ...ids: readonly string[]): Promise<void> {
    await this.store.events.append(name, 'any', ids.map((orderId) => fact(Placed, { orderId })))
    await this.ticked()
  }

  /** Lets a follower look again. */
  async ticked(ms = 1_000): Promise<void> {
    await this.settled()
    await this.clock.advance(ms)
    await this.settled()
  }

  override async [Symbol.asyncDispose](): Promise<void> {
    for (const caller of this.callers) await caller.leave()
    await super[Symbol.asyncDispose]()
  }
}

describe('a stream of a log', () => {
  test('tells what is appended from now on, as CloudEvents with the place in the log', async () => {
    await using rig = new StreamRig()
    const follow = await rig.running()
    await rig.append('order-1', 'before')
    const caller = await follow()
    expect([caller.response.status, caller.response.headers.get('content-type'), caller.response.headers.get('cache-control')]).toEqual([200, 'text/event-stream', 'no-store'])
    expect(caller.text).toMatch(/^retry: 3000\nid: \d+\n\n$/)
    await rig.append('order-2', 'a', 'b')
    expect(caller.events).toMatchObject([{ event: 'sales.order-placed', data: { specversion: '1.0', source: '/sales', type: 'sales.order-placed', partitionkey: 'a', data: { orderId: 'a' } } }, { data: { data: { orderId: 'b' } } }])
    expect(Number(caller.events[1]?.id)).toBeGreaterThan(Number(caller.events[0]?.id))
  })

  test('goes on after the last event that the caller had, by header or parameter', async () => {
    await using rig = new StreamRig()
    const follow = await rig.running({ start: 'beginning' })
    await rig.append('order-1', 'a', 'b', 'c')
    const first = await follow()
    expect(first.orders).toEqual(['a', 'b', 'c'])
    const id = first.events[1]?.id ?? ''
    expect((await follow('/events', { 'last-event-id': id })).orders).toEqual(['c'])
    expect((await follow(`/events?lastEventId=${id}`)).orders).toEqual(['c'])
  })

  test('loses nothing that comes between a break and the return, whoever else follows', async () => {
    await using rig = new StreamRig()
    const follow = await rig.running()
    const first = await follow()
    await rig.append('order-1', 'a')
    await first.leave()
    await rig.append('order-1', 'b', 'c')
    const back = await follow('/events', { 'last-event-id': first.events.at(-1)?.id ?? '' })
    await rig.append('order-1', 'd')
    expect(back.orders).toEqual(['b', 'c', 'd'])
  })

  test('loses nothing either where the first connection broke before any event', async () => {
    await using rig = new StreamRig()
    const follow = await rig.running()
    await rig.append('order-1', 'old')
    const first = await follow()
    const id = /^id: (\d+)$/m.exec(first.text)?.[1] ?? ''
    await first.leave()
    await rig.append('order-1', 'a')
    expect((await follow('/events', { 'last-event-id': id })).orders).toEqual(['a'])
  })

  test('is one of a category or of a stream that the path names, with places of its own', async () => {
    await using rig = new StreamRig()
    const follow = await rig.running({ path: '/orders/{orderId}/events', start: 'beginning', selection: ({ orderId = '' }) => streamOf(`order-${orderId}`) })
    await rig.append('order-1', 'a', 'b')
    await rig.append('order-2', 'x')
    const caller = await follow('/orders/1/events')
    expect(caller.events.map(({ id, data }) => [id, data.data?.orderId])).toEqual([['0', 'a'], ['1', 'b']])
    expect((await follow('/orders/1/events', { 'last-event-id': '0' })).orders).toEqual(['b'])
    const rest = new StreamRig()
    const followAll = await rest.running({ selection: category('order'), start: 'beginning' })
    await rest.append('order-1', 'a')
    await rest.append('cart-1', 'b')
    expect((await followAll()).orders).toEqual(['a'])
    await rest[Symbol.asyncDispose]()
  })

  test('begins at the end of a stream, where it is one', async () => {
    await using rig = new StreamRig()
    const follow = await rig.running({ selection: streamOf('order-1') })
    await rig.append('order-1', 'a')
    const caller = await follow()
    await rig.append('order-1', 'b')
    expect(caller.orders).toEqual(['b'])
  })

  test('shows nothing of another tenant, and nothing that the filter keeps back, and says where it is nevertheless', async () => {
    await using rig = new StreamRig()
    const follow = await rig.running({ filter: ({ data }) => (data as { readonly orderId: string }).orderId !== 'hidden' }, { authenticate: ({ headers }) => ({ id: 'ann', ...(headers.get('x-tenant') === null ? {} : { tenant: headers.get('x-tenant') ?? '' }) }) })
    const [operator, acme] = [await follow(), await follow('/events', { 'x-tenant': 'acme' })]
    await rig.append('order-1', 'hidden', 'shown')
    expect([operator.orders, acme.orders]).toEqual([['shown'], []])
    await rig.ticked(15_000)
    const last = operator.events.at(-1)?.id
    expect(acme.text.split('\n\n').at(-2)).toBe(`: alive\nid: ${last}`)
  })

  test('goes on where a whole page had nothing for the caller', async () => {
    await using rig = new StreamRig()
    const follow = await rig.running({ filter: ({ data }) => (data as { readonly orderId: string }).orderId !== 'hidden' })
    const caller = await follow()
    await rig.append('order-1', 'hidden')
    await rig.append('order-1', 'shown')
    expect(caller.orders).toEqual(['shown'])
  })

  test('passes over what cannot be read, with a line in the log', async () => {
    await using rig = new StreamRig()
    const follow = await rig.running({ start: 'beginning' })
    const Bent = event('sales.order-placed', { visibility: 'public', schema: z.object({ orderId: z.int() }) })
    await rig.store.events.append('order-1', 'any', [fact(Bent, { orderId: 5 })])
    await rig.append('order-1', 'a')
    expect([(await follow()).orders, rig.lines.map(({ text }) => text)]).toEqual([['a'], ['an event stream passes over an event that cannot be read']])
  })

  test.each(['x', '-1', '1.5', '99999999999999999999', '1; DROP'])('refuses the place %s', async (id) => {
    await using rig = new StreamRig()
    rig.callers = []
    const api = rig.gateway({ routes: [stream(Placed, { path: '/events', from: rig.store.events })] })
    await rig.outbound.start()
    expect((await api.fetch(requestTo('/events', { headers: { 'last-event-id': id } }))).status).toBe(400)
  })
})

describe('a stream by broadcast', () => {
  test('tells what is published while it is open, without places', async () => {
    await using rig = new StreamRig()
    const api = rig.gateway({ routes: [stream(Placed, { path: '/events' })] })
    await rig.started()
    const caller = new Caller(await api.fetch(requestTo('/events')))
    await rig.service.broadcast(Placed, { orderId: 'a' })
    await rig.service.publish(Placed, { orderId: 'b' })
    await rig.settled()
    expect(caller.events).toMatchObject([{ id: undefined, data: { source: '/shop', data: { orderId: 'a' } } }, { id: undefined, data: { data: { orderId: 'b' } } }])
    const back = new Caller(await api.fetch(requestTo('/events', { headers: { 'last-event-id': '7' } })))
    await rig.settled()
    expect(back.events.map((one) => one.event)).toEqual(['trunkline.gap'])
    api.drain()
    await rig.settled()
    expect([caller.ending, back.ending]).toEqual(['closed', 'closed'])
  })

  test('cuts a caller that lets too much wait, and no other', async () => {
    await using rig = new StreamRig()
    const api = rig.gateway({ routes: [stream(Placed, { path: '/events', bufferMax: 8 })] })
    await rig.started()
    const slow = new Caller(await api.fetch(requestTo('/events')), false)
    const quick = new Caller(await api.fetch(requestTo('/events')))
    for (let at = 0; at < 20; at++) {
      await rig.service.broadcast(Placed, { orderId: `${at}` })
      await rig.settled()
    }
    expect([quick.orders.length, api.followers]).toEqual([20, 1])
    slow.read()
    await rig.settled()
    expect([slow.ending, quick.ending]).toEqual(['cut', 'open'])
    await quick.leave()
    expect(api.followers).toBe(0)
  })

  test('is made before its bus starts', async () => {
    await using rig = await new GatewayRig().started()
    expect(() => rig.gateway({ routes: [stream(Placed, { path: '/events' })] })).toThrow(/only before start/)
  })
})

describe('every stream', () => {
  test('gives signs of life', async () => {
    await using rig = new StreamRig()
    const follow = await rig.running({ heartbeatMs: 1_000 })
    const caller = await follow()
    const before = caller.text.length
    await rig.ticked(3_000)
    expect(caller.text.slice(before)).toBe(': alive\n\n'.repeat(3))
  })

  test('cuts a caller that takes nothing for too long, and holds a few pages for it and not the log', async () => {
    await using rig = new StreamRig()
    const follow = await rig.running({ start: 'beginning', bufferMax: 2, stallMs: 5_000, heartbeatMs: 1_000 })
    await rig.append('order-1', ...Array.from({ length: 40 }, (_one, at) => `${at}`))
    const slow = await follow('/events', {}, false)
    await rig.ticked(4_000)
    expect(rig.followers()).toBe(1)
    await rig.ticked(3_000)
    expect(rig.followers()).toBe(0)
    slow.read()
    await rig.settled()
    expect([slow.ending, slow.orders.length]).toEqual(['cut', 0])
  })

  test('is given in full to a caller that takes it slowly', async () => {
    await using rig = new StreamRig()
    const follow = await rig.running({ start: 'beginning', bufferMax: 2 })
    const ids = Array.from({ length: 40 }, (_one, at) => `${at}`)
    await rig.append('order-1', ...ids)
    const caller = await follow('/events', {}, false)
    await rig.ticked(10_000)
    caller.read()
    await rig.settled()
    expect([caller.orders, caller.ending]).toEqual([ids, 'open'])
  })

  test('has so many callers and no more, and ends when the gateway drains', async () => {
    await using rig = new StreamRig()
    const follow = await rig.running({ clientsMax: 1 })
    const caller = await follow()
    await expect(follow()).resolves.toMatchObject({ response: { status: 503 } })
    rig.callers.pop()
    rig.drain()
    await rig.settled()
    expect([caller.ending, rig.followers()]).toEqual(['closed', 0])
    await expect(follow()).resolves.toMatchObject({ response: { status: 503 } })
    rig.callers.pop()
  })

  test('asks who follows, and whether that may be', async () => {
    await using rig = new StreamRig()
    const follow = await rig.running({ authorize: (principal) => principal?.id === 'ann' }, { authenticate: ({ headers }) => (headers.has('authorization') ? { id: headers.get('authorization') ?? '' } : undefined) })
    const statuses = []
    for (const headers of [{}, { authorization: 'bob' }, { authorization: 'ann' }]) statuses.push((await follow('/events', headers)).response.status)
    expect(statuses).toEqual([401, 403, 200])
  })

  test.each<readonly [string, () => unknown, string]>([
    ['a private event of a store', () => stream(Secret, { path: '/x', from: {} as never }), 'is private'],
    ['a query', () => stream(query('a.b', { request: z.object({}), response: z.object({}) }) as never, { path: '/x' }), 'is a query'],
    ['nothing', () => stream([], { path: '/x' }), 'no contracts'],
    ['a broadcast from its beginning', () => stream(Placed, { path: '/x', start: 'beginning' }), 'neither a selection nor a start'],
    ['an option that means nothing', () => stream(Placed, { path: '/x', heartbeat: 1 } as never), 'did you mean "heartbeatMs"'],
  ])('refuses %s', (_what, make, says) => {
    expect(make).toThrow(says)
  })
})
