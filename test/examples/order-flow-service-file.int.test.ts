import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, expect, test } from 'vitest'
import { ServiceFile } from '../../examples/order-flow/service-file.ts'

const TABLES = 'CREATE TABLE IF NOT EXISTS effects (what TEXT NOT NULL);'
const message = { id: 'm-1', type: 'sales.invoice-recorded' }
const dir = mkdtempSync(join(tmpdir(), 'trunkline-service-file-'))

afterAll(() => rmSync(dir, { recursive: true, force: true }))

function effectsOf(file: ServiceFile): number {
  return Number(file.database.prepare('SELECT count(*) AS n FROM effects').get()?.['n'])
}

function insert(file: ServiceFile): void {
  file.database.exec(`INSERT INTO effects VALUES ('done')`)
}

test('a message that comes again has its effect once, also in another instance', async () => {
  using first = await ServiceFile.open(join(dir, 'once.db'), TABLES)
  using second = await ServiceFile.open(join(dir, 'once.db'), TABLES)
  expect(await first.once(message, () => insert(first))).toBe(true)
  expect(await first.once(message, () => insert(first))).toBe(false)
  expect(await second.once(message, () => insert(second))).toBe(false)
  expect(effectsOf(second)).toBe(1)
})

test('an effect that fails leaves neither itself nor its message behind', async () => {
  using file = await ServiceFile.open(join(dir, 'fails.db'), TABLES)
  const failing = (): void => {
    insert(file)
    throw new Error('half done')
  }
  await expect(file.once(message, failing)).rejects.toThrow('half done')
  expect(effectsOf(file)).toBe(0)
  expect(await file.once(message, () => insert(file))).toBe(true)
})

test('a transaction waits for another instance without blocking its own process', async () => {
  using first = await ServiceFile.open(join(dir, 'waits.db'), TABLES)
  using second = await ServiceFile.open(join(dir, 'waits.db'), TABLES)
  first.database.exec('BEGIN IMMEDIATE')
  let isDone = false
  const waiting = second.once(message, () => insert(second)).then(() => (isDone = true))
  // Turns of the loop go on while the other one writes.
  for (let turn = 0; turn < 5; turn++) await new Promise((resolve) => setImmediate(resolve))
  expect(isDone).toBe(false)
  first.database.exec('COMMIT')
  await waiting
  expect(effectsOf(first)).toBe(1)
})

test('instances that open a new file at once all get their tables', async () => {
  const files = await Promise.all(Array.from({ length: 8 }, () => ServiceFile.open(join(dir, 'together.db'), TABLES)))
  for (const file of files) {
    expect(effectsOf(file)).toBe(0)
    file[Symbol.dispose]()
  }
})
