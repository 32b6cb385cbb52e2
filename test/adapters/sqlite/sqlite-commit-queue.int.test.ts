import { DatabaseSync } from 'node:sqlite'
import { monitorEventLoopDelay } from 'node:perf_hooks'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { sqlite } from '../../../src/adapters/sqlite/index.ts'
import { Inbox, TestHost, Workplace, event, group, publish, until } from './sqlite-rig.ts'

let place: Workplace
beforeEach(() => {
  place = new Workplace()
})
afterEach(() => place.clean())

/** A database of the test whose commits are counted. */
class CountingDatabase extends DatabaseSync {
  commits = 0

  override prepare(sql: string): ReturnType<DatabaseSync['prepare']> {
    const statement = super.prepare(sql)
    if (sql === 'COMMIT') {
      const run = statement.run.bind(statement)
      statement.run = () => {
        this.commits++
        return run()
      }
    }
    return statement
  }
}

describe('group commit', () => {
  test('stores what is published at the same time in one transaction', async () => {
    const database = new CountingDatabase(place.file)
    const { transport } = sqlite({ database })
    await transport.open(new TestHost())
    await (await transport.subscribe(group(), () => {})).close()
    const before = database.commits
    await publish(transport, ...Array.from({ length: 64 }, () => event()))
    // One for the publishes; a heartbeat may have come between.
    expect(database.commits - before).toBeLessThanOrEqual(2)
    expect(place.count('SELECT count(*) FROM trunkline_message')).toBe(64)
    await transport.close()
    database.close()
  })

  test('resolves no publish before its commit', async () => {
    const transport = await place.transport()
    await (await transport.subscribe(group(), () => {})).close()
    await publish(transport, event())
    expect(place.count('SELECT count(*) FROM trunkline_message')).toBe(1)
  })

  test('refuses the one message that cannot be stored and stores its neighbours', async () => {
    const transport = await place.transport()
    await (await transport.subscribe(group(), () => {})).close()
    place.database().exec(`CREATE TRIGGER refuse BEFORE INSERT ON trunkline_message WHEN NEW.attributes LIKE '%"bad"%' BEGIN SELECT RAISE(ABORT, 'not this one'); END`)
    const outcomes = await Promise.allSettled([event(), event({ id: 'bad' }), event()].map((each) => publish(transport, each)))
    expect(outcomes.map((each) => each.status)).toStrictEqual(['fulfilled', 'rejected', 'fulfilled'])
    expect(outcomes[1]).toMatchObject({ reason: { code: 'bus.publish_refused', details: { id: 'bad' } } })
    expect(place.count('SELECT count(*) FROM trunkline_message')).toBe(2)
  })

  test('keeps the order in which messages were given', async () => {
    const transport = await place.transport()
    await (await transport.subscribe(group(), () => {})).close()
    await publish(transport, ...Array.from({ length: 1_500 }, (_, number) => event({ id: `m-${String(number).padStart(4, '0')}` })))
    const ids = place.database().prepare("SELECT attributes ->> 0 AS id FROM trunkline_message ORDER BY seq").all().map((row) => row['id'])
    expect(ids).toStrictEqual(Array.from({ length: 1_500 }, (_, number) => `m-${String(number).padStart(4, '0')}`))
  })
})

describe('a file locked by another process', () => {
  test('keeps the event loop free, and stores everything when the lock is gone', async () => {
    const transport = await place.transport()
    const inbox = new Inbox()
    await transport.subscribe(group(), inbox.sink)
    const locker = place.child('lock')
    await locker.says('ready')
    const lockMs = 2_500
    locker.tell(`${lockMs}`)
    await locker.says('locked')
    const delay = monitorEventLoopDelay({ resolution: 5 })
    delay.enable()
    // What blocks the loop before the first sample would go unseen.
    await until(() => delay.count > 0)
    const published = publish(transport, ...Array.from({ length: 10 }, () => event()))
    await locker.says('unlocked')
    delay.disable()
    await published
    await until(() => inbox.all.length === 10)
    // L-05: no single wait takes as long as the lock is held. How long one takes is up to the machine.
    expect(delay.max / 1e6).toBeLessThan(lockMs / 2)
  })

  test('fails a publish with the cause when the lock stays, and goes on afterwards', async () => {
    const host = new TestHost()
    const transport = await place.transport({ lockWaitMs: 300 }, host)
    const inbox = new Inbox()
    await transport.subscribe(group(), inbox.sink)
    const database = place.database()
    database.exec('BEGIN IMMEDIATE')
    await expect(publish(transport, event({ id: 'refused' }))).rejects.toMatchObject({
      code: 'bus.connection_lost',
      cause: { code: 'ERR_SQLITE_ERROR', errcode: 5 },
    })
    expect(host.state).toBe('down')
    database.exec('ROLLBACK')
    // Nothing waits to be stored: the transport finds out by itself.
    await until(() => host.state === 'up')
    await publish(transport, event({ id: 'stored' }))
    expect((await inbox.next()).message.id).toBe('stored')
  })

  test('keeps outcomes until they can be written', async () => {
    const transport = await place.transport({ lockWaitMs: 100 })
    const inbox = new Inbox()
    await transport.subscribe(group(), inbox.sink)
    await publish(transport, event())
    const delivery = await inbox.next()
    const database = place.database()
    database.exec('BEGIN IMMEDIATE')
    const acked = delivery.ack()
    await expect(publish(transport, event({ id: 'meanwhile' }))).rejects.toMatchObject({ code: 'bus.connection_lost' })
    database.exec('ROLLBACK')
    await acked
    expect(place.count('SELECT count(*) FROM trunkline_delivery')).toBe(0)
  })

  test('a subscription closed meanwhile hands its deliveries back when the lock is gone', async () => {
    const transport = await place.transport({ lockWaitMs: 50 })
    const inbox = new Inbox()
    const subscription = await transport.subscribe(group(), inbox.sink)
    await publish(transport, event())
    await inbox.next()
    const database = place.database()
    database.exec('BEGIN IMMEDIATE')
    const closed = subscription.close()
    // Several times as long as other operations are tried.
    for (let times = 0; times < 4; times++) await expect(publish(transport, event())).rejects.toMatchObject({ code: 'bus.connection_lost' })
    database.exec('ROLLBACK')
    await closed
    await until(() => place.count('SELECT count(*) FROM trunkline_delivery WHERE state = 0') === 1)
    expect(place.count('SELECT count(*) FROM trunkline_member')).toBe(0)
  })

  test('forgets a message whose publisher has given up', async () => {
    const transport = await place.transport()
    await (await transport.subscribe(group(), () => {})).close()
    const database = place.database()
    database.exec('BEGIN IMMEDIATE')
    const giveUp = new AbortController()
    const published = transport.publish(event(), giveUp.signal)
    giveUp.abort()
    await expect(published).rejects.toMatchObject({ code: 'bus.connection_lost' })
    database.exec('ROLLBACK')
    await publish(transport, event({ id: 'the next one' }))
    expect(place.count('SELECT count(*) FROM trunkline_message')).toBe(1)
    await expect(transport.publish(event(), AbortSignal.abort())).rejects.toMatchObject({ code: 'bus.connection_lost' })
  })
})

describe('a file that cannot be used', () => {
  test('a full disk is a link that is down: messages are kept, deliveries stop, and both go on when there is room', async () => {
    const database = new DatabaseSync(place.file)
    const host = new TestHost()
    const { transport } = sqlite({ database })
    await transport.open(host)
    const inbox = new Inbox()
    await transport.subscribe(group(), inbox.sink)
    await publish(transport, event({ id: 'before' }))
    const before = await inbox.next()
    const pages = Number(Object.values(database.prepare('PRAGMA page_count').get() ?? {})[0])
    database.exec(`PRAGMA max_page_count = ${pages}`)
    const published = transport.publish(event({ id: 'big', body: Buffer.alloc(200_000) }), new AbortController().signal)
    await until(() => host.state === 'down')
    expect(host.reports.at(-1)?.reason).toContain('full')
    expect(inbox.all).toHaveLength(1)
    database.exec('PRAGMA max_page_count = 1073741823')
    await published
    expect((await inbox.next()).message.id).toBe('big')
    await until(() => host.state === 'up')
    await before.ack()
    await transport.close()
    database.close()
  })

  test('a database that turns read-only fails no message', async () => {
    const database = new DatabaseSync(place.file)
    const host = new TestHost()
    const { transport } = sqlite({ database })
    await transport.open(host)
    const inbox = new Inbox()
    await transport.subscribe(group(), inbox.sink)
    database.exec('PRAGMA query_only = 1')
    const published = transport.publish(event({ id: 'kept' }), new AbortController().signal)
    await until(() => host.state === 'down')
    database.exec('PRAGMA query_only = 0')
    await published
    expect((await inbox.next()).message.id).toBe('kept')
    await transport.close()
    database.close()
  })
})

test('waits while the caller has a transaction open on a shared connection', async () => {
  const database = new DatabaseSync(place.file)
  const { transport } = sqlite({ database })
  await transport.open(new TestHost())
  await (await transport.subscribe(group(), () => {})).close()
  database.exec('BEGIN IMMEDIATE; CREATE TABLE theirs (x)')
  const published = publish(transport, event())
  await new Promise<void>((resolve) => {
    setImmediate(() => resolve())
  })
  expect(place.count('SELECT count(*) FROM trunkline_message')).toBe(0)
  database.exec('ROLLBACK')
  await published
  expect(place.count('SELECT count(*) FROM trunkline_message')).toBe(1)
  expect(place.count("SELECT count(*) FROM sqlite_master WHERE name = 'theirs'")).toBe(0)
  await transport.close()
  expect(database.isOpen).toBe(true)
  database.close()
})
