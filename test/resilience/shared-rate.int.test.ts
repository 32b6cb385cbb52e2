import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { sqlite } from '../../src/adapters/sqlite/index.ts'
import { postgres } from '../../src/adapters/postgres/index.ts'
import { rateLimit, systemClock } from '../../src/index.ts'
import { eventStoreDb } from '../../src/adapters/eventstoredb/index.ts'
import { esdbDouble } from '../esdb-double/esdb-double.ts'
import { postgresServer } from '../servers/postgres-server.ts'

test('on SQLite, on PostgreSQL and on EventStoreDB, two instances together get what one bucket has', async () => {
  await using database = await postgresServer()
  await using double = await esdbDouble()
  await database.start()
  const folder = mkdtempSync(join(tmpdir(), 'trunkline-rates-'))
  try {
    for (const make of [() => sqlite({ file: join(folder, 'rates.db') }), () => postgres({ connectionString: database.url }), () => eventStoreDb({ hosts: `127.0.0.1:${double.port}`, tls: false })]) {
      const stores = [make(), make()]
      for (const store of stores) await store.open({ service: 'caller' })
      let granted = 0
      const startedMs = systemClock.monotonicMs()
      const callers = stores.map(async (store) => {
        const policy = rateLimit({ permitsPerSecond: 100, burstMax: 10, waitMaxMs: 60_000, shared: { name: 'payments', events: store.events, chunkMs: 50 } })
        while (systemClock.monotonicMs() - startedMs < 2_000) await policy.run(() => granted++)
      })
      await Promise.all(callers)
      const seconds = (systemClock.monotonicMs() - startedMs) / 1_000
      expect(granted).toBeLessThanOrEqual(Math.ceil(seconds * 100) + 10)
      // Well used, although an instance knows the database's time only a little late.
      expect(granted).toBeGreaterThan(seconds * 50)
      for (const store of stores) await store.close()
    }
  } finally {
    rmSync(folder, { recursive: true, force: true })
  }
}, 60_000)
