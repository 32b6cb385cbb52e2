import { renameSync } from 'node:fs'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { Inbox, TestHost, Workplace, event, group, publish, until } from './sqlite-rig.ts'

let place: Workplace
beforeEach(() => {
  place = new Workplace()
})
afterEach(() => place.clean())

test('another process hears of a commit by the wake file', async () => {
  // Polls are an hour apart: nothing but a wake-up can bring the message in time.
  const transport = await place.transport({ pollMs: 600_000, leaseMs: 3_600_000 })
  const inbox = new Inbox()
  await transport.subscribe(group(), inbox.sink)
  const sender = place.child('send', '3', '1', 'm')
  await sender.says('sent')
  await until(() => inbox.all.length === 3)
  expect(inbox.ids).toStrictEqual(['m-00000', 'm-00001', 'm-00002'])
})

test('without a watcher, polling brings the messages of other processes', async () => {
  const transport = await place.transport({ watch: false })
  const inbox = new Inbox()
  await transport.subscribe(group(), inbox.sink)
  const worker = place.child('work', 'poll')
  await worker.says('ready')
  const sender = place.child('send', '20', '20', 'm')
  await sender.says('sent')
  await until(() => inbox.all.length + worker.said.filter((each) => each.what === 'begins').length === 20)
  expect(inbox.all.length).toBeLessThanOrEqual(20)
})

test('a wake file that is moved away is a degradation, not a loss', async () => {
  const host = new TestHost()
  const transport = await place.transport({}, host)
  const inbox = new Inbox()
  await transport.subscribe(group(), inbox.sink)
  renameSync(`${place.file}-wake`, `${place.file}-elsewhere`)
  await until(() => host.state === 'degraded')
  const sender = place.child('send', '1', '1', 'm')
  await sender.says('sent')
  expect((await inbox.next()).message.id).toBe('m-00000')
})

test('an instance that is alone needs nobody', async () => {
  const transport = await place.transport({ pollMs: 600_000, leaseMs: 3_600_000 })
  const inbox = new Inbox()
  await transport.subscribe(group({ inFlightMax: 1 }), inbox.sink)
  await publish(transport, event(), event())
  await (await inbox.next()).retry(50)
  await (await inbox.next()).ack()
  expect((await inbox.next()).attempt).toBe(2)
})
