import { inspect } from 'node:util'
import { readFileSync } from 'node:fs'
import { connect } from 'nats'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { nats } from '../../../src/adapters/nats/index.ts'
import { certificates } from '../../servers/certificates.ts'
import { natsServer } from '../../servers/nats-server.ts'
import type { ServerProcess } from '../../servers/server-process.ts'
import { tcpProxy } from '../../servers/tcp-proxy.ts'
import { until } from '../../servers/until.ts'
import { groupOf, Inbox, listen, messageOf, openRig, publish, RecordingHost, type Rig } from './nats-rig.ts'

const TYPE = 'sales.order-placed'

let server: ServerProcess
const rigs: Rig[] = []

async function rig(url = server.url): Promise<Rig> {
  const opened = await openRig({ servers: url })
  rigs.push(opened)
  return opened
}

beforeEach(async () => {
  server = await natsServer()
  await server.start()
})
afterEach(async () => {
  await Promise.all(rigs.splice(0).map(async ({ transport }) => await transport.close()))
  await server.close()
})

/** Publishes with a window until told to stop; remembers what was accepted. */
class Load {
  readonly accepted: string[] = []
  readonly #rig: Rig
  #isRunning = true
  readonly #workers: Promise<void>[]

  constructor(one: Rig, window: number) {
    this.#rig = one
    this.#workers = Array.from({ length: window }, async () => {
      while (this.#isRunning) {
        const message = messageOf(TYPE)
        await publish(this.#rig, message)
        this.accepted.push(message.id)
      }
    })
  }

  async stop(): Promise<void> {
    this.#isRunning = false
    await Promise.all(this.#workers)
  }
}

describe('a broker that dies', () => {
  test('loses nothing that was accepted when it is killed under load, and goes on by itself', async () => {
    const [one, two] = [await rig(), await rig()]
    const seen = new Set<string>()
    await listen(two, groupOf('shop.all', [TYPE], { inFlightMax: 64 }), new Inbox((delivery) => {
      seen.add(delivery.message.id)
      void delivery.ack()
    }))
    const load = new Load(one, 64)
    for (let kills = 0; kills < 3; kills++) {
      const before = load.accepted.length
      await until(() => load.accepted.length > before + 500)
      await server.kill9()
      await until(() => one.host.state === 'down')
      await server.start()
      await until(() => one.host.state === 'up')
    }
    await load.stop()
    await until(() => load.accepted.every((id) => seen.has(id)), { deadlineMs: 20_000 })
    expect(load.accepted.length).toBeGreaterThan(1_500)
  })

  test('consumes and publishes again after an outage of 25 seconds', async () => {
    const one = await rig()
    const inbox = new Inbox((delivery) => void delivery.ack())
    await listen(one, groupOf('shop.all', [TYPE]), inbox)
    await server.stop()
    const waiting = publish(one, messageOf(TYPE, { id: 'during' }))
    const start = performance.now()
    await until(() => performance.now() - start > 25_000, { deadlineMs: 30_000 })
    await server.start()
    await waiting
    await publish(one, messageOf(TYPE, { id: 'after' }))
    await until(() => inbox.ids.length === 2, { deadlineMs: 20_000 })
    expect(inbox.ids).toEqual(['during', 'after'])
  })
})

describe('a link that breaks', () => {
  test('stores what waited in the order given and delivers everything', async () => {
    const proxy = await tcpProxy(server.url)
    const one = await rig(proxy.url)
    const inbox = new Inbox((delivery) => void delivery.ack())
    await listen(one, groupOf('shop.all', [TYPE], { inFlightMax: 64 }), inbox)
    const load = new Load(one, 32)
    for (let cuts = 0; cuts < 8; cuts++) {
      const [accepted, connections] = [load.accepted.length, proxy.acceptedCount]
      await until(() => load.accepted.length > accepted + 100)
      proxy.cut()
      await until(() => proxy.acceptedCount > connections)
    }
    await load.stop()
    const seen = (): ReadonlySet<string> => new Set(inbox.ids)
    await until(() => load.accepted.every((id) => seen().has(id)), { deadlineMs: 20_000, everyMs: 100 })
    expect(seen().size).toBe(load.accepted.length)
    await proxy.close()
  })

  test('is noticed within 30 seconds when it is half open, and heals', async () => {
    const proxy = await tcpProxy(server.url)
    const one = await rig(proxy.url)
    const inbox = new Inbox((delivery) => void delivery.ack())
    await listen(one, groupOf('shop.all', [TYPE]), inbox)
    proxy.halfOpen()
    const waiting = publish(one, messageOf(TYPE, { id: 'during' }))
    await until(() => one.host.state === 'down', { deadlineMs: 31_000 })
    proxy.heal()
    await waiting
    await until(() => inbox.ids.length === 1, { deadlineMs: 20_000 })
    expect(one.host.state).toBe('up')
    await proxy.close()
  })
})

describe('topology that disappears', () => {
  test('a deleted consumer is made again behind what was seen', async () => {
    const [one, two] = [await rig(), await rig()]
    const inbox = new Inbox((delivery) => void delivery.ack())
    await listen(one, groupOf('shop.all', [TYPE]), inbox)
    await publish(two, messageOf(TYPE, { id: 'a' }))
    await until(() => inbox.ids.length === 1)
    const admin = await connect({ servers: server.url })
    const manager = await admin.jetstreamManager()
    const [consumer] = await manager.consumers.list('TRUNKLINE_EVENTS').next()
    // A server that writes the consumer's state at that moment removes the consumer and complains about its folder.
    await manager.consumers.delete('TRUNKLINE_EVENTS', consumer?.name ?? '').catch((error: unknown) => expect(String(error)).toContain('directory not empty'))
    await publish(two, messageOf(TYPE, { id: 'b' }))
    await until(() => inbox.ids.length === 2, { deadlineMs: 20_000 })
    expect(inbox.ids).toEqual(['a', 'b'])
    await admin.close()
  })

  test('a deleted stream is made again for the next message', async () => {
    const one = await rig()
    const inbox = new Inbox((delivery) => void delivery.ack())
    await listen(one, groupOf('shop.all', [TYPE]), inbox)
    await publish(one, messageOf(TYPE, { id: 'a' }))
    await until(() => inbox.ids.length === 1)
    const admin = await connect({ servers: server.url })
    await (await admin.jetstreamManager()).streams.delete('TRUNKLINE_EVENTS')
    await publish(one, messageOf(TYPE, { id: 'b' }))
    await until(() => inbox.ids.length === 2, { deadlineMs: 25_000 })
    expect(inbox.ids).toEqual(['a', 'b'])
    await admin.close()
  })

  test('a stream with interest retention is refused, because it acknowledges and drops', async () => {
    const admin = await connect({ servers: server.url })
    const { RetentionPolicy } = await import('nats')
    await (await admin.jetstreamManager()).streams.add({ name: 'TRUNKLINE_EVENTS', subjects: ['trunkline.e.>'], retention: RetentionPolicy.Interest })
    await expect(openRig({ servers: server.url })).rejects.toMatchObject({ code: 'core.option_invalid' })
    await admin.close()
  })

  test('an answer of somebody else does not count as stored', async () => {
    const one = await rig()
    const other = await connect({ servers: server.url })
    other.subscribe('trunkline.e.>', { callback: (_error, message) => void message.respond(Buffer.from('{"stream":"OTHER","seq":1}')) })
    await other.flush()
    await (await other.jetstreamManager()).streams.delete('TRUNKLINE_EVENTS')
    let isStored = false
    const waiting = publish(one, messageOf(TYPE)).then(() => {
      isStored = true
    })
    await other.flush()
    await one.transport.light?.onBroadcast([TYPE], () => undefined) // a round trip of the publisher's own connection
    expect(isStored).toBe(false)
    rigs.splice(rigs.indexOf(one), 1)
    await one.transport.close()
    await expect(waiting).rejects.toMatchObject({ code: 'bus.connection_lost' })
    await other.close()
  })
})

describe('opening', () => {
  test('gives up after its time where nobody listens', async () => {
    const proxy = await tcpProxy(server.url)
    await proxy.close()
    const { host } = new URL(proxy.url)
    const opening = openRig({ servers: proxy.url.replace('//', '//u:hush-hush@'), openTimeoutMs: 700 })
    const error: unknown = await opening.then(() => undefined, (thrown: unknown) => thrown)
    expect(error).toMatchObject({ code: 'bus.connection_lost', details: { problem: expect.stringContaining(`no connection to ${host}: `) } })
    expect(inspect(error)).not.toContain('hush-hush')
  })

  test('gives up after its time where JetStream is not enabled', async () => {
    const plain = await natsServer({ hasJetStream: false })
    await plain.start()
    await expect(openRig({ servers: plain.url, openTimeoutMs: 1_000 })).rejects.toMatchObject({ code: 'bus.connection_lost' })
    await plain.close()
  })

  test('says in its health that an old server can lose messages', async () => {
    const one = await rig()
    expect(one.host.states[0]).toMatchObject({ state: 'up', reason: expect.stringContaining('older than 2.10.26') })
  })
})

describe('secrets and TLS', () => {
  const files = certificates()

  test('works over TLS with a private authority, a client certificate and credentials', async () => {
    const tls = { certFile: files.serverCertFile, keyFile: files.serverKeyFile, caFile: files.caFile }
    const safe = await natsServer({ tls, user: 'shop', password: 'pass word/1' })
    await safe.start()
    const [servers, ca] = [`tls://127.0.0.1:${safe.port}`, readFileSync(files.caFile, 'utf8')]
    const [cert, key] = [readFileSync(files.clientCertFile, 'utf8'), readFileSync(files.clientKeyFile, 'utf8')]
    const login = { servers, user: 'shop', pass: () => 'pass word/1', openTimeoutMs: 1_000 }
    const one = await openRig({ ...login, tls: { ca, cert, key } })
    const inbox = new Inbox((delivery) => void delivery.ack())
    await listen(one, groupOf('shop.all', [TYPE]), inbox)
    await publish(one, messageOf(TYPE))
    await until(() => inbox.ids.length === 1)
    await one.transport.close()
    const foreign = readFileSync(files.foreignCaFile, 'utf8')
    for (const wrong of [{ ca: foreign, cert, key }, { ca }, undefined]) {
      await expect(openRig(wrong === undefined ? login : { ...login, tls: wrong })).rejects.toMatchObject({ code: 'bus.connection_lost' })
    }
    await safe.close()
  })

  test('refuses a server without TLS where TLS was asked for', async () => {
    await expect(openRig({ servers: server.url.replace('nats:', 'tls:'), openTimeoutMs: 700 })).rejects.toMatchObject({ code: 'bus.connection_lost' })
  })

  test('never prints a password', async () => {
    const guarded = await natsServer({ user: 'shop', password: 'hunter2secret' })
    await guarded.start()
    const host = new RecordingHost('shop')
    const good = nats({ servers: guarded.url })
    await good.open(host)
    expect(inspect(good, { depth: 20, showHidden: true })).not.toContain('hunter2secret')
    await good.close()
    const bad = nats({ servers: guarded.url.replace('hunter2secret', 'wrong4secret'), openTimeoutMs: 2_000 })
    const error: unknown = await bad.open(host).catch((thrown: unknown) => thrown)
    expect(error).toMatchObject({ code: 'bus.connection_lost' })
    expect(inspect(error, { depth: 20, showHidden: true }) + JSON.stringify(error) + host.lines.join()).not.toMatch(/hunter2secret|wrong4secret/)
    await guarded.close()
  })
})

describe('both clients', () => {
  for (const client of ['nats', '@nats-io/transport-node'] as const) {
    test(`${client} can be given open, and stays open`, async () => {
      const { connect: open } = client === 'nats' ? await import('nats') : await import('@nats-io/transport-node')
      const connection = await open({ servers: server.url })
      const one = await openRig({ connection })
      const inbox = new Inbox((delivery) => void (delivery.attempt === 1 ? delivery.retry(100) : delivery.ack()))
      await listen(one, groupOf('shop.all', [TYPE]), inbox)
      const sent = messageOf(TYPE, { headers: { note: 'ü' } })
      await publish(one, sent)
      await until(() => inbox.ids.length === 2)
      expect({ ...inbox.at(1).message.headers }).toEqual({ note: 'ü' })
      const replies: string[] = []
      one.transport.light?.onReply((token, reply) => replies.push(`${token} ${reply.kind}`))
      await one.transport.light?.request(messageOf('pricing.quote'), 'token')
      await until(() => replies.length === 1)
      expect(replies).toEqual(['token no-responder'])
      await one.transport.close()
      expect(connection.isClosed()).toBe(false)
      await connection.close()
    })
  }
})
