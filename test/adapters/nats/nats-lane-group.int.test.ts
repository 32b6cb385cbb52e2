import { connect } from 'nats'
import { afterAll, afterEach, beforeAll, expect, test } from 'vitest'
import type { Delivery } from '../../../src/bus/port.ts'
import { natsServer } from '../../servers/nats-server.ts'
import type { ServerProcess } from '../../servers/server-process.ts'
import { tcpProxy, type TcpProxy } from '../../servers/tcp-proxy.ts'
import { until } from '../../servers/until.ts'
import { groupOf, Inbox, listen, messageOf, openRig, publish, record, type Rig } from './nats-rig.ts'

const TYPE = 'sales.order-placed'

let server: ServerProcess
const rigs: Rig[] = []
const proxies: TcpProxy[] = []
let spaces = 0
let space = 'o0'

async function rig(url = server.url): Promise<Rig> {
  const opened = await openRig({ servers: url, namespace: space })
  rigs.push(opened)
  return opened
}

async function proxied(): Promise<{ readonly proxy: TcpProxy; readonly victim: Rig }> {
  const proxy = await tcpProxy(server.url)
  proxies.push(proxy)
  return { proxy, victim: await rig(proxy.url) }
}

beforeAll(async () => {
  server = await natsServer()
  await server.start()
})
afterAll(async () => await server.close())
afterEach(async () => {
  await Promise.all(rigs.splice(0).map(async ({ transport }) => await transport.close()))
  await Promise.all(proxies.splice(0).map(async (proxy) => await proxy.close()))
  space = `o${++spaces}`
})

const ordered = (changes: object = {}) => groupOf('shop.ledger', [TYPE], { order: 'key', ...changes })

/** First handling of each message, per key, and how many of a key were ever handled at once. */
class Ledger {
  readonly first = new Map<string, string[]>()
  readonly running = new Map<string, number>()
  readonly handled = new Set<string>()
  overlaps = 0

  handle(delivery: Delivery, settle: () => Promise<void>): void {
    const { key = '', id } = delivery.message
    const now = (this.running.get(key) ?? 0) + 1
    this.running.set(key, now)
    if (now > 1) this.overlaps += 1
    const ids = this.first.get(key) ?? []
    this.first.set(key, ids)
    if (!ids.includes(id)) ids.push(id)
    setImmediate(() => {
      this.running.set(key, (this.running.get(key) ?? 1) - 1)
      void settle().then(() => this.handled.add(id))
    })
  }
}

async function publishKeys(one: Rig, keys: number, each: number): Promise<Map<string, string[]>> {
  const sent = new Map<string, string[]>()
  const waiting: Promise<void>[] = []
  for (let number = 0; number < each; number++) {
    for (let key = 0; key < keys; key++) {
      const message = messageOf(TYPE, { key: `key-${key}` })
      sent.set(`key-${key}`, [...(sent.get(`key-${key}`) ?? []), message.id])
      waiting.push(publish(one, message))
    }
  }
  await Promise.all(waiting)
  return sent
}

test('handles each key in order, one at a time, across two instances and retries', async () => {
  const [one, two] = [await rig(), await rig()]
  const ledger = new Ledger()
  const failed = new Set<string>()
  const inboxes = [one, two].map(
    () =>
      new Inbox((delivery) => {
        const { id } = delivery.message
        ledger.handle(delivery, async () => {
          if (Number(id.slice(2)) % 7 === 0 && !failed.has(id)) {
            failed.add(id)
            await delivery.retry(100)
          } else await delivery.ack()
        })
      }),
  )
  for (const [index, instance] of [one, two].entries()) await listen(instance, ordered(), inboxes[index] ?? new Inbox())
  const sent = await publishKeys(one, 20, 15)
  await until(() => [...ledger.first.values()].flat().length === 300 && ledger.handled.size === 300, { deadlineMs: 20_000 })
  expect(Object.fromEntries(ledger.first)).toEqual(Object.fromEntries(sent))
  expect(ledger.overlaps).toBe(0)
  expect(failed.size).toBeGreaterThan(20)
})

test('shares the lanes with an instance that comes later', async () => {
  const one = await rig()
  const [a, b] = [new Inbox((d) => void d.ack()), new Inbox((d) => void d.ack())]
  await listen(one, ordered(), a)
  await publishKeys(one, 30, 1)
  await until(() => a.ids.length === 30)
  const two = await rig()
  await listen(two, ordered(), b)
  await until(
    async () => {
      await publishKeys(one, 30, 1)
      return b.ids.length > 10
    },
    { everyMs: 300, deadlineMs: 20_000 },
  )
  expect(new Set([...a.ids, ...b.ids]).size).toBe(a.ids.length + b.ids.length)
})

test('holds back only the key of a retry and of a dead letter, and goes on after redrive and removal', async () => {
  const one = await rig()
  const seen: string[] = []
  let isFixed = false
  const inbox = new Inbox((delivery) => {
    const { id } = delivery.message
    seen.push(id)
    void (id.startsWith('bad') && !isFixed ? delivery.deadLetter(record) : delivery.ack())
  })
  await listen(one, ordered(), inbox)
  for (const [id, key] of [['bad-1', 'a'], ['a-2', 'a'], ['b-1', 'b'], ['bad-2', 'c'], ['c-2', 'c'], ['b-2', 'b']] as const) {
    await publish(one, messageOf(TYPE, { id, key }))
  }
  await until(() => seen.includes('b-2') && seen.includes('bad-2'))
  const plane = one.transport.deadLetters
  const items = await until(async () => {
    const page = await plane?.list({ group: 'shop.ledger' }, { limit: 10 })
    // Keys of different lanes die independently of each other.
    return page?.items.length === 2 ? page.items.toSorted((x, y) => x.message.id.localeCompare(y.message.id)) : undefined
  })
  expect(items?.map(({ message, holdsKey }) => ({ id: message.id, holdsKey }))).toEqual([
    { id: 'bad-1', holdsKey: true },
    { id: 'bad-2', holdsKey: true },
  ])
  expect(seen.filter((id) => id.startsWith('a') || id.startsWith('c'))).toEqual([])
  isFixed = true
  await plane?.redrive(items?.[0]?.id ?? '')
  await plane?.remove(items?.[1]?.id ?? '')
  await until(() => seen.includes('a-2') && seen.includes('c-2'))
  expect(seen.filter((id) => id === 'bad-1')).toHaveLength(2)
  expect(seen.filter((id) => id === 'bad-2')).toHaveLength(1)
  expect(inbox.deliveries.findLast(({ message }) => message.id === 'bad-1')).toMatchObject({ isRedriven: true, attempt: 1 })
  expect((await plane?.list({}, { limit: 10 }))?.items).toEqual([])
})

test('takes over from an instance that vanished, in order and with its deliveries as suspects', async () => {
  const { proxy, victim } = await proxied()
  const stuck = new Inbox()
  await listen(victim, ordered(), stuck)
  const survivor = await rig()
  const sent = await publishKeys(survivor, 5, 4)
  await until(() => stuck.ids.length === 5)
  await proxy.refuse()
  proxy.cut()
  const ledger = new Ledger()
  const suspects = new Set<string>()
  const inbox = new Inbox((delivery) => {
    if (delivery.isSuspect) suspects.add(delivery.message.id)
    ledger.handle(delivery, async () => await delivery.ack())
  })
  await listen(survivor, ordered(), inbox)
  await until(() => ledger.handled.size === 20, { deadlineMs: 20_000 })
  expect(Object.fromEntries(ledger.first)).toEqual(Object.fromEntries(sent))
  expect(ledger.overlaps).toBe(0)
  for (const id of stuck.ids) expect(suspects).toContain(id)
})

test('keeps the hold list for the next owner', async () => {
  const one = await rig()
  const first = new Inbox((delivery) => void delivery.retry(1_500))
  const subscription = await listen(one, ordered(), first)
  await publish(one, messageOf(TYPE, { id: 'k-1', key: 'k' }))
  await publish(one, messageOf(TYPE, { id: 'k-2', key: 'k' }))
  await until(() => first.ids.length === 1)
  await subscription.close()
  const two = await rig()
  const second = new Inbox((delivery) => void delivery.ack())
  await listen(two, ordered(), second)
  await until(() => second.ids.length === 2, { deadlineMs: 15_000 })
  expect(second.deliveries.map(({ message, attempt, isSuspect }) => ({ id: message.id, attempt, isSuspect }))).toEqual([
    { id: 'k-1', attempt: 2, isSuspect: false },
    { id: 'k-2', attempt: 1, isSuspect: false },
  ])
})

test('keeps order when the link breaks again and again', async () => {
  const { proxy, victim } = await proxied()
  const ledger = new Ledger()
  const inbox = new Inbox((delivery) => ledger.handle(delivery, async () => await delivery.ack()))
  await listen(victim, ordered(), inbox)
  const publisher = await rig()
  const sent = new Map<string, string[]>()
  for (let round = 0; round < 6; round++) {
    const some = await publishKeys(publisher, 10, 20)
    for (const [key, ids] of some) sent.set(key, [...(sent.get(key) ?? []), ...ids])
    proxy.cut()
  }
  await until(() => [...ledger.first.values()].flat().length === 1_200 && ledger.handled.size === 1_200, { deadlineMs: 40_000 })
  expect(Object.fromEntries(ledger.first)).toEqual(Object.fromEntries(sent))
})

test('keeps order when somebody else takes deliveries away from its consumers', async () => {
  const one = await rig()
  const ledger = new Ledger()
  await listen(one, ordered({ inFlightMax: 4 }), new Inbox((delivery) => ledger.handle(delivery, async () => await delivery.ack())))
  const before = await publishKeys(one, 16, 1)
  await until(() => ledger.handled.size === 16)
  const thief = await connect({ servers: server.url })
  // Like a frozen owner that wakes up: its requests are served, and nobody acks what they bring.
  const stolen: string[] = []
  for (let lane = 0; lane < 8; lane++) {
    const inbox = `thief.${lane}`
    thief.subscribe(inbox, { callback: (_error, message) => stolen.push(message.subject) })
    const stream = `${space.toUpperCase()}_EVENTS`
    thief.publish(`$JS.API.CONSUMER.MSG.NEXT.${stream}.e-shop=2Eledger--lane-${lane}`, Buffer.from('{"batch":3,"expires":20000000000}'), { reply: inbox })
  }
  await thief.flush()
  const sent = await publishKeys(one, 16, 20)
  await until(() => ledger.handled.size === 336, { deadlineMs: 30_000 })
  for (const [key, ids] of before) sent.get(key)?.unshift(...ids)
  expect(stolen.filter((subject) => subject.startsWith(space)).length).toBeGreaterThan(5)
  expect(Object.fromEntries(ledger.first)).toEqual(Object.fromEntries(sent))
  expect(ledger.overlaps).toBe(0)
  await thief.close()
})

test('refuses a group whose instances disagree about its lanes', async () => {
  const one = await rig()
  await listen(one, ordered(), new Inbox())
  const other = await openRig({ servers: server.url, namespace: space, lanes: 1 })
  rigs.push(other)
  await expect(listen(other, ordered(), new Inbox())).rejects.toMatchObject({ code: 'bus.subscription_conflict' })
})

test('orders commands and groups of several types', async () => {
  const one = await rig()
  const [commands, both] = [new Inbox((d) => void d.ack()), new Inbox((d) => void d.ack())]
  await listen(one, groupOf('stock.reserve', ['stock.reserve'], { kind: 'command', order: 'key' }), commands)
  await listen(one, groupOf('shop.both', ['a.one', 'a.two'], { order: 'key' }), both)
  for (let number = 0; number < 10; number++) {
    await publish(one, messageOf('stock.reserve', { id: `c-${number}`, key: 'k' }), 'command')
    await publish(one, messageOf(['a.one', 'a.two', 'a.three'][number % 3] ?? '', { id: `e-${number}`, key: 'k' }))
  }
  await until(() => commands.ids.length === 10 && both.ids.length === 7)
  expect(commands.ids).toEqual(Array.from({ length: 10 }, (_, number) => `c-${number}`))
  expect(both.ids).toEqual([0, 1, 3, 4, 6, 7, 9].map((number) => `e-${number}`))
})
