import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { sqliteBackend } from '../../../src/adapters/sqlite/index.ts'
import type { SqliteBackend } from '../../../src/adapters/sqlite/index.ts'
import { Inbox, TestHost, Workplace, event, group, until } from './sqlite-rig.ts'

let place: Workplace
let backend: SqliteBackend
let database: DatabaseSync

beforeEach(async () => {
  place = new Workplace()
  backend = sqliteBackend({ file: place.file, pollMs: 100_000, leaseMs: 300_000 })
  const { clock, random, logger, service, instance, report } = new TestHost()
  await backend.open({ clock, random, logger, service, instance, report, isOwnTransport: false })
  database = place.database()
})
afterEach(async () => {
  await backend.close()
  await place.clean()
})

const row = { kind: 'event', message: event().message, shard: 0 } as const

test('writes with the commit of the caller, and tells who listens', async () => {
  let heard = 0
  backend.onCommitted(() => heard++)
  database.exec('BEGIN; CREATE TABLE theirs (x)')
  await (await backend.adopt(database)).write([row])
  expect((await backend.outbox.stats()).waiting).toBe(0)
  database.exec('COMMIT')
  await until(() => heard >= 1, 'the listener')
  expect((await backend.outbox.stats()).waiting).toBe(1)
})

test('leaves nothing where the caller rolls back', async () => {
  database.exec('BEGIN IMMEDIATE')
  await (await backend.adopt(database)).write([row])
  database.exec('ROLLBACK')
  expect((await backend.outbox.stats()).waiting).toBe(0)
})

test('hands messages to the transport on the same file', async () => {
  await backend.close()
  const { clock, random, logger, service, instance, report } = new TestHost()
  await backend.open({ clock, random, logger, service, instance, report, isOwnTransport: true })
  await backend.transport.open(new TestHost())
  const inbox = new Inbox()
  await backend.transport.subscribe(group(), inbox.sink)
  database.exec('BEGIN')
  await (await backend.adopt(database)).write([row])
  database.exec('COMMIT')
  expect((await inbox.next()).message.id).toBe(row.message.id)
  await backend.transport.close()
})

test('refuses a handle outside a transaction, and what is done after its end', async () => {
  await expect(backend.adopt(database)).rejects.toMatchObject({ code: 'outbox.transaction_missing' })
  database.exec('BEGIN')
  const unit = await backend.adopt(database)
  database.exec('COMMIT')
  await expect(unit.write([row])).rejects.toMatchObject({ code: 'outbox.unit_over' })
})

test('refuses a database on another file, and one of another driver', async () => {
  const other = new DatabaseSync(join(place.directory, 'other.db'))
  other.exec('BEGIN')
  await expect(backend.adopt(other)).rejects.toMatchObject({ code: 'core.option_invalid', details: { expected: 'a database on the file of the store' } })
  other.close()
  const foreign = { prepare: () => undefined, exec: () => undefined, inTransaction: true }
  await expect(backend.adopt(foreign)).rejects.toMatchObject({ code: 'core.option_invalid', details: { expected: 'a database of the same driver that the store uses' } })
})

test('a caller whose transaction cannot get the lock is told of a conflict', async () => {
  const locker = place.database()
  database.exec('PRAGMA busy_timeout = 0; BEGIN')
  const unit = await backend.adopt(database)
  locker.exec('BEGIN IMMEDIATE')
  await expect(unit.write([row])).rejects.toMatchObject({ code: 'store.conflict' })
  locker.exec('ROLLBACK')
})
