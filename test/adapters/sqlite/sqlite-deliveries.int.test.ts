import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import type { DeadLetterRecord } from '../../../src/bus/port.ts'
import { type Child, Inbox, Workplace, event, group, publish, until } from './sqlite-rig.ts'

let place: Workplace
beforeEach(() => {
  place = new Workplace()
})
afterEach(() => place.clean())

const record: DeadLetterRecord = {
  reason: 'bus.handler_failed', errors: [{ name: 'Error', message: 'no' }], attempts: 5,
  handler: 'a handler', service: 'tests', instance: 'one', at: '2026-01-02T03:04:05.678Z',
}

describe('order by key', () => {
  test('delivers one message of a key at a time, in the order accepted', async () => {
    const transport = await place.transport()
    const inbox = new Inbox()
    await transport.subscribe(group({ order: 'key' }), inbox.sink)
    await publish(transport, event({ id: 'a1', key: 'a' }), event({ id: 'a2', key: 'a' }), event({ id: 'b1', key: 'b' }), event({ id: 'none' }), event({ id: 'a3', key: 'a' }))
    await until(() => inbox.all.length === 3)
    expect(inbox.ids).toStrictEqual(['a1', 'b1', 'none'])
    await inbox.all[0]?.ack()
    await until(() => inbox.all.length === 4)
    expect(inbox.ids[3]).toBe('a2')
    await inbox.all[3]?.ack()
    await until(() => inbox.ids[4] === 'a3')
  })

  test('a retry holds back its key and no other', async () => {
    const transport = await place.transport()
    const inbox = new Inbox()
    await transport.subscribe(group({ order: 'key' }), inbox.sink)
    await publish(transport, event({ id: 'a1', key: 'a' }), event({ id: 'a2', key: 'a' }))
    await (await inbox.next()).retry(150)
    await publish(transport, event({ id: 'b1', key: 'b' }), event({ id: 'a3', key: 'a' }))
    const handled: string[] = []
    while (handled.length < 4) {
      const delivery = await inbox.next()
      handled.push(`${delivery.message.id}/${delivery.attempt}`)
      await delivery.ack()
    }
    expect(handled).toStrictEqual(['b1/1', 'a1/2', 'a2/1', 'a3/1'])
  })

  test('a dead letter holds back its key until it is redriven, and goes before those that waited', async () => {
    const transport = await place.transport()
    const inbox = new Inbox()
    await transport.subscribe(group({ order: 'key' }), inbox.sink)
    await publish(transport, event({ id: 'a1', key: 'a' }), event({ id: 'a2', key: 'a' }))
    await (await inbox.next()).deadLetter(record)
    await publish(transport, event({ id: 'b1', key: 'b' }))
    expect((await inbox.next()).message.id).toBe('b1')
    const page = await transport.deadLetters?.list({}, { limit: 10 })
    expect(page?.items.map((each) => [each.message.id, each.holdsKey])).toStrictEqual([['a1', true]])
    expect(await transport.deadLetters?.redrive(page?.items[0]?.id ?? '')).toBe(true)
    const redriven = await inbox.next()
    expect([redriven.message.id, redriven.attempt, redriven.isRedriven]).toStrictEqual(['a1', 1, true])
    await redriven.ack()
    expect((await inbox.next()).message.id).toBe('a2')
  })

  test('removing a dead letter lets its key go on', async () => {
    const transport = await place.transport()
    const inbox = new Inbox()
    await transport.subscribe(group({ order: 'key' }), inbox.sink)
    await publish(transport, event({ id: 'a1', key: 'a' }), event({ id: 'a2', key: 'a' }))
    await (await inbox.next()).deadLetter(record)
    const page = await transport.deadLetters?.list({}, { limit: 10 })
    expect(await transport.deadLetters?.remove(page?.items[0]?.id ?? '')).toBe(true)
    expect((await inbox.next()).message.id).toBe('a2')
    expect(place.count('SELECT count(*) FROM trunkline_message')).toBe(1)
  })

  test('a group without order ignores keys', async () => {
    const transport = await place.transport()
    const inbox = new Inbox()
    await transport.subscribe(group(), inbox.sink)
    await publish(transport, event({ key: 'a' }), event({ key: 'a' }))
    await until(() => inbox.all.length === 2)
    expect(place.count('SELECT count(*) FROM trunkline_delivery WHERE state = 1')).toBe(2)
  })

  test('holds across processes, also when one of them is killed', async () => {
    const setUp = await place.transport()
    await (await setUp.subscribe(group({ order: 'key' }), () => {})).close()
    const workers = [place.child('work', 'key'), place.child('work', 'key')]
    await Promise.all(workers.map((worker) => worker.says('ready')))
    const sender = place.child('send', '400', '7', 'm')
    // Either may get most of the work: the one that has done some of it is killed.
    const done = (worker: Child): number => worker.said.filter(({ what }) => what === 'ends').length
    await until(() => workers.some((worker) => done(worker) >= 40), 'some work')
    await workers.find((worker) => done(worker) >= 40)?.kill()
    await sender.says('sent')
    await until(() => place.count('SELECT count(*) FROM trunkline_delivery') === 0, 'an empty group')
    const seen = (): number => new Set(workers.flatMap((worker) => worker.said).map((each) => each.id)).size
    // The children's lines come through a pipe, later than what they tell of; one name is that of "ready".
    await until(() => seen() === 401, 'every line')
    const begun = workers.flatMap((worker) => worker.said).filter((each) => each.what === 'begins').toSorted((a, b) => (a.atMs ?? 0) - (b.atMs ?? 0))
    const firstTimes = new Map<string, string[]>()
    for (const { id = '', key = '' } of begun) {
      const ids = firstTimes.get(key) ?? []
      if (!ids.includes(id)) firstTimes.set(key, [...ids, id])
    }
    expect([...firstTimes.values()].flat()).toHaveLength(400)
    for (const ids of firstTimes.values()) expect(ids).toStrictEqual(ids.toSorted())
  })

  test('claims the first of each key without walking over the backlog of one', async () => {
    const transport = await place.transport()
    const subscription = await transport.subscribe(group({ order: 'key' }), () => {})
    await subscription.close()
    await publish(transport, ...Array.from({ length: 3_000 }, () => event({ key: 'busy' })), event({ id: 'other', key: 'other' }))
    expect(place.count('SELECT count(*) FROM trunkline_delivery WHERE state = 0')).toBe(2)
    const database = place.database()
    const plan = database.prepare(`EXPLAIN QUERY PLAN SELECT seq FROM trunkline_delivery INDEXED BY trunkline_delivery_ready WHERE state = 0 AND group_id = 1 AND due_ms = 0 ORDER BY seq LIMIT 9`).all()
    expect(plan.map((row) => row['detail'])).toStrictEqual([expect.stringMatching(/SEARCH .* USING (COVERING )?INDEX trunkline_delivery_ready \(group_id=\? AND due_ms=\?\)/)])
  })
})

describe('suspects', () => {
  test('a delivery of a killed process comes again at once, as a suspect of the same attempt', async () => {
    const transport = await place.transport()
    await (await transport.subscribe(group(), () => {})).close()
    const victim = place.child('hold')
    await victim.says('ready')
    await publish(transport, event({ id: 'caught' }))
    await victim.says('holds')
    const inbox = new Inbox()
    await transport.subscribe(group(), inbox.sink)
    await victim.kill()
    // The default lease is 15 seconds: only a look at the process itself can be that fast.
    const again = await inbox.next(5_000)
    expect([again.message.id, again.attempt, again.isSuspect]).toStrictEqual(['caught', 1, true])
  })

  test('begin survives the death of the process, so that a message that kills its handler is counted', async () => {
    const transport = await place.transport()
    await (await transport.subscribe(group(), () => {})).close()
    await publish(transport, event({ id: 'deadly' }))
    const attempts: (number | undefined)[] = []
    for (let deaths = 0; deaths < 3; deaths++) {
      const victim = place.child('hold', 'begin')
      await victim.says('holds')
      attempts.push(victim.said.find((each) => each.what === 'holds')?.attempt)
      await victim.kill()
    }
    expect(attempts).toStrictEqual([1, 2, 3])
    const inbox = new Inbox()
    await transport.subscribe(group(), inbox.sink)
    const last = await inbox.next()
    expect([last.attempt, last.isSuspect]).toStrictEqual([4, true])
    expect(await last.begin()).toBe(4)
    await last.retry(0)
    const next = await inbox.next()
    expect([next.attempt, next.isSuspect]).toStrictEqual([5, false])
  })
})

test('a delivery of which no attempt was seen to begin keeps its number, however often its process is killed', async () => {
  const transport = await place.transport()
  await (await transport.subscribe(group(), () => {})).close()
  await publish(transport, event({ id: 'neighbour' }))
  const attempts: (number | undefined)[] = []
  for (let deaths = 0; deaths < 3; deaths++) {
    const victim = place.child('hold')
    await victim.says('holds')
    attempts.push(victim.said.find((each) => each.what === 'holds')?.attempt)
    await victim.kill()
  }
  expect(attempts).toStrictEqual([1, 1, 1])
})

test('loses nothing that was stored when the publishing process is killed', async () => {
  const transport = await place.transport()
  const inbox = new Inbox()
  await transport.subscribe(group({ inFlightMax: 500 }), (delivery) => {
    inbox.sink(delivery)
    void delivery.ack()
  })
  for (let round = 0; round < 3; round++) {
    const publisher = place.child('flood')
    await publisher.says('stored', 200)
    await publisher.kill()
    const stored = publisher.said.filter((each) => each.what === 'stored').map((each) => each.id)
    await until(() => {
      const come = new Set(inbox.ids)
      return stored.every((id) => come.has(id ?? ''))
    }, 'every stored message')
  }
  expect(new Set(inbox.ids).size).toBe(inbox.all.length)
  expect(place.database().prepare('PRAGMA integrity_check').get()).toMatchObject({ integrity_check: 'ok' })
})
