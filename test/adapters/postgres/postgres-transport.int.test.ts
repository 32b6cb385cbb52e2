import { describe, expect, test } from 'vitest'
import type { Client } from 'pg'
import { postgres, postgresBackend } from '../../../src/adapters/postgres/index.ts'
import type { Delivery } from '../../../src/bus/port.ts'
import { freePort } from '../../servers/free-port.ts'
import { tcpProxy } from '../../servers/tcp-proxy.ts'
import { TransactionPooler } from '../../servers/transaction-pooler.ts'
import { until } from '../../servers/until.ts'
import { postgresRig, storeHost } from './postgres-rig.ts'
import { acknowledge, event, OpenTransport, TestHost } from './postgres-transport-rig.ts'

const rig = postgresRig()

const numbered = (count: number, prefix = 'm'): string[] => Array.from({ length: count }, (_each, index) => `${prefix}${index + 1}`)

async function admin(url: string): Promise<Client & AsyncDisposable> {
  const client = await rig.client(url)
  return Object.assign(client, { [Symbol.asyncDispose]: () => client.end() })
}

async function rowsLeft(client: Client): Promise<number> {
  const { rows } = await client.query('SELECT count(*)::int AS count FROM trunkline.bus_delivery')
  return rows[0].count
}

describe('opening', () => {
  test('fails in time where nobody listens', async () => {
    const { transport } = postgres({ connectionString: `postgres://postgres@127.0.0.1:${await freePort()}/postgres`, openTimeoutMs: 300 })
    await expect(transport.open(new TestHost())).rejects.toMatchObject({ code: 'bus.connection_lost' })
    // It can be tried again, and what was refused is not open.
    await expect(transport.publish(event(), undefined)).rejects.toMatchObject({ code: 'bus.not_running' })
  })

  test('is refused a second time at once, and possible again after closing', async () => {
    const url = await rig.database()
    const opened = await OpenTransport.open({ connectionString: url })
    await expect(opened.transport.open(new TestHost())).rejects.toMatchObject({ code: 'core.invariant_broken' })
    await opened.transport.close()
    await opened.transport.open(opened.host)
    await opened.publish(['again'])
    await opened.transport.close()
  })

  test('makes the tables once although many instances start at the same time', async () => {
    const url = await rig.database()
    const opened = await Promise.all(numbered(5).map(() => OpenTransport.open({ connectionString: url })))
    await opened[0]?.subscribe({}, acknowledge)
    await Promise.all(opened.map((each, index) => each.publish([`by-${index}`])))
    await until(() => opened[0]?.deliveries.length === 5)
    await Promise.all(opened.map(({ transport }) => transport.close()))
    await using client = await admin(url)
    const { rows } = await client.query('SELECT (SELECT count(*) FROM trunkline.bus_instance)::int AS instances, (SELECT count(*) FROM trunkline.bus_member)::int AS members')
    expect(rows).toEqual([{ instances: 0, members: 0 }])
  })

  test('refuses to replay', async () => {
    await using one = await OpenTransport.open({ connectionString: await rig.database() })
    await expect(one.subscribe({ from: 'beginning' })).rejects.toMatchObject({ code: 'bus.unsupported', details: { capability: 'canReplay' } })
  })
})

describe('storing', () => {
  test('keeps one row for each group, and none once all have acknowledged', async () => {
    const url = await rig.database()
    await using one = await OpenTransport.open({ connectionString: url })
    await using client = await admin(url)
    const held: Delivery[] = []
    await one.subscribe({ group: 'tests.first' }, (delivery) => held.push(delivery))
    await one.subscribe({ group: 'tests.second' }, acknowledge)
    await one.publish(numbered(3))
    await until(() => held.length === 3)
    await until(async () => (await rowsLeft(client)) === 3)
    await Promise.all(held.map(async (delivery) => await delivery.ack()))
    expect(await rowsLeft(client)).toBe(0)
  })

  test('stores nothing of a batch twice when one of its messages is refused, and tells its publisher alone', async () => {
    const url = await rig.database()
    await using one = await OpenTransport.open({ connectionString: url })
    await using client = await admin(url)
    await one.subscribe({}, acknowledge)
    await client.query("ALTER TABLE trunkline.bus_delivery ADD CONSTRAINT small CHECK (length(message) < 2000)")
    const outcomes = await Promise.allSettled(
      numbered(9).map(async (id) => await one.transport.publish(event({ id, body: Buffer.alloc(id === 'm5' ? 5_000 : 10) }), undefined)),
    )
    expect(outcomes.map(({ status }) => status)).toEqual(numbered(9).map((id) => (id === 'm5' ? 'rejected' : 'fulfilled')))
    expect(outcomes[4]).toMatchObject({ reason: { code: 'bus.publish_refused', details: { id: 'm5' } } })
    await until(() => one.deliveries.length >= 8)
    expect(one.ids.toSorted()).toEqual(numbered(9).filter((id) => id !== 'm5'))
  })

  test('keeps commands for a group to come, in a table where nobody has handled one', async () => {
    const url = await rig.database()
    await using one = await OpenTransport.open({ connectionString: url })
    await Promise.all(numbered(20).map(async (id) => await one.transport.publish({ kind: 'command', message: event({ id, type: 'tests.do-it' }).message }, undefined)))
    await one.subscribe({ kind: 'command', group: 'tests.do-it', types: ['tests.do-it'] }, acknowledge)
    await until(() => one.deliveries.length === 20)
    expect(new Set(one.ids).size).toBe(20)
  })
})

describe('order of a key', () => {
  test('holds with publishers on many connections, and leaves one delivery of a key ready at a time', async () => {
    const url = await rig.database()
    const publishers = await Promise.all(numbered(4).map(() => OpenTransport.open({ connectionString: url })))
    await using consumer = await OpenTransport.open({ connectionString: url })
    await using client = await admin(url)
    const seen = new Map<string, string[]>()
    const running = new Set<string>()
    let overlaps = 0
    const work = (delivery: Delivery): void => {
      const key = delivery.message.key ?? ''
      if (running.has(key)) overlaps++
      running.add(key)
      seen.set(key, [...seen.get(key) ?? [], delivery.message.id])
      setTimeout(() => {
        running.delete(key)
        void delivery.ack()
      }, Math.random() * 3)
    }
    await consumer.subscribe({ order: 'key', inFlightMax: 32 }, work)
    // Each publisher has keys of its own, in order, and all share one key.
    await Promise.all(publishers.map(async (publisher, index) => {
      for (let n = 1; n <= 60; n++) {
        await Promise.all([publisher.publish([`own-${n}`], { key: `key-${index}` }), publisher.publish([`shared-${index}-${n}`], { key: 'shared' })])
        if (n % 20 !== 0) continue
        const { rows } = await client.query('SELECT lane FROM trunkline.bus_delivery WHERE state = 0 GROUP BY lane HAVING count(*) > 1')
        expect(rows).toEqual([])
      }
    }))
    await until(() => [...seen.values()].flat().length === 480, { deadlineMs: 30_000 })
    expect(overlaps).toBe(0)
    for (const index of [0, 1, 2, 3]) {
      expect(seen.get(`key-${index}`)).toEqual(numbered(60, 'own-'))
      expect(seen.get('shared')?.filter((id) => id.startsWith(`shared-${index}-`))).toEqual(numbered(60, `shared-${index}-`))
    }
    await until(async () => (await rowsLeft(client)) === 0)
    await Promise.all(publishers.map(({ transport }) => transport.close()))
  })

  test('is that of the commits where a transaction stores a message and takes its time', async () => {
    const url = await rig.database()
    const store = postgresBackend({ connectionString: url })
    const { transport } = store
    if (transport === undefined) throw new Error('it is a transport, too')
    await transport.open(new TestHost())
    await store.open(storeHost({ isOwnTransport: true }))
    await using other = await OpenTransport.open({ connectionString: url })
    await using client = await admin(url)
    await other.subscribe({ order: 'key' }, acknowledge)
    const later = Promise.withResolvers<void>()
    const unit = store.transact(async (tx) => {
      await tx.write([{ ...event({ id: 'first', key: 'k' }), shard: 0 }])
      later.resolve()
      // The other publisher waits for the key, or has stored its message already.
      await until(async () => (await client.query("SELECT 1 FROM pg_locks WHERE locktype = 'advisory' AND NOT granted")).rows.length > 0 || other.deliveries.length > 0)
    })
    await later.promise
    await other.publish(['second'], { key: 'k' })
    await unit
    await until(() => other.deliveries.length === 2)
    expect(other.ids).toEqual(['first', 'second'])
    await store.close()
    await transport.close()
  })

  test('goes on where a message is stored while the one before it is acknowledged', async () => {
    const url = await rig.database()
    await using one = await OpenTransport.open({ connectionString: url })
    await using blocker = await admin(url)
    const held: Delivery[] = []
    await one.subscribe({ order: 'key' }, (delivery) => held.push(delivery))
    await one.publish(['first'], { key: 'k' })
    await until(() => held.length === 1)
    await blocker.query('BEGIN')
    await blocker.query('SELECT 1 FROM trunkline.bus_delivery FOR UPDATE')
    const acknowledged = held[0]?.ack()
    const waits = async (count: number): Promise<boolean> => (await blocker.query("SELECT 1 FROM pg_locks WHERE NOT granted")).rows.length >= count
    await until(() => waits(1))
    let isStored = false
    const published = one.publish(['second'], { key: 'k' }).then(() => {
      isStored = true
    })
    await until(async () => isStored || await waits(2))
    await blocker.query('COMMIT')
    await Promise.all([acknowledged, published])
    await until(() => held.length === 2)
    expect(held[1]?.message.id).toBe('second')
    await held[1]?.ack()
  })

  test('begins and ends with what waits when the group changes', async () => {
    const url = await rig.database()
    await using one = await OpenTransport.open({ connectionString: url })
    await (await one.subscribe()).close()
    await one.publish(['a1', 'a2', 'a3'], { key: 'a' })
    const held: Delivery[] = []
    const ordered = await one.subscribe({ order: 'key' }, (delivery) => held.push(delivery))
    await one.publish(['a4'], { key: 'a' })
    await one.publish(['b1'], { key: 'b' })
    await until(() => held.length === 2)
    expect(held.map(({ message }) => message.id).toSorted()).toEqual(['a1', 'b1'])
    await held.find(({ message }) => message.id === 'a1')?.ack()
    await until(() => held.length === 3)
    expect(held[2]?.message.id).toBe('a2')
    await ordered.close()
    const free: string[] = []
    await one.subscribe({ order: 'none' }, (delivery) => {
      free.push(delivery.message.id)
      void delivery.ack()
    })
    await until(() => free.length === 4)
    expect(free.toSorted()).toEqual(['a2', 'a3', 'a4', 'b1'])
  })

  test('is not held by a dead letter of the time before the order', async () => {
    const url = await rig.database()
    await using one = await OpenTransport.open({ connectionString: url })
    const record = { reason: 'bus.rejected', errors: [], attempts: 1, handler: '', service: '', instance: '', at: '' }
    const before = await one.subscribe({}, (delivery) => void delivery.deadLetter(record))
    await one.publish(['dead'], { key: 'a' })
    await until(async () => ((await one.transport.deadLetters?.list({}, { limit: 5 }))?.items.length ?? 0) === 1)
    await before.close()
    const seen: string[] = []
    await one.subscribe({ order: 'key' }, (delivery) => {
      seen.push(delivery.message.id)
      void delivery.ack()
    })
    await one.publish(['a1', 'a2'], { key: 'a' })
    await until(() => seen.length === 2)
    const [letter] = (await one.transport.deadLetters?.list({}, { limit: 5 }))?.items ?? []
    expect(letter?.holdsKey).toBe(false)
    expect(await one.transport.deadLetters?.remove(letter?.id ?? '')).toBe(true)
    expect(await one.transport.deadLetters?.remove(letter?.id ?? '')).toBe(false)
  })
})

describe('instances', () => {
  test('put out one that shows no sign of life; what it does later changes nothing, and it enters again', async () => {
    const url = await rig.database()
    await using proxy = await tcpProxy(url)
    await using slow = await OpenTransport.open({ connectionString: proxy.url, leaseMs: 500 })
    await using other = await OpenTransport.open({ connectionString: url, leaseMs: 500 })
    await using client = await admin(url)
    await slow.subscribe({ inFlightMax: 2 })
    await slow.publish(['m1', 'm2'])
    await until(() => slow.deliveries.length === 2)
    await other.subscribe()
    // As when its machine stood still.
    proxy.halfOpen()
    const late = [slow.deliveries[0]?.ack(), slow.deliveries[1]?.retry(0)]
    await until(() => other.deliveries.length === 2)
    expect(other.deliveries.map(({ isSuspect, attempt }) => [isSuspect, attempt])).toEqual([[true, 1], [true, 1]])
    proxy.heal()
    for (const outcome of late) await outcome
    expect(await rowsLeft(client)).toBe(2)
    await Promise.all(other.deliveries.map(async (delivery) => await delivery.ack()))
    expect(await rowsLeft(client)).toBe(0)
    await other.transport.close()
    await slow.publish(['m3'])
    await until(() => slow.ids.includes('m3'))
    await slow.deliveries.at(-1)?.ack()
    expect(await rowsLeft(client)).toBe(0)
  })

  test('remembers what it holds when the server has forgotten it in a crash', async () => {
    const url = await rig.database()
    await using one = await OpenTransport.open({ connectionString: url })
    await using client = await admin(url)
    const subscription = await one.subscribe({ inFlightMax: 10 })
    await one.publish(numbered(4))
    await until(() => one.deliveries.length === 4)
    // What was claimed last is lost with the server's last moments.
    await client.query("UPDATE trunkline.bus_member SET seqs = '{}'")
    await one.publish(['m5'])
    await until(() => one.deliveries.length === 5)
    expect(one.ids).toEqual(numbered(5))
    const { rows } = await client.query('SELECT cardinality(seqs) AS held FROM trunkline.bus_member')
    expect(rows).toEqual([{ held: 5 }])
    await subscription.close()
  })

  test('count what began although its process says nothing more', async () => {
    const url = await rig.database()
    await using client = await admin(url)
    await using watcher = await OpenTransport.open({ connectionString: url, leaseMs: 500 })
    await (await watcher.subscribe()).close()
    await watcher.publish(['m1'])
    const attempts: string[] = []
    for (const expected of [1, 3, 5]) {
      await using proxy = await tcpProxy(url)
      await using each = await OpenTransport.open({ connectionString: proxy.url, leaseMs: 500 })
      await each.subscribe({ inFlightMax: 1 }, (delivery) => {
        attempts.push(`${delivery.attempt} ${delivery.isSuspect}`)
        if (delivery.isSuspect) void delivery.begin().then((attempt) => attempts.push(`begun ${attempt}`))
      })
      await until(() => attempts.length === expected)
      proxy.halfOpen()
      // The watcher puts it out.
      await until(async () => (await client.query('SELECT 1 FROM trunkline.bus_instance')).rows.length === 1)
      await proxy.close()
    }
    expect(attempts).toEqual(['1 false', '1 true', 'begun 1', '2 true', 'begun 2'])
  })
})

describe('links', () => {
  test('go on after every session of theirs was terminated, and lose nothing', async () => {
    const url = await rig.database()
    await using one = await OpenTransport.open({ connectionString: url })
    await using client = await admin(url)
    const seen = new Set<string>()
    await one.subscribe({}, (delivery) => {
      seen.add(delivery.message.id)
      void delivery.ack()
    })
    const ids = numbered(300)
    let at = 0
    const publishing = Promise.all(numbered(8).map(async () => {
      while (at < ids.length) await one.publish([ids[at++] ?? ''])
    }))
    for (const share of [50, 150, 250]) {
      await until(() => seen.size >= share)
      await client.query('SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()')
    }
    await publishing
    await until(() => ids.every((id) => seen.has(id)))
    // The rig's server has fsync off, of which its health warns.
    await until(() => one.host.state === 'degraded')
    expect(one.host.reports.some(({ state }) => state === 'down')).toBe(true)
  })

  test('gives up a publish when its caller does, and stores nothing of it afterwards', async () => {
    const url = await rig.database()
    await using one = await OpenTransport.open({ connectionString: url })
    await using blocker = await admin(url)
    await one.subscribe({}, acknowledge)
    await blocker.query('BEGIN; LOCK TABLE trunkline.bus_delivery IN ACCESS EXCLUSIVE MODE')
    const controller = new AbortController()
    const first = one.transport.publish(event({ id: 'on its way' }), undefined)
    const second = Promise.resolve().then(() => one.transport.publish(event({ id: 'waiting' }), controller.signal))
    await until(async () => (await blocker.query("SELECT 1 FROM pg_locks WHERE NOT granted")).rows.length > 0)
    controller.abort()
    await expect(second).rejects.toMatchObject({ code: 'bus.connection_lost' })
    await blocker.query('COMMIT')
    await first
    await one.publish(['after'])
    await until(() => one.ids.includes('after'))
    expect(one.ids).toEqual(['on its way', 'after'])
  })
})

describe('pools and poolers', () => {
  test('works over a pool of the caller, which stays open', async () => {
    const url = await rig.database()
    const pool = rig.pool(url, 4)
    {
      await using one = await OpenTransport.open({ pool })
      await using two = await OpenTransport.open({ pool })
      await everything(one, two)
    }
    expect((await pool.query('SELECT 1 AS one')).rows).toEqual([{ one: 1 }])
    await pool.end()
  })

  test('works behind a pooler in transaction mode', async () => {
    await using pooler = await TransactionPooler.start(await rig.database(), 3)
    await using one = await OpenTransport.open({ connectionString: pooler.url, pooler: 'transaction', poolMax: 2 })
    await using two = await OpenTransport.open({ connectionString: pooler.url, pooler: 'transaction', poolMax: 2 })
    await everything(one, two)
  })

  async function everything(one: OpenTransport, two: OpenTransport): Promise<void> {
    const seen: string[] = []
    let failures = 0
    const work = (delivery: Delivery): void => {
      if (delivery.message.id === 'm2' && failures++ < 2) void delivery.retry(5)
      else {
        seen.push(delivery.message.id)
        void delivery.ack()
      }
    }
    await one.subscribe({ order: 'key', inFlightMax: 4 }, work)
    await two.subscribe({ order: 'key', inFlightMax: 4 }, work)
    await two.publish(numbered(20), { key: 'k' })
    await until(() => seen.length >= 20, { deadlineMs: 20_000 })
    expect(seen).toEqual(numbered(20))
    const { light } = two.transport
    await light?.onRequest('tests.ask', ({ message, replyTo }) => void light.reply(replyTo ?? '', { ...message, id: `answer to ${message.id}`, body: Buffer.alloc(20_000, 1) }))
    await light?.onBroadcast(['tests.cry'], (delivery) => two.heard.push(delivery))
    const replies: string[] = []
    one.transport.light?.onReply((token, reply) => replies.push(`${token} ${reply.kind} ${reply.kind === 'reply' ? `${reply.message.id} ${reply.message.body.byteLength}` : ''}`))
    await one.transport.light?.request(event({ id: 'q1', type: 'tests.ask' }).message, 't1')
    await one.transport.light?.request(event({ id: 'q2', type: 'tests.nobody' }).message, 't2')
    await one.transport.light?.broadcast(event({ id: 'b1', type: 'tests.cry' }).message)
    await until(() => replies.length === 2 && two.heard.length === 1)
    expect(replies.toSorted()).toEqual(['t1 reply answer to q1 20000', 't2 no-responder '])
    expect(two.heard.map(({ message }) => message.id)).toEqual(['b1'])
  }
})
