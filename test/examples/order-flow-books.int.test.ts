import { cpSync, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { readBooks } from '../../examples/order-flow/books.ts'
import { makeTables } from '../../examples/order-flow/service-tables.ts'
import { ensureFreshDist } from '../../scripts/fresh-dist.mjs'
import { demoJson } from './demo-run.ts'

const dir = mkdtempSync(join(tmpdir(), 'trunkline-books-'))
const kept = join(dir, 'kept')

beforeAll(async () => {
  expect(await ensureFreshDist()).toBe(true)
  await demoJson(['--transport', 'memory', '--invoices', '20', '--keep', kept])
})

afterAll(() => rmSync(dir, { recursive: true, force: true }))

/** The books after somebody wrote into one of them. */
function booksAfter(service: string, sql: string): ReturnType<typeof readBooks> {
  const changed = mkdtempSync(join(dir, 'changed-'))
  cpSync(kept, changed, { recursive: true })
  const file = new DatabaseSync(join(changed, `${service}.db`))
  expect(file.prepare(sql).run().changes).toBe(1)
  file.close()
  return readBooks(changed)
}

describe('books of a whole run', () => {
  test('agree', () => {
    const books = readBooks(kept)
    expect(books).toMatchObject({ doubled: 0, mistakes: [] })
    expect(books.entries).toBe(20)
    expect(books.movements).toBeGreaterThan(books.entries)
  })

  const columns = { goods: 'message_id, position, order_id, stock_code, pieces', cash: 'message_id, order_id, amount', shipments: '*', ledger: 'message_id, account, invoice_no, kind, amount', inventory: 'message_id, position, stock_code, pieces', invoices: '*', postings: '*' }
  test.each([
    ['stock', 'inventory'], ['billing', 'ledger'], ['reporting', 'invoices'], ['reporting', 'postings'],
    ['stock', 'goods'], ['stock', 'shipments'], ['billing', 'cash'],
  ] as const)('that hold an effect twice do not: %s, %s', (service, table) => {
    const into = columns[table] === '*' ? table : `${table} (${columns[table]})`
    const books = booksAfter(service, `INSERT INTO ${into} SELECT ${columns[table]} FROM ${table} LIMIT 1`)
    expect(books.doubled).toBe(1)
    expect(books.mistakes[0]).toContain(`${service}'s ${table} holds 1 effects that it had already, such as one of `)
  })

  test.each([
    ['an entry that is gone', 'billing', 'DELETE FROM ledger WHERE entry = 3', /the ledger has nothing for \S+\.entry/],
    ['an entry of a cent more', 'billing', `UPDATE ledger SET amount = '0.01' WHERE entry = 3`, /the ledger has 0\.01 for \S+\.entry, which is/],
    ['an entry of nobody', 'billing', `INSERT INTO ledger (message_id, account, invoice_no, kind, amount) VALUES ('x', 'a', '1', 'sale', '0')`, /the ledger has an entry of x, which the shop never published/],
    ['a movement that is gone', 'stock', 'DELETE FROM inventory WHERE movement = (SELECT movement FROM inventory WHERE pieces <> 0 LIMIT 1)', /pieces left the inventory, and the shop sold/],
    ['an order that was fulfilled for nothing', 'billing', `DELETE FROM cash WHERE movement = (SELECT max(movement) FROM cash WHERE amount > '0.00')`, /stands for \d+ pieces, \d parcels, \S+ instead of/],
    ['an order of nobody', 'billing', `INSERT INTO cash (message_id, order_id, amount) VALUES ('x', 'y', '0.01')`, /the books have an order y, which the shop never placed/],
    ['an order that stands still', 'orders', `UPDATE order_book SET status = 'quarantined' WHERE order_id = (SELECT min(order_id) FROM order_book)`, /stands still or has failed/],
    ['a level of one piece more', 'stock', 'UPDATE levels SET pieces = pieces + 1 WHERE stock_code = (SELECT min(stock_code) FROM levels)', /1 articles have another level than their movements make/],
    ['a quantity of one piece more', 'stock', 'UPDATE articles SET pieces = pieces + 1 WHERE stock_code = (SELECT stock_code FROM articles LIMIT 1)', /1 articles have another quantity than their movements make/],
  ])('that have %s do not', (_what, service, sql, mistake) => {
    expect(booksAfter(service, sql).mistakes).toContainEqual(expect.stringMatching(mistake))
  })
})

test('instances that open a new file at once all get their tables', async () => {
  const path = join(dir, 'together.db')
  await Promise.all(Array.from({ length: 8 }, () => makeTables(path, 'CREATE TABLE IF NOT EXISTS effects (what TEXT NOT NULL);')))
  const file = new DatabaseSync(path, { readOnly: true })
  expect(file.prepare('SELECT count(*) AS n FROM effects').get()).toEqual({ n: 0 })
  expect(file.prepare('SELECT count(*) AS n FROM facts').get()).toEqual({ n: 0 })
  file.close()
})
