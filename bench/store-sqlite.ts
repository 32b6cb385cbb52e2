import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { sqlite } from '../src/adapters/sqlite/index.ts'
import { createBus } from '../src/index.ts'
import { type Ratio, type Result, measure, windowed } from './measure.ts'
import { Order, order } from './payload.ts'

const COUNT = 10_000
const RAW_COUNT = 1_000
const WRITERS = 64
const TABLE = 'CREATE TABLE purchase (id INTEGER PRIMARY KEY AUTOINCREMENT, customer TEXT, total REAL) STRICT'

/** Units of work of 64 concurrent writers on one file, each with a business row and an event published, beside one transaction each on the same disk. */
export async function sqliteStoreSuite(rounds: number, progress: (text: string) => void): Promise<{ results: Map<string, Result>; ratios: Ratio[] }> {
  const dir = mkdtempSync(join(tmpdir(), 'trunkline-bench-'))
  const file = join(dir, 'store.db')
  const absent = createBus({ service: { name: 'absent' }, transport: sqlite({ file }).transport })
  absent.on(Order, { group: 'orders' }, () => {})
  await absent.start()
  await absent.stop()
  const tables = new DatabaseSync(file)
  tables.exec(TABLE)
  tables.close()
  const store = sqlite({ file })
  const bus = createBus({ service: { name: 'bench' }, transport: store.transport, outbox: store.outbox })
  await bus.start()
  const raw = openRaw(join(dir, 'raw.db'))
  const write = (): Promise<void> =>
    store.transaction((unit) => {
      unit.tx.prepare('INSERT INTO purchase (customer, total) VALUES (?, ?)').run(order.customer, order.total)
      unit.publish(Order, order)
    })
  const results = await measure(
    [
      { name: 'trunkline: unit of work, 64 writers', run: async () => ({ perSecond: await windowed(COUNT, WRITERS, write) }) },
      {
        name: 'trunkline: unit of work with an await, 64 writers',
        run: async () => ({
          perSecond: await windowed(COUNT, WRITERS, () =>
            store.transaction(async (unit) => {
              unit.tx.prepare('INSERT INTO purchase (customer, total) VALUES (?, ?)').run(order.customer, order.total)
              await Promise.resolve()
              unit.publish(Order, order)
            }),
          ),
        }),
      },
      { name: 'raw: one transaction each', run: async () => ({ perSecond: await windowed(RAW_COUNT, WRITERS, async () => raw.insert()) }) },
    ],
    rounds,
    progress,
  )
  await bus.stop()
  raw.close()
  rmSync(dir, { recursive: true, force: true })
  const rate = (name: string): number => results.get(name)?.perSecond ?? NaN
  const ratio = (name: string): Ratio => ({ name: `${name} ÷ one transaction each`, value: rate(`trunkline: ${name}, 64 writers`) / rate('raw: one transaction each'), bound: 8, kind: 'at least' })
  return { results, ratios: [ratio('unit of work'), ratio('unit of work with an await')] }
}

/** The same three rows for each unit: the business row, the message and its delivery to one group. */
function openRaw(file: string): { readonly insert: () => void; readonly close: () => void } {
  const database = new DatabaseSync(file)
  database.exec('PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL')
  database.exec(`${TABLE}; CREATE TABLE message (id INTEGER PRIMARY KEY AUTOINCREMENT, type TEXT, headers TEXT, body BLOB); CREATE TABLE delivery (id INTEGER PRIMARY KEY AUTOINCREMENT, message INTEGER, grp TEXT)`)
  const row = database.prepare('INSERT INTO purchase (customer, total) VALUES (?, ?)')
  const message = database.prepare('INSERT INTO message (type, headers, body) VALUES (?, ?, ?)')
  const delivery = database.prepare('INSERT INTO delivery (message, grp) VALUES (?, ?)')
  const headers = JSON.stringify({ id: '0'.repeat(36), source: '/bench', time: '2026-01-01T00:00:00.000Z' })
  return {
    insert: () => {
      database.exec('BEGIN IMMEDIATE')
      row.run(order.customer, order.total)
      const { lastInsertRowid } = message.run('bench.order-placed', headers, Buffer.from(JSON.stringify(order)))
      delivery.run(lastInsertRowid, 'bench.orders')
      database.exec('COMMIT')
    },
    close: () => database.close(),
  }
}
