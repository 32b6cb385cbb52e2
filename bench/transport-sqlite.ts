import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { sqlite } from '../src/adapters/sqlite/index.ts'
import { createBus } from '../src/index.ts'
import { Counter, type Ratio, type Result, measure, windowed } from './measure.ts'
import { Order, Sighting, order } from './payload.ts'
import { sqliteWakeSuite } from './transport-sqlite-wake.ts'

const COUNT = 10_000
const RAW_COUNT = 1_000

/** Durable publishing with 64 concurrent publishers, beside one transaction per message on the same disk; then waiting for other processes. */
export async function sqliteSuite(rounds: number, progress: (text: string) => void): Promise<{ results: Map<string, Result>; ratios: Ratio[] }> {
  const dir = mkdtempSync(join(tmpdir(), 'trunkline-bench-'))
  const counter = new Counter()
  // A group whose instances are all gone: what is published is stored for it, as the raw side stores its rows.
  const absent = createBus({ service: { name: 'absent' }, transport: sqlite({ file: join(dir, 'bus.db') }).transport })
  absent.on(Sighting, { group: 'orders' }, () => {})
  await absent.start()
  await absent.stop()
  const bus = createBus({ service: { name: 'bench' }, transport: sqlite({ file: join(dir, 'bus.db') }).transport })
  bus.on(Order, { group: 'orders', inFlightMax: 256 }, counter.tick)
  await bus.start()
  const raw = openRaw(join(dir, 'raw.db'))
  const results = await measure(
    [
      {
        name: 'trunkline: durable publish, 64 publishers',
        run: async () => ({ perSecond: await windowed(COUNT, 64, () => bus.publish(Sighting, order)) }),
      },
      {
        name: 'trunkline: publish → handle → ack',
        run: async () => {
          const startedMs = performance.now()
          const handled = counter.expect(COUNT)
          await windowed(COUNT, 64, () => bus.publish(Order, order))
          await handled
          return { perSecond: (COUNT / (performance.now() - startedMs)) * 1_000 }
        },
      },
      { name: 'raw: one transaction per message', run: async () => ({ perSecond: await windowed(RAW_COUNT, 64, async () => raw.insert()) }) },
    ],
    rounds,
    progress,
  )
  await bus.stop()
  raw.close()
  rmSync(dir, { recursive: true, force: true })
  const waiting = await sqliteWakeSuite(progress)
  for (const result of waiting.results) results.set(result.name, result)
  const rate = (name: string): number => results.get(name)?.perSecond ?? NaN
  return {
    results,
    ratios: [
      {
        name: 'durable publish, 64 publishers ÷ one transaction per message',
        value: rate('trunkline: durable publish, 64 publishers') / rate('raw: one transaction per message'),
        bound: 8,
        kind: 'at least',
      },
      ...waiting.ratios,
    ],
  }
}

/** The same two rows for each message: the message and its delivery to one group. */
function openRaw(file: string): { readonly insert: () => void; readonly close: () => void } {
  const database = new DatabaseSync(file)
  database.exec('PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL')
  database.exec('CREATE TABLE message (id INTEGER PRIMARY KEY AUTOINCREMENT, type TEXT, headers TEXT, body BLOB); CREATE TABLE delivery (id INTEGER PRIMARY KEY AUTOINCREMENT, message INTEGER, grp TEXT)')
  const message = database.prepare('INSERT INTO message (type, headers, body) VALUES (?, ?, ?)')
  const delivery = database.prepare('INSERT INTO delivery (message, grp) VALUES (?, ?)')
  const headers = JSON.stringify({ id: '0'.repeat(36), source: '/bench', time: '2026-01-01T00:00:00.000Z' })
  return {
    insert: () => {
      database.exec('BEGIN IMMEDIATE')
      const { lastInsertRowid } = message.run('bench.order-placed', headers, Buffer.from(JSON.stringify(order)))
      delivery.run(lastInsertRowid, 'bench.orders')
      database.exec('COMMIT')
    },
    close: () => database.close(),
  }
}
