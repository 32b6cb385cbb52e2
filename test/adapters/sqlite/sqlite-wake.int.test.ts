import { EventEmitter } from 'node:events'
import { renameSync } from 'node:fs'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { SqliteWake } from '../../../src/adapters/sqlite/sqlite-wake.ts'
import { systemClock } from '../../../src/core/clock.ts'
import type { Clock } from '../../../src/core/clock.ts'
import { Inbox, TestHost, Workplace, event, group, publish, until } from './sqlite-rig.ts'

let place: Workplace
beforeEach(() => {
  place = new Workplace()
})
afterEach(() => place.clean())

test('another process hears of a commit by the wake file, also of one that does not watch it itself', async () => {
  // Polls are an hour apart: nothing but a wake-up can bring the message in time.
  const transport = await place.transport({ pollMs: 600_000, leaseMs: 3_600_000 })
  const inbox = new Inbox()
  await transport.subscribe(group(), inbox.sink)
  const sender = place.child('send', '3', '1', 'm', 'poll')
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

/** What `fs.watch` gives where the file system never tells of a change. */
class DeafWatcher extends EventEmitter {
  close(): void {}

  ref(): this {
    return this
  }

  unref(): this {
    return this
  }
}

test('a watcher counts once an own touch has come back, and one that hears nothing is given up', async () => {
  const lost: unknown[] = []
  const options = { isWatching: true, onTouched: () => {}, onLost: (reason: unknown) => lost.push(reason) }
  const hearing = new SqliteWake(join(place.directory, 'hearing'), options)
  hearing.watch()
  expect(hearing.isHearing).toBe(false)
  await until(() => hearing.isHearing)
  for (let count = 0; count < 5; count++) hearing.check()
  expect(hearing.wantsWatching).toBe(false)
  hearing.close()
  const deaf = new SqliteWake(join(place.directory, 'deaf'), { ...options, watchFile: Object.assign(() => new DeafWatcher(), { __promisify__: undefined }) })
  deaf.watch()
  deaf.check()
  deaf.check()
  expect(lost).toStrictEqual([])
  deaf.check()
  expect(lost).toStrictEqual(['the system tells of no change'])
  expect(deaf.wantsWatching).toBe(true)
  deaf.close()
})

/** Writes down every timer that is set. */
class CountingHost extends TestHost {
  readonly delaysMs: number[] = []
  override readonly clock: Clock = {
    ...systemClock,
    setTimer: (delayMs, callback, options) => {
      this.delaysMs.push(delayMs)
      return systemClock.setTimer(delayMs, callback, options)
    },
  }
}

test.each([true, false])('an idle instance sets one timer a poll, however many groups it has (watching: %s)', async (watch) => {
  const host = new CountingHost()
  const transport = await place.transport({ watch, pollMs: 250 }, host)
  for (let number = 0; number < 10; number++) await transport.subscribe(group({ group: `tests.group-${number}` }), () => {})
  await transport.light?.onRequest('tests.price-quoted', () => {})
  // What it takes to become idle: the watcher has been heard, or looking often has become rare again.
  await until(() => host.delaysMs.at(-1) === 250)
  host.delaysMs.length = 0
  await until(() => host.delaysMs.length === 4)
  expect(host.delaysMs).toStrictEqual([250, 250, 250, 250])
})
