import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest'
import { natsServer } from '../../servers/nats-server.ts'
import type { ServerProcess } from '../../servers/server-process.ts'
import { until } from '../../servers/until.ts'
import { groupOf, Inbox, listen, messageOf, openRig, publish, record, type Rig } from './nats-rig.ts'

let server: ServerProcess
const rigs: Rig[] = []
let spaces = 0
let space = ''

async function rig(service = 'shop'): Promise<Rig> {
  const opened = await openRig({ servers: server.url, namespace: space }, service)
  rigs.push(opened)
  return opened
}

beforeAll(async () => {
  server = await natsServer()
  await server.start()
})
afterAll(async () => await server.close())
afterEach(async () => {
  await Promise.all(rigs.splice(0).map(async ({ transport }) => await transport.close()))
  space = `t${++spaces}`
})
space = `t${spaces}`

describe('publish and consume', () => {
  test('carries every attribute, header and byte of a message', async () => {
    const one = await rig()
    const inbox = new Inbox((delivery) => void delivery.ack())
    await listen(one, groupOf('shop.all', ['sales.order-placed']), inbox)
    const sent = messageOf('sales.order-placed', {
      id: 'id with spaces and ü%',
      version: 3,
      key: 'Kunde 7/ö',
      causationId: 'cause',
      deadline: '2026-01-02T03:05:00.000Z',
      tenant: 'acme',
      traceparent: '00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01',
      tracestate: 'a=b',
      hops: 2,
      replyTo: '_INBOX.x',
      headers: { note: ' naïve 100% ', other: 'x' },
      body: Buffer.from('{"a":"ß"}'),
    })
    await publish(one, sent)
    await until(() => inbox.deliveries.length === 1)
    const { message, attempt, isSuspect, isRedriven } = inbox.at(0)
    expect({ ...message, headers: { ...message.headers }, body: Buffer.from(message.body).toString() }).toEqual({ ...sent, body: '{"a":"ß"}' })
    expect({ attempt, isSuspect, isRedriven }).toEqual({ attempt: 1, isSuspect: false, isRedriven: false })
  })

  test('gives each group a copy and shares it among the members of a group', async () => {
    const [one, two] = [await rig(), await rig()]
    const [a1, a2, b1] = [new Inbox((d) => void d.ack()), new Inbox((d) => void d.ack()), new Inbox((d) => void d.ack())]
    await listen(one, groupOf('shop.a', ['sales.order-placed'], { inFlightMax: 4 }), a1)
    await listen(two, groupOf('shop.a', ['sales.order-placed'], { inFlightMax: 4 }), a2)
    await listen(two, groupOf('shop.b', ['sales.order-placed']), b1)
    for (let number = 0; number < 100; number++) await publish(one, messageOf('sales.order-placed'))
    await until(() => a1.ids.length + a2.ids.length === 100 && b1.ids.length === 100)
    expect(new Set([...a1.ids, ...a2.ids]).size).toBe(100)
    expect(a1.ids.length).toBeGreaterThan(0)
    expect(a2.ids.length).toBeGreaterThan(0)
  })

  test('keeps a command for the group to come and an event only for groups that exist or ask for the beginning', async () => {
    const one = await rig()
    await publish(one, messageOf('stock.reserve', { id: 'early' }), 'command')
    await publish(one, messageOf('sales.order-placed', { id: 'old' }))
    const [commands, fresh, replay] = [new Inbox((d) => void d.ack()), new Inbox((d) => void d.ack()), new Inbox((d) => void d.ack())]
    await listen(one, groupOf('stock.reserve', ['stock.reserve'], { kind: 'command' }), commands)
    await listen(one, groupOf('shop.fresh', ['sales.order-placed']), fresh)
    await listen(one, groupOf('shop.replay', ['sales.order-placed'], { from: 'beginning' }), replay)
    await publish(one, messageOf('sales.order-placed', { id: 'new' }))
    await until(() => commands.ids.length === 1 && fresh.ids.length === 1 && replay.ids.length === 2)
    expect([commands.ids, fresh.ids, replay.ids]).toEqual([['early'], ['new'], ['old', 'new']])
  })

  test('never has more deliveries with the sink than the in-flight limit', async () => {
    const one = await rig()
    const inbox = new Inbox()
    await listen(one, groupOf('shop.slow', ['sales.order-placed', 'sales.order-cancelled'], { inFlightMax: 3 }), inbox)
    for (let number = 0; number < 10; number++) {
      await publish(one, messageOf(number % 2 === 0 ? 'sales.order-placed' : 'sales.order-cancelled'))
    }
    for (let settled = 0; settled < 10; settled++) {
      await until(() => inbox.ids.length === Math.min(10, settled + 3))
      await inbox.at(settled).ack()
    }
    expect(new Set(inbox.ids).size).toBe(10)
  })

  test('stores a repeat of a message id of the same source once', async () => {
    const one = await rig()
    const inbox = new Inbox((d) => void d.ack())
    await listen(one, groupOf('shop.all', ['sales.order-placed']), inbox)
    const message = messageOf('sales.order-placed')
    await publish(one, message)
    await publish(one, message)
    await publish(one, { ...message, source: '/other' })
    await publish(one, messageOf('sales.order-placed', { id: 'last' }))
    await until(() => inbox.ids.includes('last'))
    expect(inbox.ids).toEqual([message.id, message.id, 'last'])
  })

  test('refuses a message that is larger than the server accepts', async () => {
    const one = await rig()
    const body = Buffer.alloc(1_100_000, 0x20)
    await expect(publish(one, messageOf('sales.order-placed', { body }))).rejects.toMatchObject({ code: 'bus.publish_refused' })
  })

  test('hands a message of a foreign program over with its defect', async () => {
    const one = await rig()
    const inbox = new Inbox((d) => void d.deadLetter(record))
    await listen(one, groupOf('shop.all', ['sales.order-placed']), inbox)
    const { connect, headers } = await import('nats')
    const foreign = await connect({ servers: server.url })
    const bad = headers()
    bad.set('ce-id', '%FF')
    bad.set('X-Other', 'kept')
    await foreign.jetstream().publish(`${space}.e.0.0.sales.order-placed`, 'no json', { headers: bad })
    await foreign.jetstream().publish(`${space}.e.0.0.sales.order-placed`, 'bare')
    await foreign.close()
    await until(() => inbox.ids.length === 2)
    expect(inbox.at(0).message.defect).toContain('percent-encoded')
    expect(inbox.at(1).message.defect).toContain('CloudEvents')
    const page = await until(async () => {
      const found = await one.transport.deadLetters?.list({}, { limit: 10 })
      return found?.items.length === 2 ? found : undefined
    })
    expect(page?.items.map(({ message }) => Buffer.from(message.body).toString())).toEqual(['no json', 'bare'])
    expect(page?.items[0]?.message.defect).toContain('percent-encoded')
  })

  test('stops new deliveries while paused and goes on afterwards', async () => {
    const one = await rig()
    const inbox = new Inbox((d) => void d.ack())
    const subscription = await listen(one, groupOf('shop.all', ['sales.order-placed']), inbox)
    await publish(one, messageOf('sales.order-placed', { id: 'first' }))
    await until(() => inbox.ids.length === 1)
    await subscription.pause()
    await publish(one, messageOf('sales.order-placed', { id: 'second' }))
    const other = new Inbox((d) => void d.ack())
    await listen(one, groupOf('shop.other', ['sales.order-placed'], { from: 'beginning' }), other)
    await until(() => other.ids.length === 2)
    expect(inbox.ids).toEqual(['first'])
    await subscription.resume()
    await until(() => inbox.ids.length === 2)
    expect(inbox.ids).toEqual(['first', 'second'])
  })
})

describe('retry', () => {
  test('delivers again after the delay with the next attempt number and the same message', async () => {
    const one = await rig()
    const times: number[] = []
    const inbox = new Inbox((delivery) => {
      times.push(performance.now())
      void (delivery.attempt < 3 ? delivery.retry(200) : delivery.ack())
    })
    await listen(one, groupOf('shop.all', ['sales.order-placed']), inbox)
    const sent = messageOf('sales.order-placed', { key: 'k', headers: { note: 'x' } })
    await publish(one, sent)
    await until(() => inbox.ids.length === 3)
    expect(inbox.deliveries.map(({ attempt, isSuspect }) => ({ attempt, isSuspect }))).toEqual([1, 2, 3].map((attempt) => ({ attempt, isSuspect: false })))
    expect({ ...inbox.at(2).message, headers: { ...inbox.at(2).message.headers }, body: '' }).toEqual({ ...sent, body: '' })
    expect((times[1] ?? 0) - (times[0] ?? 0)).toBeGreaterThanOrEqual(199)
  })

  test('keeps delivering healthy messages while more poison than the in-flight limit waits', async () => {
    const one = await rig()
    const healthy: string[] = []
    const inbox = new Inbox((delivery) => {
      if (delivery.message.id.startsWith('poison')) void delivery.retry(60_000)
      else {
        healthy.push(delivery.message.id)
        void delivery.ack()
      }
    })
    await listen(one, groupOf('shop.all', ['sales.order-placed'], { inFlightMax: 4 }), inbox)
    for (let number = 0; number < 40; number++) await publish(one, messageOf('sales.order-placed', { id: `poison-${number}` }))
    await publish(one, messageOf('sales.order-placed', { id: 'healthy' }))
    await until(() => healthy.length === 1)
    expect(inbox.ids).toHaveLength(41)
  })

  test('gives a released message back without spending an attempt', async () => {
    const [one, two] = [await rig(), await rig()]
    const first = new Inbox()
    const subscription = await listen(one, groupOf('shop.all', ['sales.order-placed']), first)
    await publish(one, messageOf('sales.order-placed', { id: 'given-back' }))
    await until(() => first.ids.length === 1)
    await subscription.pause()
    const second = new Inbox((d) => void d.ack())
    await listen(two, groupOf('shop.all', ['sales.order-placed']), second)
    await first.at(0).release()
    await subscription.close()
    await until(() => second.ids.length === 1)
    expect({ attempt: second.at(0).attempt, isSuspect: second.at(0).isSuspect }).toEqual({ attempt: 1, isSuspect: false })
  })
})

describe('suspects', () => {
  test('counts attempts of a message whose holder vanishes each time', async () => {
    const attempts: { readonly attempt: number; readonly isSuspect: boolean }[] = []
    const watcher = await rig()
    await listen(watcher, groupOf('shop.killer', ['sales.order-placed']), new Inbox()).then(async (subscription) => await subscription.close())
    await publish(watcher, messageOf('sales.order-placed'))
    for (let death = 0; death < 4; death++) {
      const victim = await openRig({ servers: server.url, namespace: space })
      const inbox = new Inbox()
      await listen(victim, groupOf('shop.killer', ['sales.order-placed']), inbox)
      await until(() => inbox.ids.length === 1)
      const { attempt, isSuspect } = inbox.at(0)
      attempts.push({ attempt: isSuspect ? await inbox.at(0).begin() : attempt, isSuspect })
      // Closed without settling, as if the process had died.
      await victim.transport.close()
    }
    expect(attempts).toEqual([
      { attempt: 1, isSuspect: false },
      { attempt: 1, isSuspect: true },
      { attempt: 2, isSuspect: true },
      { attempt: 3, isSuspect: true },
    ])
  })

  test('keeps a delivery in hand for longer than the ack wait while its holder lives', async () => {
    const [one, two] = [await rig(), await rig()]
    const [slow, idle] = [new Inbox(), new Inbox((d) => void d.ack())]
    await listen(one, groupOf('shop.slow', ['sales.order-placed']), slow)
    await publish(one, messageOf('sales.order-placed', { id: 'long' }))
    await until(() => slow.ids.length === 1)
    await listen(two, groupOf('shop.slow', ['sales.order-placed']), idle)
    const start = performance.now()
    await until(() => performance.now() - start > 3_000)
    await slow.at(0).ack()
    expect([slow.ids, idle.ids]).toEqual([['long'], []])
  })
})

describe('dead letters', () => {
  test('keeps message and record, lists without change, redrives and removes', async () => {
    const one = await rig()
    const inbox = new Inbox((delivery) => void (delivery.isRedriven ? delivery.ack() : delivery.deadLetter(record)))
    await listen(one, groupOf('shop.all', ['sales.order-placed']), inbox)
    await listen(one, groupOf('shop.reserve', ['shop.reserve'], { kind: 'command' }), inbox)
    const plane = one.transport.deadLetters
    if (plane === undefined) throw new Error('the transport has no dead letters')
    const sent = [1, 2, 3].map((number) => messageOf('sales.order-placed', { id: `dead-${number}`, key: 'k', headers: { note: 'ü' } }))
    for (const message of sent) await publish(one, message)
    await publish(one, messageOf('shop.reserve', { id: 'dead-command' }), 'command')
    const items = await until(async () => {
      const page = await plane.list({}, { limit: 10 })
      return page.items.length === 4 ? page.items : undefined
    })
    expect(items?.slice(0, 3).map(({ message, group, kind }) => ({ id: message.id, group, kind }))).toEqual(
      sent.map(({ id }) => ({ id, group: 'shop.all', kind: 'event' })),
    )
    expect(items?.[0]?.record).toEqual(record)
    expect({ ...items?.[0]?.message, headers: { ...items?.[0]?.message.headers }, body: '' }).toEqual({ ...sent[0], body: '' })
    for (let time = 0; time < 20; time++) expect((await plane.list({}, { limit: 10 })).items).toHaveLength(4)
    expect((await plane.list({ group: 'shop.reserve' }, { limit: 10 })).items.map(({ message }) => message.id)).toEqual(['dead-command'])
    expect((await plane.list({ type: 'sales.order-placed' }, { limit: 10 })).items).toHaveLength(3)
    expect((await plane.list({ reason: 'bus.rejected' }, { limit: 10 })).items).toHaveLength(0)
    const first = await plane.list({ group: 'shop.all' }, { limit: 2 })
    const rest = await plane.list({ group: 'shop.all' }, { limit: 2, after: first.next })
    expect([first.items.length, rest.items.length, rest.next]).toEqual([2, 1, undefined])

    const [a, b, , d] = items ?? []
    expect(await plane.redrive(a?.id ?? '')).toBe(true)
    expect(await plane.redrive(a?.id ?? '')).toBe(false)
    expect(await plane.remove(b?.id ?? '')).toBe(true)
    expect(await plane.remove(b?.id ?? '')).toBe(false)
    expect(await plane.redrive(d?.id ?? '')).toBe(true)
    await until(() => inbox.deliveries.filter(({ isRedriven }) => isRedriven).length === 2)
    const redriven = inbox.deliveries.filter(({ isRedriven }) => isRedriven)
    expect(redriven.map(({ message, attempt }) => ({ id: message.id, attempt })).toSorted((x, y) => x.id.localeCompare(y.id))).toEqual([
      { id: 'dead-1', attempt: 1 },
      { id: 'dead-command', attempt: 1 },
    ])
    expect((await plane.list({}, { limit: 10 })).items.map(({ message }) => message.id)).toEqual(['dead-3'])
    expect(await plane.read('nonsense')).toBeUndefined()
    expect((await plane.read(items?.[2]?.id ?? ''))?.message.id).toBe('dead-3')
  })
})

describe('the light plane', () => {
  test('answers requests, shares them, and tells when nobody answers', async () => {
    const [one, two] = [await rig('asker'), await rig('answerer')]
    const light = one.transport.light
    const other = two.transport.light
    if (light === undefined || other === undefined) throw new Error('no light plane')
    const replies = new Map<string, string>()
    light.onReply((token, reply) => replies.set(token, reply.kind === 'reply' ? Buffer.from(reply.message.body).toString() : reply.kind))
    await light.request(messageOf('pricing.quote'), 'nobody')
    await until(() => replies.get('nobody') === 'no-responder')
    const subscription = await other.onRequest('pricing.quote', ({ message, replyTo }) => {
      void other.reply(replyTo ?? '', messageOf('pricing.quote', { body: Buffer.from(`re:${message.id}`) }))
    })
    await light.request(messageOf('pricing.quote', { id: 'q1' }), 'somebody')
    await until(() => replies.get('somebody') === 're:q1')
    await subscription.close()
    await light.request(messageOf('pricing.quote'), 'again')
    await until(() => replies.get('again') === 'no-responder')
    expect([...replies.keys()]).toEqual(['nobody', 'somebody', 'again'])
  })

  test('brings broadcasts and durable events to every instance, but no commands', async () => {
    const [one, two] = [await rig(), await rig()]
    const seen: string[] = []
    for (const { transport } of [one, two]) await transport.light?.onBroadcast(['sales.order-placed'], ({ message }) => seen.push(message.id))
    await one.transport.light?.broadcast(messageOf('sales.order-placed', { id: 'light' }))
    await publish(one, messageOf('sales.order-placed', { id: 'command' }), 'command')
    await publish(two, messageOf('sales.order-placed', { id: 'durable' }))
    await until(() => seen.length === 4)
    expect(seen.toSorted()).toEqual(['durable', 'durable', 'light', 'light'])
  })

  test('survives a sink that throws', async () => {
    const one = await rig()
    const seen: string[] = []
    await one.transport.light?.onBroadcast(['sales.order-placed'], ({ message }) => {
      seen.push(message.id)
      throw new Error('a sink of the test')
    })
    await one.transport.light?.broadcast(messageOf('sales.order-placed', { id: 'a' }))
    await one.transport.light?.broadcast(messageOf('sales.order-placed', { id: 'b' }))
    await until(() => seen.length === 2)
    await expect(publish(one, messageOf('sales.order-placed'))).resolves.toBeUndefined()
  })
})
