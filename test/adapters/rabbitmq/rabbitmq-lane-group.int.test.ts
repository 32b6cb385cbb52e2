import amqplib from 'amqplib'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { LANE_PREFETCH, QUORUM } from '../../../src/adapters/rabbitmq/rabbitmq-queues.ts'
import type { Delivery, Transport } from '../../../src/bus/port.ts'
import { rabbitmqServer, type RabbitmqServer } from '../../servers/rabbitmq-server.ts'
import { tcpProxy } from '../../servers/tcp-proxy.ts'
import { until } from '../../servers/until.ts'
import { bodyOf, deadLettersOf, freshName, groupOf, inboxOf, openTransport, readyIn, record, wire, withRaw } from './rabbitmq-fixture.ts'

let server: RabbitmqServer

beforeAll(async () => {
  server = await rabbitmqServer()
  await server.start()
}, 90_000)

afterAll(async () => {
  await server.close()
})

const TYPES = ['sales.order-placed', 'sales.order-cancelled']

function options(): { readonly url: string; readonly namespace: string } {
  return { url: server.url, namespace: freshName('l') }
}

/** An ordered group that keeps its lanes' queues apart from what other tests do. */
function ordered(more: { readonly inFlightMax?: number } = {}): ReturnType<typeof groupOf> {
  return groupOf('shop.ledger', TYPES, { order: 'key', ...more })
}

async function publish(transport: Transport, key: string | undefined, text: string): Promise<void> {
  const type = text.length % 2 === 0 ? 'sales.order-placed' : 'sales.order-cancelled'
  await transport.publish({ kind: 'event', message: wire(type, { key, body: Buffer.from(JSON.stringify(text)) }) }, undefined)
}

function textOf(delivery: Delivery): string {
  return String(JSON.parse(bodyOf(delivery)))
}

async function allIn(namespace: string): Promise<number> {
  let count = 0
  for (let lane = 0; lane < 8; lane++) {
    count += await readyIn(server.url, `${namespace}.shop.ledger:lane-${lane}`)
    count += await readyIn(server.url, `${namespace}.shop.ledger:lane-${lane}:hold`)
  }
  return count
}

/** Messages that are in the lanes and with no owner. */
async function lanesReady(namespace: string): Promise<number> {
  let count = 0
  for (let lane = 0; lane < 8; lane++) count += await readyIn(server.url, `${namespace}.shop.ledger:lane-${lane}`)
  return count
}

describe('an ordered group', () => {
  test('handles the messages of a key one at a time in the order accepted, over all its types', async () => {
    await using open = await openTransport(options())
    const seen = new Map<string, string[]>()
    const running = new Set<string>()
    const overlaps: string[] = []
    let count = 0
    await inboxOf(open.transport, ordered(), (delivery) => {
      const key = delivery.message.key ?? ''
      if (running.has(key)) overlaps.push(key)
      running.add(key)
      setImmediate(() => {
        seen.set(key, [...(seen.get(key) ?? []), textOf(delivery)])
        running.delete(key)
        count++
        void delivery.ack()
      })
    })
    const keys = Array.from({ length: 20 }, (_, n) => `key-${n}`)
    for (let n = 0; n < 15; n++) await Promise.all(keys.map((key) => publish(open.transport, key, `${n}`)))
    await until(() => count === 300, { deadlineMs: 20_000 })
    expect(overlaps).toEqual([])
    for (const key of keys) expect(seen.get(key)).toEqual(Array.from({ length: 15 }, (_, n) => `${n}`))
  })

  test('holds back only the key of a message that waits for its retry', async () => {
    await using open = await openTransport(options())
    const seen: string[] = []
    await inboxOf(open.transport, ordered(), (delivery) => {
      if (textOf(delivery) === 'a0' && delivery.attempt < 3) return delivery.retry(300)
      seen.push(textOf(delivery))
      return delivery.ack()
    })
    for (const text of ['a0', 'b0', 'a1', 'b1', 'a2']) await publish(open.transport, text.slice(0, 1), text)
    await until(() => seen.length === 5)
    expect(seen).toEqual(['b0', 'b1', 'a0', 'a1', 'a2'])
  })

  test('holds the key of a dead letter until it is redriven, and hands it out before those that waited', async () => {
    const where = options()
    await using open = await openTransport(where)
    await using operator = await openTransport(where)
    const seen: string[] = []
    await inboxOf(open.transport, ordered(), (delivery) => {
      if (textOf(delivery) === 'a0' && !delivery.isRedriven) return delivery.deadLetter(record)
      seen.push(`${textOf(delivery)}/${delivery.attempt}`)
      return delivery.ack()
    })
    for (const text of ['a0', 'a1', 'b0', 'a2']) await publish(open.transport, text.slice(0, 1), text)
    const plane = deadLettersOf(operator.transport)
    const letter = await until(async () => (await plane.list({}, { limit: 10 })).items[0])
    expect(letter).toMatchObject({ group: 'shop.ledger', holdsKey: true, record })
    await until(() => seen.length === 1)
    expect(seen).toEqual(['b0/1'])
    expect(await plane.redrive(letter?.id ?? '')).toBe(true)
    await until(() => seen.length === 4)
    expect(seen).toEqual(['b0/1', 'a0/1', 'a1/1', 'a2/1'])
    expect((await plane.list({}, { limit: 10 })).items).toEqual([])
  })

  test('lets a key go on when its dead letter is removed', async () => {
    await using open = await openTransport(options())
    const seen: string[] = []
    await inboxOf(open.transport, ordered(), (delivery) => {
      if (textOf(delivery) === 'a0') return delivery.deadLetter(record)
      seen.push(textOf(delivery))
      return delivery.ack()
    })
    for (const text of ['a0', 'a1']) await publish(open.transport, 'a', text)
    const plane = deadLettersOf(open.transport)
    const letter = await until(async () => (await plane.list({}, { limit: 10 })).items[0])
    expect(seen).toEqual([])
    expect(await plane.remove(letter?.id ?? '')).toBe(true)
    await until(() => seen.length === 1)
    expect(seen).toEqual(['a1'])
  })

  test('keeps what it holds through an orderly end of its owner', async () => {
    const where = options()
    await using publisher = await openTransport(where)
    {
      await using first = await openTransport(where)
      const inbox = await inboxOf(first.transport, ordered(), (delivery) => (textOf(delivery) === 'a0' ? delivery.retry(700) : undefined))
      for (const text of ['a0', 'a1', 'a2']) await publish(publisher.transport, 'a', text)
      await inbox.at(0)
      await until(async () => (await withRaw(where.url, (channel) => channel.checkQueue(`${where.namespace}.shop.ledger:members`))).consumerCount === 1)
      await inbox.subscription.close()
    }
    await using second = await openTransport(where)
    const seen: string[] = []
    await inboxOf(second.transport, ordered(), (delivery) => {
      seen.push(`${textOf(delivery)}/${delivery.attempt}`)
      return delivery.ack()
    })
    await until(() => seen.length === 3)
    expect(seen).toEqual(['a0/2', 'a1/1', 'a2/1'])
    await until(async () => (await allIn(where.namespace)) === 0)
  })

  test('shares its lanes with a second instance and takes them back when that one goes', async () => {
    const where = options()
    await using a = await openTransport(where)
    const one = await inboxOf(a.transport, ordered(), (delivery) => delivery.ack())
    const b = await openTransport(where)
    const two = await inboxOf(b.transport, ordered(), (delivery) => delivery.ack())
    const keys = Array.from({ length: 64 }, (_, n) => `k${n}`)
    await until(
      async () => {
        await Promise.all(keys.map((key) => publish(a.transport, key, 'x')))
        return one.deliveries.length > 20 && two.deliveries.length > 20
      },
      { deadlineMs: 20_000, everyMs: 200 },
    )
    await b.transport.close()
    const before = one.deliveries.length
    await Promise.all(keys.map((key) => publish(a.transport, key, 'last')))
    await until(() => new Set(one.deliveries.slice(before).filter((d) => textOf(d) === 'last').map((d) => d.message.key)).size === keys.length, { deadlineMs: 20_000 })
    expect(two.deliveries.length).toBeGreaterThan(0)
  })

  test('keeps the order of every key when owners vanish again and again with messages in flight', async () => {
    const where = options()
    await using publisher = await openTransport(where)
    const proxies = [await tcpProxy(server.url), await tcpProxy(server.url)]
    const opens = [await openTransport({ ...where, url: proxies[0]?.url ?? '' }), await openTransport({ ...where, url: proxies[1]?.url ?? '' })]
    const firsts = new Map<string, number[]>()
    const done = new Set<string>()
    for (const open of opens) {
      await inboxOf(open.transport, ordered({ inFlightMax: 64 }), (delivery) => {
        const key = delivery.message.key ?? ''
        const number = Number(textOf(delivery))
        const seen = firsts.get(key) ?? []
        if (!seen.includes(number)) seen.push(number)
        firsts.set(key, seen)
        setTimeout(() => {
          void Promise.resolve(delivery.ack()).then(() => done.add(`${key}:${number}`))
        }, 3)
      })
    }
    const keys = Array.from({ length: 12 }, (_, n) => `k${n}`)
    let n = 0
    for (let round = 0; round < 5; round++) {
      for (let step = 0; step < 20; step++, n++) await Promise.all(keys.map((key) => publish(publisher.transport, key, `${n}`)))
      proxies[round % 2]?.cut()
    }
    await until(() => done.size === n * keys.length, { deadlineMs: 40_000, what: `${n * keys.length} handled` })
    for (const key of keys) expect(firsts.get(key)).toEqual(Array.from({ length: n }, (_, index) => index))
    for (const open of opens) await open.transport.close()
    for (const proxy of proxies) await proxy.close()
  })

  test('refuses to be used without order afterwards', async () => {
    const where = options()
    await using open = await openTransport(where)
    await inboxOf(open.transport, ordered())
    await expect(open.transport.subscribe(groupOf('shop.ledger', TYPES), () => undefined)).rejects.toMatchObject({ code: 'bus.subscription_conflict' })
  })

  test('hands out keyless messages too', async () => {
    await using open = await openTransport(options())
    const inbox = await inboxOf(open.transport, ordered(), (delivery) => delivery.ack())
    for (let n = 0; n < 3; n++) await publish(open.transport, undefined, `${n}`)
    expect((await inbox.at(2)).message.key).toBeUndefined()
  })

  test('takes commands that were sent before its first start, in order, and all that are sent later', async () => {
    const where = options()
    await using sender = await openTransport(where)
    const send = async (n: number): Promise<void> => {
      await sender.transport.publish({ kind: 'command', message: wire('stock.reserve', { key: 'k', body: Buffer.from(`"${n}"`) }) }, undefined)
    }
    for (let n = 0; n < 10; n++) await send(n)
    await using handler = await openTransport(where)
    const seen: string[] = []
    await inboxOf(handler.transport, groupOf('stock.reserve', ['stock.reserve'], { kind: 'command', order: 'key' }), (delivery) => {
      seen.push(textOf(delivery))
      return delivery.ack()
    })
    for (let n = 10; n < 20; n++) await send(n)
    await using late = await openTransport(where)
    await late.transport.publish({ kind: 'command', message: wire('stock.reserve', { key: 'k', body: Buffer.from('"20"') }) }, undefined)
    await until(() => seen.length === 21)
    expect(seen).toEqual(Array.from({ length: 21 }, (_, n) => `${n}`))
  })

  test('hands out all that is held before what came while nobody owned the lane', async () => {
    const where = options()
    await using publisher = await openTransport(where)
    const send = (from: number, to: number): Promise<unknown> => Promise.all(Array.from({ length: to - from }, (_, n) => publish(publisher.transport, 'a', `${from + n}`)))
    {
      await using first = await openTransport(where)
      const inbox = await inboxOf(first.transport, ordered(), (delivery) => delivery.retry(3_000))
      await send(0, 1)
      await inbox.at(0)
      await send(1, 400)
      await until(async () => (await lanesReady(where.namespace)) === 0)
      await inbox.subscription.close()
    }
    await send(400, 420)
    await using second = await openTransport(where)
    const seen: string[] = []
    await inboxOf(second.transport, ordered(), (delivery) => {
      seen.push(textOf(delivery))
      return delivery.ack()
    })
    await until(() => seen.length === 420, { deadlineMs: 30_000 })
    expect(seen).toEqual(Array.from({ length: 420 }, (_, n) => `${n}`))
  })
})

test('a quorum queue gives the next consumer at once and in order what vanished ones had, before all that was never out', async () => {
  const queue = freshName('fact')
  await withRaw(server.url, async (channel) => {
    await channel.assertQueue(queue, { arguments: QUORUM })
    for (let n = 0; n < 300; n++) channel.sendToQueue(queue, Buffer.from(`${n}`), { persistent: true })
    await channel.waitForConfirms()
    const left = new Set(Array.from({ length: 300 }, (_, n) => `${n}`))
    for (let owner = 0; owner < 5; owner++) {
      const connection = await amqplib.connect(server.url)
      connection.on('error', () => undefined)
      const own = await connection.createChannel()
      own.on('error', () => undefined)
      await own.prefetch(LANE_PREFETCH)
      const got: amqplib.ConsumeMessage[] = []
      await own.consume(queue, (message) => {
        if (message !== null) got.push(message)
      })
      // Some owners see only a part of what they were given before they vanish.
      const count = owner % 2 === 0 ? LANE_PREFETCH : 3
      await until(() => got.length >= Math.min(count, left.size), { what: `owner ${owner} having its share` })
      expect(got.map(({ content }) => content.toString())).toEqual([...left].slice(0, got.length))
      // Few enough that the broker applies all of them before the channel closes.
      for (const message of got.filter((_, index) => index % 3 === 1).slice(0, 20)) {
        own.ack(message)
        left.delete(message.content.toString())
      }
      await own.checkQueue(queue)
      await connection.close()
      await until(async () => (await channel.checkQueue(queue)).messageCount === left.size, { what: 'all being back' })
    }
    await channel.deleteQueue(queue)
  })
})
