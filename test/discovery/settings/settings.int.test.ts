import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { z } from 'zod'
import { eventStoreDb } from '../../../src/adapters/eventstoredb/index.ts'
import { memory, memoryBroker } from '../../../src/adapters/memory/index.ts'
import { nats } from '../../../src/adapters/nats/index.ts'
import { postgres } from '../../../src/adapters/postgres/index.ts'
import { sqlite } from '../../../src/adapters/sqlite/index.ts'
import { type BusOptions, createBus, silentLogger } from '../../../src/index.ts'
import { setting, settings } from '../../../src/discovery/index.ts'
import { esdbDouble } from '../../esdb-double/esdb-double.ts'
import { natsServer } from '../../servers/nats-server.ts'
import { postgresServer } from '../../servers/postgres-server.ts'
import { until } from '../../servers/until.ts'

const Policy = setting('pricing.policy', { schema: z.object({ marginPct: z.number() }), default: { marginPct: 20 } })

/** A service of its own name with its own store value on the same database; without a store it follows its peers. */
function member(name: string, store: ReturnType<typeof sqlite> | ReturnType<typeof postgres> | undefined, transport: BusOptions['transport']) {
  const one = settings({ settings: [Policy], ...(store === undefined ? {} : { events: store.events }) })
  return { settings: one, bus: createBus({ service: { name }, transport, settings: one, logger: silentLogger, ...(store === undefined ? {} : { outbox: store.outbox }) }) }
}

async function followsTo(members: readonly { readonly settings: ReturnType<typeof settings> }[], marginPct: number): Promise<void> {
  await until(() => members.every((one) => one.settings.get(Policy).marginPct === marginPct), { deadlineMs: 10_000, what: `margins of ${marginPct}` })
}

test('on PostgreSQL alone, and with SQLite beside NATS, a change reaches who runs, who joins late and who has no store', async () => {
  await using server = await natsServer()
  await using database = await postgresServer()
  await Promise.all([server.start(), database.start()])
  const folder = mkdtempSync(join(tmpdir(), 'trunkline-settings-'))
  try {
    const kinds = {
      postgres: { store: () => postgres({ connectionString: database.url }), transport: (store: unknown) => store as BusOptions['transport'], apart: () => postgres({ connectionString: database.url }) },
      'sqlite beside nats': { store: () => sqlite({ file: join(folder, 'shop.db') }), transport: () => nats({ servers: server.url }), apart: () => nats({ servers: server.url }) },
    }
    for (const [kind, { store, transport, apart }] of Object.entries(kinds)) {
      const [first, second] = [store(), store()]
      const [one, two, edge] = [member('one', first, transport(first)), member('two', second, transport(second)), member('edge', undefined, apart())]
      for (const { bus } of [one, two, edge]) await bus.start()
      expect([kind, await one.settings.set(Policy, { marginPct: 31 })]).toEqual([kind, 0])
      await followsTo([one, two, edge], 31)
      await two.settings.set(Policy, { marginPct: 32 })
      await followsTo([one, two, edge], 32)
      const late = store()
      const [third, lateEdge] = [member('three', late, transport(late)), member('late-edge', undefined, apart())]
      for (const { bus } of [third, lateEdge]) await bus.start()
      expect([kind, third.settings.get(Policy), lateEdge.settings.get(Policy)]).toEqual([kind, { marginPct: 32 }, { marginPct: 32 }])
      await third.settings.rollback(Policy, 0)
      await followsTo([one, two, third, edge, lateEdge], 31)
      expect([kind, ...(await one.settings.history(Policy)).map(({ value }) => value)]).toEqual([kind, { marginPct: 31 }, { marginPct: 32 }, { marginPct: 31 }])
      await Promise.all([one, two, edge, third, lateEdge].map(({ bus }) => bus.stop()))
    }
  } finally {
    rmSync(folder, { recursive: true, force: true })
  }
}, 120_000)

/** A service on EventStoreDB; with a broker, changes are told over it. */
function esdbMember(port: number, name: string, broker?: ReturnType<typeof memoryBroker>) {
  const store = eventStoreDb({ hosts: `127.0.0.1:${port}`, tls: false })
  const one = settings({ settings: [Policy], events: store.events, refreshMs: broker === undefined ? 200 : 60_000 })
  return { settings: one, bus: createBus({ service: { name }, transport: store.transport, outbox: store.outbox, settings: one, logger: silentLogger, ...(broker === undefined ? {} : { light: memory({ broker }) }) }) }
}

test.each(['a light transport beside it', 'nothing beside it'])('on EventStoreDB with %s, changes are stored with history, reach who runs and who joins late, and can be taken back', async (beside) => {
  await using double = await esdbDouble()
  const broker = beside === 'nothing beside it' ? undefined : memoryBroker()
  const [one, two] = [esdbMember(double.port, 'one', broker), esdbMember(double.port, 'two', broker)]
  for (const { bus } of [one, two]) await bus.start()
  expect(await one.settings.set(Policy, { marginPct: 31 })).toBe(0)
  expect(await two.settings.set(Policy, { marginPct: 32 }, { by: 'ada' })).toBe(1)
  await followsTo([one, two], 32)
  await expect(one.settings.set(Policy, { marginPct: 33 }, { expectedRevision: 0 })).rejects.toMatchObject({ code: 'store.wrong_revision' })
  const late = esdbMember(double.port, 'late', broker)
  await late.bus.start()
  expect(late.settings.get(Policy).marginPct).toBe(32)
  await late.settings.rollback(Policy, 0)
  await followsTo([one, two, late], 31)
  const history = await one.settings.history(Policy)
  expect(history.map(({ value, by, revision }) => [value, by, revision])).toEqual([[{ marginPct: 31 }, 'late', 2], [{ marginPct: 32 }, 'ada', 1], [{ marginPct: 31 }, 'one', 0]])
  await Promise.all([one, two, late].map(({ bus }) => bus.stop()))
})
