import { afterEach, beforeEach, expect, test } from 'vitest'
import { Inbox, Workplace, command, event, group, publish, until } from './sqlite-rig.ts'

let place: Workplace
beforeEach(() => {
  place = new Workplace()
})
afterEach(() => place.clean())

test('a group that becomes ordered puts its backlog in order', async () => {
  const transport = await place.transport()
  await (await transport.subscribe(group(), () => {})).close()
  await publish(transport, event({ id: 'a1', key: 'a' }), event({ id: 'a2', key: 'a' }), event({ id: 'b1', key: 'b' }))
  const inbox = new Inbox()
  await transport.subscribe(group({ order: 'key' }), inbox.sink)
  await until(() => inbox.all.length === 2)
  expect(inbox.ids).toStrictEqual(['a1', 'b1'])
  await inbox.all[0]?.ack()
  await until(() => inbox.ids[2] === 'a2')
})

test('a command sent before anybody subscribed is in order too', async () => {
  const transport = await place.transport()
  await publish(transport, command({ id: 'c1', key: 'a' }), command({ id: 'c2', key: 'a' }))
  const inbox = new Inbox()
  await transport.subscribe(group({ kind: 'command', group: 'tests.do-thing', types: ['tests.do-thing'], order: 'key' }), inbox.sink)
  const first = await inbox.next()
  await publish(transport, command({ id: 'c3', key: 'a' }))
  expect(inbox.ids).toStrictEqual(['c1'])
  await first.ack()
  expect((await inbox.next()).message.id).toBe('c2')
})

test('a group that gives up its order frees what waited', async () => {
  const transport = await place.transport()
  await (await transport.subscribe(group({ order: 'key' }), () => {})).close()
  await publish(transport, event({ key: 'a' }), event({ key: 'a' }), event({ key: 'a' }))
  const inbox = new Inbox()
  await transport.subscribe(group({ order: 'none' }), inbox.sink)
  await until(() => inbox.all.length === 3)
  expect(place.count('SELECT count(*) FROM trunkline_delivery WHERE key IS NOT NULL')).toBe(0)
})

test('a type that the group no longer names is kept for it while an instance of another release runs', async () => {
  const [older, newer] = [await place.transport(), await place.transport()]
  const subscription = await older.subscribe(group({ types: ['tests.thing-happened', 'tests.other-happened'] }), () => {})
  await (await newer.subscribe(group({ types: ['tests.thing-happened'] }), () => {})).close()
  expect(place.count('SELECT count(*) FROM trunkline_route')).toBe(2)
  await subscription.close()
  await newer.subscribe(group({ types: ['tests.thing-happened'] }), () => {})
  expect(place.count('SELECT count(*) FROM trunkline_route')).toBe(1)
})

test('a group stays when its subscriptions end', async () => {
  const transport = await place.transport()
  const [one, two] = [await transport.subscribe(group(), () => {}), await transport.subscribe(group(), () => {})]
  await one.close()
  expect(place.count('SELECT count(*) FROM trunkline_member')).toBe(1)
  await two.close()
  expect(place.count('SELECT count(*) FROM trunkline_member')).toBe(0)
  await publish(transport, event())
  expect(place.count('SELECT count(*) FROM trunkline_delivery')).toBe(1)
})
