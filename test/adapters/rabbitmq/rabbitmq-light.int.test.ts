import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import type { LightDelivery, LightPlane, LightReply, Transport } from '../../../src/bus/port.ts'
import { rabbitmqServer, type RabbitmqServer } from '../../servers/rabbitmq-server.ts'
import { tcpProxy } from '../../servers/tcp-proxy.ts'
import { until } from '../../servers/until.ts'
import { bodyOf, emit, freshName, openTransport, wire, withRaw } from './rabbitmq-fixture.ts'

let server: RabbitmqServer

beforeAll(async () => {
  server = await rabbitmqServer()
  await server.start()
}, 90_000)

afterAll(async () => {
  await server.close()
})

function options(): { readonly url: string; readonly namespace: string } {
  return { url: server.url, namespace: freshName('p') }
}

function lightOf(transport: Transport): LightPlane {
  if (transport.light === undefined) throw new Error('the transport has a light plane')
  return transport.light
}

/** Replies of one instance, by token. */
function repliesOf(light: LightPlane): Map<string, LightReply> {
  const replies = new Map<string, LightReply>()
  light.onReply((token, reply) => replies.set(token, reply))
  return replies
}

function echo(light: LightPlane): (delivery: LightDelivery) => void {
  return ({ message, replyTo }) => {
    void light.reply(replyTo ?? '', wire(message.type, { body: message.body }))
  }
}

describe('requests', () => {
  test('reach one of the instances that answer, and the answer comes with its token', async () => {
    const where = options()
    await using asker = await openTransport(where)
    await using one = await openTransport(where)
    await using two = await openTransport(where)
    const counts = [0, 0]
    for (const [index, open] of [one, two].entries()) {
      const light = lightOf(open.transport)
      await light.onRequest('pricing.quote', (delivery) => {
        counts[index] = (counts[index] ?? 0) + 1
        echo(light)(delivery)
      })
    }
    const light = lightOf(asker.transport)
    const replies = repliesOf(light)
    for (let n = 0; n < 20; n++) await light.request(wire('pricing.quote', { body: Buffer.from(`${n}`) }), `t${n}`)
    await until(() => replies.size === 20)
    for (let n = 0; n < 20; n++) {
      const reply = replies.get(`t${n}`)
      expect(reply?.kind === 'reply' ? bodyOf(reply) : reply?.kind).toBe(`${n}`)
    }
    expect(counts).toEqual([10, 10])
  })

  test('that nobody answers are reported at once, also after the last answerer went', async () => {
    const where = options()
    await using asker = await openTransport(where)
    const light = lightOf(asker.transport)
    const replies = repliesOf(light)
    await light.request(wire('pricing.quote'), 'a')
    await until(() => replies.get('a')?.kind === 'no-responder')
    const subscription = await light.onRequest('pricing.quote', echo(light))
    await light.request(wire('pricing.quote'), 'b')
    await until(() => replies.get('b')?.kind === 'reply')
    await subscription.close()
    await light.request(wire('pricing.quote'), 'c')
    await until(() => replies.get('c')?.kind === 'no-responder')
    expect([...replies.keys()]).toEqual(['a', 'b', 'c'])
  })

  test('are answered again after both connections were cut, at the same address', async () => {
    const where = options()
    await using proxy = await tcpProxy(server.url)
    await using open = await openTransport({ ...where, url: proxy.url })
    const light = lightOf(open.transport)
    const replies = repliesOf(light)
    await light.onRequest('pricing.quote', echo(light))
    const { address } = light
    proxy.cut()
    let n = 0
    await until(async () => {
      await light.request(wire('pricing.quote'), `t${++n}`)
      return [...replies.values()].some(({ kind }) => kind === 'reply')
    }, { everyMs: 50 })
    expect(light.address).toBe(address)
  })

  test('of a foreign program get their answers through direct reply-to', async () => {
    const where = options()
    await using open = await openTransport(where)
    const light = lightOf(open.transport)
    await light.onRequest('pricing.quote', echo(light))
    const answer = await withRaw(server.url, async (channel) => {
      const came = Promise.withResolvers<string>()
      await channel.consume('amq.rabbitmq.reply-to', (message) => came.resolve(`${message?.properties.correlationId} ${message?.content.toString()}`), { noAck: true })
      channel.publish('', `${where.namespace}.query:pricing.quote`, Buffer.from('7'), {
        replyTo: 'amq.rabbitmq.reply-to',
        correlationId: 'mine',
        contentType: 'application/json',
        headers: { 'cloudEvents:specversion': '1.0', 'cloudEvents:id': '1', 'cloudEvents:source': '/x', 'cloudEvents:type': 'pricing.quote' },
      })
      return await came.promise
    })
    expect(answer).toBe('mine 7')
  })

  test('never make an answer go to a queue that is no inbox', async () => {
    const where = options()
    await using open = await openTransport(where)
    const light = lightOf(open.transport)
    for (const address of [`${where.namespace}:dead`, `${where.namespace}:dead#token`, '#token', '']) {
      await expect(light.reply(address, wire('pricing.quote'))).rejects.toMatchObject({ code: 'bus.publish_refused' })
    }
  })

  test('answers to an asked command come by the address that was sent along', async () => {
    const where = options()
    await using asker = await openTransport(where)
    await using handler = await openTransport(where)
    const replies = repliesOf(lightOf(asker.transport))
    await lightOf(handler.transport).reply(lightOf(asker.transport).replyAddress('tok'), wire('stock.reserve'))
    await until(() => replies.get('tok'))
    expect(replies.get('tok')?.kind).toBe('reply')
  })
})

describe('broadcasts', () => {
  test('reach every subscription of every instance, and so do durable events', async () => {
    const where = options()
    await using a = await openTransport(where)
    await using b = await openTransport(where)
    const seen: string[] = []
    for (const [name, open] of [['a', a], ['b', b]] as const) {
      await lightOf(open.transport).onBroadcast(['sales.order-placed', 'sales.order-cancelled'], (delivery) => {
        seen.push(`${name} ${delivery.message.type} ${bodyOf(delivery)} ${delivery.replyTo}`)
      })
    }
    await lightOf(a.transport).broadcast(wire('sales.order-cancelled'))
    await lightOf(a.transport).broadcast(wire('sales.other'))
    await emit(b.transport, 'sales.order-placed', { key: 'k' })
    await until(() => seen.length === 4)
    expect(seen.sort()).toEqual([
      'a sales.order-cancelled {"n":1} undefined',
      'a sales.order-placed {"n":1} undefined',
      'b sales.order-cancelled {"n":1} undefined',
      'b sales.order-placed {"n":1} undefined',
    ])
  })

  test('end with their subscription', async () => {
    await using open = await openTransport(options())
    const light = lightOf(open.transport)
    const seen: string[] = []
    const first = await light.onBroadcast(['sales.order-placed'], () => seen.push('first'))
    await light.onBroadcast(['sales.order-placed'], () => seen.push('second'))
    await first.close()
    await first.close()
    await light.broadcast(wire('sales.order-placed'))
    await until(() => seen.length > 0)
    expect(seen).toEqual(['second'])
  })

  test('go on after a sink has thrown', async () => {
    await using open = await openTransport(options())
    const light = lightOf(open.transport)
    let count = 0
    await light.onBroadcast(['sales.order-placed'], () => {
      count++
      throw new Error('a handler of ours')
    })
    await light.broadcast(wire('sales.order-placed'))
    await light.broadcast(wire('sales.order-placed'))
    await until(() => count === 2)
    expect(open.states.every(({ state }) => state === 'up')).toBe(true)
  })
})
