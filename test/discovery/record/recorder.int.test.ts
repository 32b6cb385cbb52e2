import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { eventStoreDb } from '../../../src/adapters/eventstoredb/index.ts'
import { memory, memoryBroker } from '../../../src/adapters/memory/index.ts'
import { postgres } from '../../../src/adapters/postgres/index.ts'
import { sqlite } from '../../../src/adapters/sqlite/index.ts'
import { InstanceRecorded, discovery } from '../../../src/discovery/index.ts'
import { type BusOptions, createBus, silentLogger } from '../../../src/index.ts'
import { esdbDouble } from '../../esdb-double/esdb-double.ts'
import { postgresServer } from '../../servers/postgres-server.ts'
import { until } from '../../servers/until.ts'

type AnyStore = ReturnType<typeof sqlite> | ReturnType<typeof postgres> | ReturnType<typeof eventStoreDb>

/** A service with a store value of its own on the shared database. */
function member(name: string, store: AnyStore, more: Pick<BusOptions, 'light'> = {}) {
  const directory = discovery({ instance: `${name}-0`, beatMs: 500, record: { events: store.events } })
  return { directory, store, bus: createBus({ service: { name }, transport: store.transport, outbox: store.outbox, discovery: directory, logger: silentLogger, ...more }) }
}

/** Three instances come, one goes; every one of them tells the same about both times, and one recorder has written each transition once. */
async function recordsOn(open: () => AnyStore, more: () => Pick<BusOptions, 'light'> = () => ({})): Promise<void> {
  const members = ['one', 'two', 'three'].map((name) => member(name, open(), more()))
  const [one, two, three] = members
  if (one === undefined || two === undefined || three === undefined) throw new Error('there are three')
  const up = async ({ directory }: typeof one, atMs: number): Promise<readonly string[]> => (await directory.at(atMs)).all(['up']).map(({ instance }) => instance)
  for (const { bus } of members) await bus.start()
  await until(async () => (await up(one, Date.now())).length === 3, { deadlineMs: 20_000, what: 'three in the record' })
  const three3 = Date.now()
  await three.bus.stop()
  await until(async () => (await up(one, Date.now())).length === 2, { deadlineMs: 20_000, what: 'two in the record' })
  for (const reader of [one, two]) {
    expect(await up(reader, three3)).toEqual(['one-0', 'three-0', 'two-0'])
    expect(await up(reader, Date.now())).toEqual(['one-0', 'two-0'])
    expect((await reader.directory.at(three3)).isSure).toBe(true)
  }
  const changes: string[] = []
  for await (const { data } of one.store.events.read('discovery-record', [InstanceRecorded])) changes.push(`${data.instance.instance} ${data.change}`)
  expect(changes.filter((change) => change === 'three-0 stopped')).toHaveLength(1)
  expect(changes.filter((change) => change.endsWith(' up')).length).toBe(new Set(changes.filter((change) => change.endsWith(' up'))).size)
  await Promise.all([one.bus.stop(), two.bus.stop()])
}

test('on SQLite the record tells who was there', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'trunkline-record-'))
  try {
    await recordsOn(() => sqlite({ file: join(folder, 'shop.db') }))
  } finally {
    rmSync(folder, { recursive: true, force: true })
  }
})

test('on PostgreSQL the record tells who was there', async () => {
  await using database = await postgresServer()
  await database.start()
  await recordsOn(() => postgres({ connectionString: database.url }))
})

test('on EventStoreDB, with another transport for the announcements, the record tells who was there', async () => {
  await using double = await esdbDouble()
  const broker = memoryBroker()
  await recordsOn(() => eventStoreDb({ hosts: `127.0.0.1:${double.port}`, tls: false }), () => ({ light: memory({ broker }) }))
})
