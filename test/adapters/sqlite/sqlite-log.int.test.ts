import { copyFileSync, statSync } from 'node:fs'
import { DatabaseSync } from 'node:sqlite'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { sqlite } from '../../../src/adapters/sqlite/index.ts'
import { TestHost, Workplace, event, group, publish, until } from './sqlite-rig.ts'

let place: Workplace
beforeEach(() => {
  place = new Workplace()
})
afterEach(() => place.clean())

const LIMIT_BYTES = 67_108_864

test('L-07: a reader that does not end makes the log grow, which health tells; when it ends the log is cut', async () => {
  const host = new TestHost()
  const store = sqlite({ file: place.file, synchronous: 'normal' })
  const { transport } = store
  await transport.open(host)
  await (await transport.subscribe(group(), () => {})).close()
  const reader = place.database()
  reader.exec('BEGIN')
  reader.prepare('SELECT count(*) FROM trunkline_message').get()
  const body = Buffer.alloc(1_048_576, 'x')
  for (let count = 0; count < 70; count++) await publish(transport, event({ body }))
  await until(() => host.state === 'degraded')
  expect(host.reports.at(-1)?.reason).toContain('keeps a read transaction open')
  expect(store.logBytes).toBeGreaterThan(LIMIT_BYTES)
  // The log is a state, not a stop.
  await publish(transport, event())
  reader.exec('COMMIT')
  await until(() => host.state === 'up')
  expect(statSync(`${place.file}-wal`).size).toBeLessThan(LIMIT_BYTES)
  expect(store.logBytes).toBeLessThan(LIMIT_BYTES)
  await store.transport.close()
  expect(store.logBytes).toBe(0)
})

test('L-08: VACUUM INTO makes a whole copy while the bus is used; a copy of the database alone lacks what is in the log', async () => {
  const transport = await place.transport()
  await (await transport.subscribe(group(), () => {})).close()
  await publish(transport, event({ id: 'copied' }))
  const backup = `${place.directory}/backup.db`
  place.database().exec(`VACUUM INTO '${backup}'`)
  const copy = new DatabaseSync(backup)
  expect(copy.prepare('SELECT count(*) AS count FROM trunkline_message').get()).toMatchObject({ count: 1 })
  expect(copy.prepare('PRAGMA integrity_check').get()).toMatchObject({ integrity_check: 'ok' })
  copy.close()
  copyFileSync(place.file, `${place.directory}/alone.db`)
  const alone = new DatabaseSync(`${place.directory}/alone.db`)
  expect(alone.prepare('SELECT count(*) AS count FROM sqlite_schema').get()).toMatchObject({ count: 0 })
  alone.close()
})
