import { copyFileSync, renameSync, rmSync } from 'node:fs'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { Inbox, TestHost, Workplace, event, group, publish, until } from './sqlite-rig.ts'

let place: Workplace
beforeEach(() => {
  place = new Workplace()
})
afterEach(() => place.clean())

const patience = { lockWaitMs: 300 } as const

test('a database that is deleted under a running instance is down, and accepts nothing', async () => {
  const host = new TestHost()
  const transport = await place.transport(patience, host)
  await transport.subscribe(group(), () => {})
  await publish(transport, event())
  rmSync(place.file)
  // Before any pulse: what nobody could ever read again must not be accepted.
  const refused = publish(transport, event())
  await expect(refused).rejects.toMatchObject({ code: 'bus.connection_lost', details: { problem: expect.stringContaining('the database was deleted or moved') } })
  expect(host.state).toBe('down')
  expect(host.reports.at(-1)?.reason).toContain('deleted or moved')
})

test('an idle instance notices it at its pulse', async () => {
  const host = new TestHost()
  // No heartbeat is due for long, so that nothing but the look at the file can tell.
  await place.transport({ ...patience, leaseMs: 3_600_000 }, host)
  rmSync(place.file)
  await until(() => host.state === 'down')
})

test('a database that another one took the place of is down until the old one is back; nothing is lost', async () => {
  const host = new TestHost()
  const transport = await place.transport(patience, host)
  const inbox = new Inbox()
  await transport.subscribe(group(), inbox.sink)
  renameSync(place.file, `${place.file}-old`)
  copyFileSync(`${place.file}-old`, place.file)
  await until(() => host.state === 'down')
  await until(() => host.reports.some(({ reason }) => reason.includes('another database took the place')))
  const kept = transport.publish(event({ id: 'kept' }), new AbortController().signal)
  renameSync(`${place.file}-old`, place.file)
  await kept
  expect((await inbox.next()).message.id).toBe('kept')
  await until(() => host.state === 'up')
})

test('a write-ahead log that is deleted is noticed too', async () => {
  const host = new TestHost()
  const transport = await place.transport(patience, host)
  rmSync(`${place.file}-wal`)
  await expect(publish(transport, event())).rejects.toMatchObject({ code: 'bus.connection_lost' })
  expect(host.reports.at(-1)?.reason).toContain('the write-ahead log was deleted')
})

test('closing does not wait for a file that is gone', async () => {
  const transport = await place.transport({ lockWaitMs: 3_600_000 })
  await transport.subscribe(group(), () => {})
  rmSync(place.file)
  await transport.close()
})

test('a database that the caller has opened is watched over as well', async () => {
  const database = place.database()
  const { sqlite } = await import('../../../src/adapters/sqlite/index.ts')
  const { transport } = sqlite({ database, ...patience })
  await transport.open(new TestHost())
  rmSync(place.file)
  await expect(publish(transport, event())).rejects.toMatchObject({ code: 'bus.connection_lost' })
  await transport.close()
})
