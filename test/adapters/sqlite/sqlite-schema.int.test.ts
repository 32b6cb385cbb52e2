import { DatabaseSync } from 'node:sqlite'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { Inbox, Workplace, event, group, publish } from './sqlite-rig.ts'

let place: Workplace
beforeEach(() => {
  place = new Workplace()
})
afterEach(() => place.clean())

test('processes that start at once on a new file all succeed', async () => {
  const children = Array.from({ length: 4 }, () => place.child('start'))
  await Promise.all(children.map((child) => child.says('ready')))
  for (const child of children) child.tell('go')
  await Promise.all(children.map((child) => child.says('started')))
  expect(place.count('SELECT count(*) FROM trunkline_group')).toBe(1)
  expect(place.count('SELECT count(*) FROM trunkline_schema')).toBe(2)
  expect(place.count('SELECT count(*) FROM trunkline_instance')).toBe(0)
})

/** Its disk fails in the middle of the first migration. */
class FailingDatabase extends DatabaseSync {
  static failures = 1

  override exec(sql: string): void {
    const half = sql.indexOf('CREATE TABLE trunkline_route')
    if (half < 0 || FailingDatabase.failures-- === 0) {
      super.exec(sql)
      return
    }
    super.exec(sql.slice(0, half))
    throw Object.assign(new Error('disk I/O error'), { code: 'ERR_SQLITE_ERROR', errcode: 10 })
  }
}

test('a migration that ends half way leaves the file as it was', async () => {
  await place.transport({ driver: FailingDatabase, openTimeoutMs: 3_000 })
  expect(FailingDatabase.failures).toBeLessThanOrEqual(0)
  expect(place.count('SELECT version FROM trunkline_schema')).toBe(1)
})

test('lives beside the tables of others and leaves user_version alone', async () => {
  const database = place.database()
  database.exec("CREATE TABLE orders (id TEXT); INSERT INTO orders VALUES ('o1'); PRAGMA user_version = 42")
  const transport = await place.transport()
  const inbox = new Inbox()
  await transport.subscribe(group(), inbox.sink)
  await publish(transport, event())
  await inbox.next()
  expect(place.count('PRAGMA user_version')).toBe(42)
  expect(database.prepare("SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'trunkline_%' AND name NOT LIKE 'sqlite_%'").all()).toStrictEqual([
    expect.objectContaining({ name: 'orders' }),
  ])
})

test('refuses a file that a newer release has changed', async () => {
  await (await place.transport()).close()
  place.database().exec('UPDATE trunkline_schema SET version = 99')
  await expect(place.transport()).rejects.toMatchObject({ code: 'bus.unsupported', details: { capability: 'version 99 of the tables' } })
})

test('never uses the number of a message twice', async () => {
  const transport = await place.transport()
  const inbox = new Inbox()
  await transport.subscribe(group(), inbox.sink)
  await publish(transport, event())
  const seq = place.count('SELECT max(seq) FROM trunkline_message')
  await (await inbox.next()).ack()
  await publish(transport, event())
  expect(place.count('SELECT max(seq) FROM trunkline_message')).toBeGreaterThan(seq)
})
