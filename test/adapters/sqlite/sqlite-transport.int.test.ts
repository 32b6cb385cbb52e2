import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import type { Delivery } from '../../../src/bus/port.ts'
import { sqlite } from '../../../src/adapters/sqlite/index.ts'
import { fullWireMessage } from '../wire-messages.ts'
import { Inbox, TestHost, Workplace, command, event, group, publish, until } from './sqlite-rig.ts'

let place: Workplace
beforeEach(() => {
  place = new Workplace()
})
afterEach(() => place.clean())

describe('publish and subscribe', () => {
  test('delivers what was published, attributes and bytes unchanged', async () => {
    const transport = await place.transport()
    const inbox = new Inbox()
    await transport.subscribe(group(), inbox.sink)
    const message = fullWireMessage({ body: Buffer.from([0, 1, 2, 255, 254]) })
    await publish(transport, { kind: 'event', message })
    const delivery = await inbox.next()
    expect({ ...delivery.message, body: Buffer.from(delivery.message.body) }).toStrictEqual(message)
    expect([delivery.attempt, delivery.isSuspect, delivery.isRedriven]).toStrictEqual([1, false, false])
  })

  test('gives every group a copy and each message to one subscription of a group', async () => {
    const one = await place.transport()
    const two = await place.transport()
    const [a1, a2, b] = [new Inbox(), new Inbox(), new Inbox()]
    const settle = (inbox: Inbox) => (delivery: Delivery) => {
      inbox.sink(delivery)
      void delivery.ack()
    }
    await one.subscribe(group({ group: 'tests.a' }), settle(a1))
    await two.subscribe(group({ group: 'tests.a' }), settle(a2))
    await two.subscribe(group({ group: 'tests.b' }), settle(b))
    const messages = Array.from({ length: 200 }, () => event())
    await publish(one, ...messages)
    await until(() => a1.all.length + a2.all.length >= 200 && b.all.length >= 200)
    expect([...a1.ids, ...a2.ids].toSorted()).toStrictEqual(messages.map((each) => each.message.id).toSorted())
    expect(b.ids.toSorted()).toStrictEqual(messages.map((each) => each.message.id).toSorted())
    await until(() => place.count('SELECT count(*) FROM trunkline_message') === 0, 'an empty file')
  })

  test('keeps events for a group while no instance runs, and drops those that no group wants', async () => {
    const first = await place.transport()
    await publish(first, event({ id: 'before' }))
    const subscription = await first.subscribe(group(), () => {})
    await subscription.close()
    await publish(first, event({ id: 'while-away' }), event({ id: 'other-type', type: 'tests.other-happened' }))
    await first.close()
    const inbox = new Inbox()
    const second = await place.transport()
    await second.subscribe(group(), inbox.sink)
    expect((await inbox.next()).message.id).toBe('while-away')
    expect(place.count('SELECT count(*) FROM trunkline_message')).toBe(1)
  })

  test('keeps a command that nobody has ever subscribed to', async () => {
    const transport = await place.transport()
    await publish(transport, command({ id: 'early' }))
    const inbox = new Inbox()
    await transport.subscribe(group({ kind: 'command', group: 'tests.do-thing', types: ['tests.do-thing'] }), inbox.sink)
    expect((await inbox.next()).message.id).toBe('early')
  })

  test('keeps an event group and a command of the same name apart', async () => {
    const transport = await place.transport()
    const inbox = new Inbox()
    await transport.subscribe(group({ group: 'tests.do-thing' }), inbox.sink)
    await publish(transport, command({ id: 'a-command' }), event({ id: 'an-event' }))
    expect((await inbox.next()).message.id).toBe('an-event')
    expect(inbox.all).toHaveLength(1)
  })

  test('holds at most inFlightMax deliveries with the sink', async () => {
    const transport = await place.transport()
    const inbox = new Inbox()
    await transport.subscribe(group({ inFlightMax: 3 }), inbox.sink)
    await publish(transport, ...Array.from({ length: 10 }, () => event()))
    await until(() => inbox.all.length === 3)
    await inbox.all[0]?.ack()
    await until(() => inbox.all.length === 4)
    expect(place.count('SELECT count(*) FROM trunkline_delivery WHERE state = 1')).toBe(3)
  })

  test('fills a window that is larger than one claim', async () => {
    // Polls are far apart, so that none of them helps.
    const transport = await place.transport({ pollMs: 600_000, leaseMs: 3_600_000 })
    await (await transport.subscribe(group(), () => {})).close()
    await publish(transport, ...Array.from({ length: 1_200 }, () => event()))
    const inbox = new Inbox()
    await transport.subscribe(group({ inFlightMax: 1_000 }), inbox.sink)
    await until(() => inbox.all.length === 1_000)
    expect(place.count('SELECT count(*) FROM trunkline_delivery WHERE state = 0')).toBe(200)
  })
})

describe('outcomes', () => {
  test('redelivers a failed message with the next attempt number, and not before the delay is over', async () => {
    const transport = await place.transport()
    const inbox = new Inbox()
    await transport.subscribe(group(), inbox.sink)
    await publish(transport, event())
    const failedAtMs = Date.now()
    await (await inbox.next()).retry(300)
    const second = await inbox.next()
    expect(Date.now() - failedAtMs).toBeGreaterThanOrEqual(300)
    expect([second.attempt, second.isSuspect]).toStrictEqual([2, false])
    await second.retry(0)
    expect((await inbox.next()).attempt).toBe(3)
  })

  test('keeps the attempt number and the due time in the file', async () => {
    const first = await place.transport()
    const inbox = new Inbox()
    const subscription = await first.subscribe(group(), inbox.sink)
    await publish(first, event())
    await (await inbox.next()).retry(200)
    await subscription.close()
    await first.close()
    const second = await place.transport()
    const later = new Inbox()
    await second.subscribe(group(), later.sink)
    expect((await later.next()).attempt).toBe(2)
  })

  test('gives a released message back without spending an attempt', async () => {
    const transport = await place.transport()
    const inbox = new Inbox()
    await transport.subscribe(group(), inbox.sink)
    await publish(transport, event())
    await (await inbox.next()).release()
    const again = await inbox.next()
    expect([again.attempt, again.isSuspect]).toStrictEqual([1, false])
  })

  test('lets healthy messages pass while more poison is delayed than the window holds', async () => {
    const transport = await place.transport()
    const inbox = new Inbox()
    await transport.subscribe(group({ inFlightMax: 4 }), (delivery) => {
      if (delivery.message.type === 'tests.thing-happened' && delivery.message.id.startsWith('poison')) void delivery.retry(60_000)
      else inbox.sink(delivery)
    })
    await publish(transport, ...Array.from({ length: 20 }, (_, number) => event({ id: `poison-${number}` })), event({ id: 'healthy' }))
    expect((await inbox.next()).message.id).toBe('healthy')
  })

  test('takes only the first outcome of a delivery', async () => {
    const transport = await place.transport()
    const inbox = new Inbox()
    await transport.subscribe(group(), inbox.sink)
    await publish(transport, event())
    const delivery = await inbox.next()
    await delivery.ack()
    await delivery.retry(0)
    expect(place.count('SELECT count(*) FROM trunkline_delivery')).toBe(0)
  })
})

describe('pause, resume and close', () => {
  test('delivers nothing while paused and goes on afterwards', async () => {
    const transport = await place.transport()
    const inbox = new Inbox()
    const subscription = await transport.subscribe(group(), inbox.sink)
    await subscription.pause()
    await publish(transport, event())
    await until(() => place.count('SELECT count(*) FROM trunkline_delivery WHERE state = 0') === 1)
    expect(inbox.all).toHaveLength(0)
    await subscription.resume()
    await inbox.next()
  })

  test('hands unsettled deliveries to others as suspects, and late outcomes change nothing', async () => {
    const transport = await place.transport()
    const inbox = new Inbox()
    const subscription = await transport.subscribe(group(), inbox.sink)
    await publish(transport, event())
    const unsettled = await inbox.next()
    await subscription.close()
    const other = new Inbox()
    await transport.subscribe(group(), other.sink)
    const again = await other.next()
    expect([again.attempt, again.isSuspect]).toStrictEqual([1, true])
    await unsettled.ack()
    expect(place.count('SELECT count(*) FROM trunkline_delivery WHERE state = 1')).toBe(1)
    await again.ack()
    expect(place.count('SELECT count(*) FROM trunkline_delivery')).toBe(0)
  })

  test('stores what was published right before close', async () => {
    const transport = await place.transport()
    const subscription = await transport.subscribe(group(), () => {})
    await subscription.close()
    const published = publish(transport, event(), event())
    await transport.close()
    await published
    expect(place.count('SELECT count(*) FROM trunkline_message')).toBe(2)
    expect(place.count('SELECT count(*) FROM trunkline_instance')).toBe(0)
  })

  test('can be opened again after close, and not twice at once', async () => {
    const { transport } = sqlite({ file: place.file })
    await transport.open(new TestHost())
    await expect(transport.open(new TestHost())).rejects.toMatchObject({ code: 'core.invariant_broken' })
    await transport.close()
    await expect(publish(transport, event())).rejects.toMatchObject({ code: 'bus.not_running' })
    await transport.open(new TestHost())
    await publish(transport, event())
    await transport.close()
  })
})

test('refuses to replay what was published before a group existed', async () => {
  const transport = await place.transport()
  expect(transport.capabilities.canReplay).toBe(false)
  await expect(transport.subscribe(group({ from: 'beginning' }), () => {})).rejects.toMatchObject({
    code: 'bus.unsupported',
    details: { adapter: 'sqlite', capability: 'canReplay' },
  })
})
