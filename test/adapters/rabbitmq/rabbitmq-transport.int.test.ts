import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import type { Delivery } from '../../../src/bus/port.ts'
import { rabbitmqServer, type RabbitmqServer } from '../../servers/rabbitmq-server.ts'
import { until } from '../../servers/until.ts'
import { bodyOf, deadLettersOf, emit, freshName, groupOf, inboxOf, openTransport, readyIn, record, wire, withRaw } from './rabbitmq-fixture.ts'

let server: RabbitmqServer

beforeAll(async () => {
  server = await rabbitmqServer()
  await server.start()
}, 90_000)

afterAll(async () => {
  await server.close()
})

function options(): { readonly url: string; readonly namespace: string } {
  return { url: server.url, namespace: freshName('t') }
}

describe('publishing and consuming', () => {
  test('delivers a message with every attribute, header and byte', async () => {
    await using open = await openTransport(options())
    const { transport } = open
    const inbox = await inboxOf(transport, groupOf('shop.billing', ['sales.order-placed']))
    const sent = wire('sales.order-placed', {
      key: 'ordér-1',
      correlationId: 'c',
      causationId: 'k',
      deadline: '2027-01-01T00:00:00.000Z',
      tenant: 'acme',
      traceparent: '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01',
      tracestate: 'a=1',
      hops: 3,
      replyTo: 'somewhere',
      headers: { 'trace-note': 'grün' },
    })
    await transport.publish({ kind: 'event', message: sent }, undefined)
    const delivery = await inbox.at(0)
    expect({ ...delivery.message, body: bodyOf(delivery) }).toEqual({ ...sent, body: '{"n":1}' })
    expect([delivery.attempt, delivery.isSuspect, delivery.isRedriven]).toEqual([1, false, false])
    await delivery.ack()
    await inbox.subscription.close()
  })

  test('gives every group a copy and every member of a group its share', async () => {
    const where = options()
    await using a = await openTransport(where)
    await using b = await openTransport(where)
    const settle = (delivery: Delivery): unknown => delivery.ack()
    const one = await inboxOf(a.transport, groupOf('shop.one', ['sales.order-placed'], { inFlightMax: 1 }), settle)
    const other = await inboxOf(b.transport, groupOf('shop.one', ['sales.order-placed'], { inFlightMax: 1 }), settle)
    const two = await inboxOf(a.transport, groupOf('shop.two', ['sales.order-placed']), settle)
    await Promise.all(Array.from({ length: 100 }, () => emit(a.transport, 'sales.order-placed')))
    await until(() => one.deliveries.length + other.deliveries.length === 100 && two.deliveries.length === 100)
    expect(one.deliveries.length).toBeGreaterThan(0)
    expect(other.deliveries.length).toBeGreaterThan(0)
  })

  test('keeps a command that is sent before anybody handles it', async () => {
    const where = options()
    await using sender = await openTransport(where)
    await sender.transport.publish({ kind: 'command', message: wire('stock.reserve') }, undefined)
    await using handler = await openTransport(where)
    const inbox = await inboxOf(handler.transport, groupOf('stock.reserve', ['stock.reserve'], { kind: 'command' }))
    expect((await inbox.at(0)).message.type).toBe('stock.reserve')
  })

  test('keeps commands when their queue was deleted between two sends', async () => {
    const where = options()
    await using open = await openTransport(where)
    await open.transport.publish({ kind: 'command', message: wire('stock.reserve') }, undefined)
    await withRaw(server.url, (channel) => channel.deleteQueue(`${where.namespace}.command:stock.reserve`))
    await open.transport.publish({ kind: 'command', message: wire('stock.reserve') }, undefined)
    expect(await readyIn(server.url, `${where.namespace}.command:stock.reserve`)).toBe(1)
  })

  test('takes an event that no group wants', async () => {
    const where = options()
    await using open = await openTransport(where)
    await emit(open.transport, 'sales.order-placed')
    expect(await readyIn(server.url, `${where.namespace}.unrouted`)).toBe(1)
  })

  test('keeps events for a group that exists while no instance of it runs', async () => {
    const where = options()
    await using publisher = await openTransport(where)
    {
      await using open = await openTransport(where)
      const inbox = await inboxOf(open.transport, groupOf('shop.billing', ['sales.order-placed']))
      await inbox.subscription.close()
    }
    await emit(publisher.transport, 'sales.order-placed')
    await using again = await openTransport(where)
    const inbox = await inboxOf(again.transport, groupOf('shop.billing', ['sales.order-placed']))
    expect((await inbox.at(0)).attempt).toBe(1)
  })

  test('has no more deliveries unsettled than inFlightMax', async () => {
    await using open = await openTransport(options())
    const inbox = await inboxOf(open.transport, groupOf('shop.billing', ['sales.order-placed'], { inFlightMax: 2 }))
    for (let n = 0; n < 5; n++) await emit(open.transport, 'sales.order-placed')
    await inbox.at(1)
    expect(inbox.deliveries.length).toBe(2)
    await inbox.deliveries[0]?.ack()
    await inbox.at(2)
    expect(inbox.deliveries.length).toBe(3)
  })

  test('gives nothing new after a pause and everything after the resume', async () => {
    await using open = await openTransport(options())
    const inbox = await inboxOf(open.transport, groupOf('shop.billing', ['sales.order-placed']), (delivery) => delivery.ack())
    await inbox.subscription.pause()
    await emit(open.transport, 'sales.order-placed')
    expect(inbox.deliveries.length).toBe(0)
    await inbox.subscription.resume()
    await inbox.at(0)
  })
})

describe('settling', () => {
  test('retries after the delay, never early, with the next attempt number, and blocks nothing meanwhile', async () => {
    await using open = await openTransport(options())
    const inbox = await inboxOf(open.transport, groupOf('shop.billing', ['sales.order-placed'], { inFlightMax: 1 }))
    const slow = wire('sales.order-placed', { body: Buffer.from('"slow"') })
    const fast = wire('sales.order-placed', { body: Buffer.from('"fast"') })
    await open.transport.publish({ kind: 'event', message: slow }, undefined)
    const first = await inbox.at(0)
    const begun = performance.now()
    await first.retry(730)
    await open.transport.publish({ kind: 'event', message: fast }, undefined)
    const second = await inbox.at(1)
    expect(bodyOf(second)).toBe('"fast"')
    await second.ack()
    const third = await inbox.at(2)
    expect(performance.now() - begun).toBeGreaterThanOrEqual(730)
    expect([bodyOf(third), third.attempt, third.isSuspect, third.message.id]).toEqual(['"slow"', 2, false, slow.id])
    await third.retry(0)
    expect((await inbox.at(3)).attempt).toBe(3)
  })

  test('brings delayed messages back in the order of their delays', async () => {
    await using open = await openTransport(options())
    const came: string[] = []
    const delays = [800, 50, 400, 1, 1_000, 200]
    const inbox = await inboxOf(open.transport, groupOf('shop.billing', ['sales.order-placed']), (delivery) => {
      if (delivery.attempt === 1) return delivery.retry(Number(bodyOf(delivery)))
      came.push(bodyOf(delivery))
      return delivery.ack()
    })
    await Promise.all(delays.map((delay) => emit(open.transport, 'sales.order-placed', { body: Buffer.from(`${delay}`) })))
    await until(() => came.length === delays.length)
    expect(came).toEqual(['1', '50', '200', '400', '800', '1000'])
    await inbox.subscription.close()
  })

  test('gives a released delivery to another instance with the same attempt number and without suspicion', async () => {
    const where = options()
    await using a = await openTransport(where)
    await using b = await openTransport(where)
    const one = await inboxOf(a.transport, groupOf('shop.billing', ['sales.order-placed']))
    await emit(a.transport, 'sales.order-placed')
    const delivery = await one.at(0)
    await one.subscription.pause()
    const two = await inboxOf(b.transport, groupOf('shop.billing', ['sales.order-placed']))
    await delivery.release()
    const again = await two.at(0)
    expect([again.attempt, again.isSuspect]).toEqual([1, false])
    await again.ack()
  })

  test('leaves what was not settled when it closed to others, with the attempt counted', async () => {
    const where = options()
    await using a = await openTransport(where)
    await using b = await openTransport(where)
    const one = await inboxOf(a.transport, groupOf('shop.billing', ['sales.order-placed']))
    for (let n = 0; n < 3; n++) await emit(a.transport, 'sales.order-placed')
    const late = await one.at(2)
    await one.subscription.close()
    const two = await inboxOf(b.transport, groupOf('shop.billing', ['sales.order-placed']))
    await two.at(2)
    await late.ack()
    expect(two.deliveries.map(({ attempt }) => attempt)).toEqual([2, 2, 2])
  })

  test('ignores a second settling and goes on', async () => {
    const where = options()
    await using open = await openTransport(where)
    const inbox = await inboxOf(open.transport, groupOf('shop.billing', ['sales.order-placed']))
    for (let n = 0; n < 2; n++) await emit(open.transport, 'sales.order-placed')
    const first = await inbox.at(0)
    await first.ack()
    await first.ack()
    await first.retry(0)
    await first.deadLetter(record)
    await (await inbox.at(1)).ack()
    await inbox.subscription.close()
    expect(await readyIn(server.url, `${where.namespace}.shop.billing.sales.order-placed`)).toBe(0)
    expect(await readyIn(server.url, `${where.namespace}:dead`)).toBe(0)
    expect(open.states.every(({ state }) => state === 'up')).toBe(true)
  })

  test('acks out of turn and in runs', async () => {
    const where = options()
    await using open = await openTransport(where)
    const inbox = await inboxOf(open.transport, groupOf('shop.billing', ['sales.order-placed'], { inFlightMax: 64 }))
    for (let n = 0; n < 64; n++) await emit(open.transport, 'sales.order-placed', { body: Buffer.from(`${n}`) })
    await inbox.at(63)
    const kept = new Set([5, 17, 40])
    for (const [index, delivery] of inbox.deliveries.entries()) if (index % 2 === 1 && !kept.has(index)) await delivery.ack()
    await new Promise((resolve) => setImmediate(resolve))
    for (const [index, delivery] of inbox.deliveries.entries()) if (index % 2 === 0 && !kept.has(index)) await delivery.ack()
    await inbox.subscription.close()
    expect(await until(() => readyIn(server.url, `${where.namespace}.shop.billing.sales.order-placed`))).toBe(3)
  })
})

describe('dead letters', () => {
  async function buried(where: { readonly url: string; readonly namespace: string }, count: number): Promise<void> {
    await using open = await openTransport(where)
    const inbox = await inboxOf(open.transport, groupOf('shop.billing', ['sales.order-placed']), (delivery) => delivery.deadLetter(record))
    for (let n = 0; n < count; n++) {
      await emit(open.transport, 'sales.order-placed', { body: Buffer.from(`${n}`), headers: { note: 'a' } })
      await inbox.at(n)
    }
    await until(async () => (await readyIn(where.url, `${where.namespace}:dead`)) === count)
    await inbox.subscription.close()
  }

  test('keep the message and its record, and survive a hundred listings in order', async () => {
    const where = options()
    await buried(where, 12)
    await using open = await openTransport(where)
    const plane = deadLettersOf(open.transport)
    for (let round = 0; round < 100; round++) {
      const page = await plane.list({}, { limit: round % 2 === 0 ? 100 : 12 })
      expect(page.items.map(bodyOf)).toEqual(Array.from({ length: 12 }, (_, n) => `${n}`))
      expect(page.next).toBeUndefined()
    }
    const [letter] = (await plane.list({ group: 'shop.billing', type: 'sales.order-placed', reason: record.reason }, { limit: 1 })).items
    expect(letter).toMatchObject({ group: 'shop.billing', kind: 'event', record, holdsKey: false })
    expect(letter?.message.headers).toEqual({ note: 'a' })
    expect(await plane.read(letter?.id ?? '')).toEqual(letter)
    expect((await plane.list({ group: 'shop.other' }, { limit: 10 })).items).toEqual([])
  })

  test('are listed page by page, also when what was listed is removed meanwhile', async () => {
    const where = options()
    await buried(where, 7)
    await using open = await openTransport(where)
    const plane = deadLettersOf(open.transport)
    const seen: string[] = []
    let after: string | undefined
    do {
      const page = await plane.list({}, { limit: 3, after })
      seen.push(...(page.items.map(bodyOf)))
      for (const letter of page.items) expect(await plane.remove(letter.id)).toBe(true)
      after = page.next
    } while (after !== undefined)
    expect(seen).toEqual(['0', '1', '2', '3', '4', '5', '6'])
    expect((await plane.list({}, { limit: 10 })).items).toEqual([])
    expect(await plane.remove('nothing')).toBe(false)
    expect(await plane.redrive('nothing')).toBe(false)
    expect(await plane.read('nothing')).toBeUndefined()
  })

  test('are redriven as first attempts with the same id, one at a time', async () => {
    const where = options()
    await buried(where, 3)
    await using open = await openTransport(where)
    const inbox = await inboxOf(open.transport, groupOf('shop.billing', ['sales.order-placed']))
    const plane = deadLettersOf(open.transport)
    const [, second] = (await plane.list({}, { limit: 10 })).items
    expect(await plane.redrive(second?.id ?? '')).toBe(true)
    const delivery = await inbox.at(0)
    expect([bodyOf(delivery), delivery.attempt, delivery.isRedriven, delivery.message.id]).toEqual(['1', 1, true, second?.message.id])
    await delivery.ack()
    expect((await plane.list({}, { limit: 10 })).items.map(bodyOf)).toEqual(['0', '2'])
  })

  test('with one id stay apart where they are different messages, and redriving one keeps the others', async () => {
    await using open = await openTransport(options())
    const types = ['sales.order-placed', 'sales.order-cancelled']
    const inbox = await inboxOf(open.transport, groupOf('shop.billing', types), (delivery) => (delivery.isRedriven ? delivery.ack() : delivery.deadLetter(record)))
    await emit(open.transport, 'sales.order-placed', { id: 'order-1' })
    await emit(open.transport, 'sales.order-placed', { id: 'order-1', body: Buffer.from('{"n":2}') })
    await emit(open.transport, 'sales.order-cancelled', { id: 'order-1' })
    const plane = deadLettersOf(open.transport)
    const three = await until(async () => {
      const { items } = await plane.list({}, { limit: 10 })
      return items.length === 3 && items
    })
    const [first] = three === false ? [] : three
    expect(await plane.redrive(first?.id ?? '')).toBe(true)
    const again = await inbox.at(3)
    expect([again.message.type, bodyOf(again)]).toEqual([first?.message.type, Buffer.from(first?.message.body ?? []).toString()])
    expect((await plane.list({}, { limit: 10 })).items).toHaveLength(2)
  })

  test('are never seen half by two processes that list at the same time', async () => {
    const where = options()
    await buried(where, 9)
    await using a = await openTransport(where)
    await using b = await openTransport(where)
    const both = [a, b, a, b, a, b].map((open) => deadLettersOf(open.transport).list({}, { limit: 100 }))
    for (const page of await Promise.all(both)) expect(page.items.length).toBe(9)
  })
})
