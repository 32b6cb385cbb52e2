import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { z } from 'zod'
import { nats } from '../../../src/adapters/nats/index.ts'
import { postgres } from '../../../src/adapters/postgres/index.ts'
import { sqlite } from '../../../src/adapters/sqlite/index.ts'
import { type BusOptions, createBus, silentLogger } from '../../../src/index.ts'
import { setting, settings } from '../../../src/discovery/index.ts'
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
