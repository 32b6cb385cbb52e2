import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import { type Socket, createServer } from 'node:net'
import amqplib from 'amqplib'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { rabbitmq } from '../../../src/adapters/rabbitmq/index.ts'
import type { Delivery } from '../../../src/bus/port.ts'
import type { Logger } from '../../../src/core/logger.ts'
import { certificates } from '../../servers/certificates.ts'
import { freePort } from '../../servers/free-port.ts'
import { rabbitmqServer, type RabbitmqServer } from '../../servers/rabbitmq-server.ts'
import { tcpProxy } from '../../servers/tcp-proxy.ts'
import { until } from '../../servers/until.ts'
import { bodyOf, emit, freshName, groupOf, inboxOf, openTransport, readyIn, wire, withRaw } from './rabbitmq-fixture.ts'

let server: RabbitmqServer

beforeAll(async () => {
  server = await rabbitmqServer()
  await server.start()
}, 90_000)

afterAll(async () => {
  await server.close()
})

const TYPE = 'sales.order-placed'

function namespace(): string {
  return freshName('k')
}

describe('a lost link', () => {
  test('is reported, and what was published meanwhile is stored once the link is back', async () => {
    await using proxy = await tcpProxy(server.url)
    await using open = await openTransport({ url: proxy.url, namespace: namespace() })
    const seen: string[] = []
    await inboxOf(open.transport, groupOf('shop.billing', [TYPE]), (delivery) => {
      seen.push(bodyOf(delivery))
      return delivery.ack()
    })
    await proxy.refuse()
    proxy.cut()
    await until(() => open.states.at(-1)?.state === 'down')
    const published = Promise.all(Array.from({ length: 50 }, (_, n) => emit(open.transport, TYPE, { body: Buffer.from(`${n}`) })))
    await proxy.accept()
    await published
    await until(() => seen.length >= 50)
    await until(() => open.states.at(-1)?.state === 'up')
    expect(seen).toEqual(Array.from({ length: 50 }, (_, n) => `${n}`))
  })

  test('under load loses nothing that was confirmed and keeps ids', async () => {
    await using proxy = await tcpProxy(server.url)
    await using open = await openTransport({ url: proxy.url, namespace: namespace() })
    const seen = new Set<string>()
    await inboxOf(open.transport, groupOf('shop.billing', [TYPE], { inFlightMax: 64 }), (delivery) => {
      seen.add(delivery.message.id)
      return delivery.ack()
    })
    const ids: string[] = []
    for (let round = 0; round < 4; round++) {
      const sent = Array.from({ length: 300 }, () => emit(open.transport, TYPE))
      setImmediate(() => proxy.cut())
      for (const { id } of await Promise.all(sent)) ids.push(id)
    }
    await until(() => ids.every((id) => seen.has(id)), { deadlineMs: 20_000 })
    expect(seen.size).toBe(1_200)
  })

  test('that is half open is noticed by missing heartbeats', async () => {
    await using proxy = await tcpProxy(server.url)
    await using open = await openTransport({ url: proxy.url, namespace: namespace(), heartbeatMs: 1_000, dialTimeoutMs: 1_000 })
    const inbox = await inboxOf(open.transport, groupOf('shop.billing', [TYPE]), (delivery) => delivery.ack())
    proxy.halfOpen()
    await until(() => open.states.at(-1)?.state === 'down', { deadlineMs: 10_000 })
    const published = emit(open.transport, TYPE)
    proxy.heal()
    await published
    await inbox.at(0)
    await until(() => open.states.at(-1)?.state === 'up')
    expect(inbox.deliveries.length).toBe(1)
  })

  test('gives up a publish whose signal aborts', async () => {
    await using proxy = await tcpProxy(server.url)
    await using open = await openTransport({ url: proxy.url, namespace: namespace() })
    await proxy.refuse()
    proxy.cut()
    await until(() => open.states.at(-1)?.state === 'down')
    const given = new AbortController()
    const publishing = open.transport.publish({ kind: 'event', message: wire(TYPE) }, given.signal)
    given.abort()
    await expect(publishing).rejects.toMatchObject({ code: 'bus.connection_lost' })
    await proxy.accept()
  })

  test('does not disturb a delivery that is settled after it: the message comes again as a suspect', async () => {
    await using proxy = await tcpProxy(server.url)
    await using open = await openTransport({ url: proxy.url, namespace: namespace() })
    const inbox = await inboxOf(open.transport, groupOf('shop.billing', [TYPE]))
    await emit(open.transport, TYPE)
    const first = await inbox.at(0)
    proxy.cut()
    const second = await inbox.at(1)
    await first.ack()
    await first.retry(0)
    expect([second.attempt, second.isSuspect, await second.begin()]).toEqual([1, true, 1])
    await second.ack()
    await inbox.subscription.close()
    expect(inbox.deliveries.length).toBe(2)
  })
})

describe('suspects', () => {
  test('raise their own count and not their neighbours’, and come one at a time', async () => {
    const ns = namespace()
    await using publisher = await openTransport({ url: server.url, namespace: ns })
    const proxy = await tcpProxy(server.url)
    await using open = await openTransport({ url: proxy.url, namespace: ns })
    const attempts = new Map<string, number[]>()
    let running = 0
    let together = 0
    const take = (delivery: Delivery): void => {
      const name = bodyOf(delivery)
      attempts.set(name, [...(attempts.get(name) ?? []), delivery.attempt])
      // What the first crash leaves: eight messages that were out, one of which kills every process that runs it.
      if (!delivery.isSuspect) return
      together = Math.max(together, ++running)
      setImmediate(() => {
        running--
        if (name !== '"killer"') return void delivery.ack()
        if (delivery.attempt < 5) proxy.cut()
        else void delivery.ack()
      })
    }
    const inbox = await inboxOf(open.transport, groupOf('shop.billing', [TYPE]), take)
    for (const name of ['a', 'b', 'killer', 'c', 'd', 'e', 'f', 'g']) await emit(publisher.transport, TYPE, { body: Buffer.from(JSON.stringify(name)) })
    await inbox.at(7)
    proxy.cut()
    await until(() => attempts.get('"killer"')?.includes(5), { deadlineMs: 30_000 })
    await until(async () => (await readyIn(server.url, `${ns}.shop.billing.${TYPE}:suspect`)) === 0)
    expect(attempts.get('"killer"')).toEqual([1, 1, 2, 3, 4, 5])
    for (const name of ['a', 'b', 'c', 'd', 'e', 'f', 'g']) expect(attempts.get(`"${name}"`)).toEqual([1, 1])
    expect(together).toBe(1)
    await proxy.close()
  })
})

describe('the broker’s side', () => {
  test('brings a deleted queue back, consumed', async () => {
    const ns = namespace()
    await using open = await openTransport({ url: server.url, namespace: ns })
    const inbox = await inboxOf(open.transport, groupOf('shop.billing', [TYPE]), (delivery) => delivery.ack())
    await withRaw(server.url, (channel) => channel.deleteQueue(`${ns}.shop.billing.${TYPE}`))
    await until(async () => {
      await emit(open.transport, TYPE)
      return inbox.deliveries.length > 0
    })
    await until(() => open.states.at(-1)?.state === 'up')
    expect(open.states.some(({ state }) => state === 'degraded')).toBe(true)
  })

  test('brings deleted exchanges back without losing what was being published', async () => {
    const ns = namespace()
    await using open = await openTransport({ url: server.url, namespace: ns })
    const inbox = await inboxOf(open.transport, groupOf('shop.billing', [TYPE]), (delivery) => delivery.ack())
    await withRaw(server.url, (channel) => channel.deleteExchange(`${ns}.events`))
    await Promise.all(Array.from({ length: 20 }, () => emit(open.transport, TYPE)))
    // The bindings went with the exchange; they come back with the next build of the consumer, and nothing is refused.
    await withRaw(server.url, (channel) => channel.deleteQueue(`${ns}.shop.billing.${TYPE}`))
    await until(async () => {
      await emit(open.transport, TYPE)
      return inbox.deliveries.length > 0
    })
    expect(await readyIn(server.url, `${ns}.unrouted`)).toBeGreaterThanOrEqual(20)
  })

  test('refuses a group whose queue has other settings, names it, and changes nothing', async () => {
    const ns = namespace()
    await using open = await openTransport({ url: server.url, namespace: ns })
    await withRaw(server.url, (channel) => channel.assertQueue(`${ns}.shop.billing.${TYPE}`, { durable: true }))
    await expect(open.transport.subscribe(groupOf('shop.billing', [TYPE]), () => undefined)).rejects.toMatchObject({
      code: 'bus.subscription_conflict',
      details: { subscription: `${ns}.shop.billing.${TYPE}` },
    })
    const inbox = await inboxOf(open.transport, groupOf('shop.other', [TYPE]), (delivery) => delivery.ack())
    await emit(open.transport, TYPE)
    expect((await inbox.at(0)).attempt).toBe(1)
  })

  test('that is short of memory makes the transport degraded, and publishing waits', async () => {
    await using open = await openTransport({ url: server.url, namespace: namespace() })
    try {
      await server.ctl('set_vm_memory_high_watermark', '0.0001')
      const published = emit(open.transport, TYPE)
      await until(() => open.states.at(-1)?.state === 'degraded', { deadlineMs: 20_000 })
      expect(open.states.at(-1)?.reason).toContain('memory')
      await server.ctl('set_vm_memory_high_watermark', '0.4')
      await published
      await until(() => open.states.at(-1)?.state === 'up')
    } finally {
      await server.ctl('set_vm_memory_high_watermark', '0.4')
    }
  })
})

describe('foreign messages', () => {
  test('become deliveries: what fits is read, what does not says why', async () => {
    const ns = namespace()
    await using open = await openTransport({ url: server.url, namespace: ns })
    const inbox = await inboxOf(open.transport, groupOf('shop.billing', [TYPE]))
    await withRaw(server.url, async (channel) => {
      const send = (headers: Record<string, unknown> | undefined, more: amqplib.Options.Publish = {}): void => {
        channel.publish(`${ns}.events`, `${TYPE}.-.-`, Buffer.from('{}'), { ...more, headers })
      }
      send({
        cloudEvents_specversion: '1.0', cloudEvents_id: 'x-1', cloudEvents_source: '/elsewhere', cloudEvents_type: TYPE,
        cloudEvents_time: { '!': 'timestamp', value: 1_700_000_000 }, cloudEvents_dataversion: 2, 'x-their-own': 'kept', CC: ['somewhere'], Odd: 1,
      })
      send(undefined)
      send({ 'cloudEvents:specversion': '1.0', 'cloudEvents:id': { nested: 1 } })
      send({ 'cloudEvents:specversion': '1.0', 'cloudEvents:id': '1', 'cloudEvents:source': '/x', 'cloudEvents:type': TYPE }, { contentType: 'text/plain' })
      send({ 'cloudEvents:specversion': '1.0', 'cloudEvents:id': '2', 'cloudEvents:source': '/x', 'cloudEvents:type': TYPE }, { contentEncoding: 'gzip' })
      await channel.waitForConfirms()
    })
    await inbox.at(4)
    const [fits, ...odd] = inbox.deliveries.map(({ message }) => message)
    expect(fits).toMatchObject({ id: 'x-1', source: '/elsewhere', version: 2, time: '2023-11-14T22:13:20.000Z', defect: undefined, headers: { 'x-their-own': 'kept' } })
    for (const message of odd) expect(message.defect).toBeTypeOf('string')
    expect(odd[0]?.id).toMatch(/^[0-9a-f-]{36}$/)
  })

  test('keep all their headers through a retry, and are not routed by them again', async () => {
    const ns = namespace()
    await using open = await openTransport({ url: server.url, namespace: ns })
    const inbox = await inboxOf(open.transport, groupOf('shop.billing', [TYPE]), (delivery) => (delivery.attempt === 1 ? delivery.retry(60) : delivery.release()))
    await withRaw(server.url, async (channel, connection) => {
      const spy = await connection.createChannel()
      await spy.assertQueue(`${ns}-spy`, { exclusive: true })
      const headers = {
        'cloudEvents:specversion': '1.0', 'cloudEvents:id': '1', 'cloudEvents:source': '/x', 'cloudEvents:type': TYPE, Odd: 7, deep: { a: [1, null, true] },
      }
      channel.publish(`${ns}.events`, `${TYPE}.-.-`, Buffer.from('{}'), { headers, CC: [`${ns}-none`], expiration: '600000' })
      await channel.waitForConfirms()
      await inbox.at(2)
      await inbox.subscription.close()
      const raw = await until(() => channel.get(`${ns}.shop.billing.${TYPE}`, { noAck: true }))
      expect(raw === false ? undefined : raw.properties.headers).toMatchObject({ Odd: 7, deep: { a: [1, null, true] } })
      expect(raw === false ? undefined : Object.keys(raw.properties.headers ?? {}).filter((name) => name === 'CC' || name.startsWith('x-death'))).toEqual([])
      expect(raw === false ? undefined : raw.properties.expiration).toBeUndefined()
    })
  })
})

describe('connecting', () => {
  test('accepts a function that connects, and an open connection that stays its owner’s', async () => {
    const connect = (): Promise<amqplib.ChannelModel> => amqplib.connect(server.url, { noDelay: true })
    const ns = namespace()
    await using one = await openTransport({ connect, namespace: ns })
    const inbox = await inboxOf(one.transport, groupOf('shop.billing', [TYPE]), (delivery) => delivery.ack())
    const connection = await connect()
    {
      await using two = await openTransport({ connection, namespace: ns })
      await emit(two.transport, TYPE)
    }
    expect((await inbox.at(0)).attempt).toBe(1)
    const channel = await connection.createChannel()
    expect((await channel.checkQueue(`${ns}:dead`)).messageCount).toBe(0)
    await connection.close()
  })

  test('fails after the time given when there is no broker, and does not go on trying', async () => {
    await using proxy = await tcpProxy(server.url)
    await proxy.refuse()
    const transport = rabbitmq({ url: proxy.url, namespace: namespace(), openTimeoutMs: 300 })
    const opening = openTransport({ url: proxy.url, namespace: namespace(), openTimeoutMs: 300 })
    await expect(opening).rejects.toMatchObject({ code: 'bus.connection_lost', details: { problem: expect.stringContaining(new URL(proxy.url).host) } })
    await proxy.accept()
    expect(proxy.acceptedCount).toBe(0)
    expect(transport.name).toBe('rabbitmq')
  })

  test('says where there is no answer at all', async () => {
    // Takes the connection and says nothing.
    const sockets: Socket[] = []
    const mute = createServer((socket) => sockets.push(socket))
    mute.listen(0, '127.0.0.1')
    await once(mute, 'listening')
    const address = mute.address()
    const port = typeof address === 'object' && address !== null ? address.port : 0
    const opening = openTransport({ url: `amqp://guest:hush-hush-4711@127.0.0.1:${port}`, namespace: namespace(), openTimeoutMs: 200 })
    const error: unknown = await opening.then(() => undefined, (thrown: unknown) => thrown)
    expect(error).toMatchObject({ code: 'bus.connection_lost', details: { problem: expect.stringContaining(`127.0.0.1:${port}`) } })
    expect(String(error)).not.toContain('hush-hush')
    for (const socket of sockets) socket.destroy()
    mute.close()
  })

  test('never shows the password, neither in errors nor in logs', async () => {
    const lines: string[] = []
    const log = (...parts: readonly unknown[]): void => {
      lines.push(parts.map((part) => (part instanceof Error ? String(part.stack) : JSON.stringify(part))).join(' '))
    }
    const logger: Logger = { trace: log, debug: log, info: log, warn: log, error: log, child: () => logger }
    const secret = 'hush-hush-4711'
    const url = server.url.replace('guest:guest', `guest:${secret}`)
    const error: unknown = await openTransport({ url, namespace: namespace(), openTimeoutMs: 1_000 }, { logger }).then(
      () => undefined,
      (thrown: unknown) => thrown,
    )
    expect(error).toMatchObject({ code: 'bus.connection_lost' })
    const shown = [String(error), JSON.stringify(error), error instanceof Error ? `${error.stack} ${String(error.cause)}` : '', ...lines].join('\n')
    expect(shown).toMatch(/ACCESS.REFUSED/)
    expect(shown).not.toContain(secret)
    expect(() => rabbitmq({ url: `amqp://u:${secret}@[bad` })).toThrow(expect.not.stringContaining(secret))
  })

  test.each([
    ['amqp://broker.example', {}],
    ['amqps://localhost?verify=verify_none', {}],
    ['http://localhost', {}],
    ['amqp://localhost', { tls: {} }],
    ['amqp://localhost', { heartbeatMs: 0 }],
  ])('refuses %s with %j', (url, more) => {
    expect(() => rabbitmq({ url, ...more })).toThrow(expect.objectContaining({ code: 'core.option_invalid' }))
  })

  test('works over TLS and refuses a server that the given authority did not sign', async () => {
    const files = certificates()
    const secure = await rabbitmqServer({ tls: { certFile: files.serverCertFile, keyFile: files.serverKeyFile, caFile: files.caFile } })
    await secure.start()
    try {
      const tls = { ca: readFileSync(files.caFile), cert: readFileSync(files.clientCertFile), key: readFileSync(files.clientKeyFile) }
      await using open = await openTransport({ url: secure.url, namespace: namespace(), tls })
      await emit(open.transport, TYPE)
      const foreign = openTransport({ url: secure.url, namespace: namespace(), tls: { ...tls, ca: readFileSync(files.foreignCaFile) }, openTimeoutMs: 2_000 })
      await expect(foreign).rejects.toMatchObject({ code: 'bus.connection_lost' })
    } finally {
      await secure.close()
    }
  }, 90_000)

  test('tries the next of several nodes', async () => {
    const dead = `amqp://guest:guest@127.0.0.1:${await freePort()}`
    await using open = await openTransport({ urls: [dead, server.url], namespace: namespace() })
    expect(await emit(open.transport, TYPE)).toMatchObject({ type: TYPE })
  })
})
