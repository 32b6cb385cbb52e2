import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { beforeAll, describe, expect, test } from 'vitest'
import { ensureFreshDist } from '../../scripts/fresh-dist.mjs'
import { until } from '../servers/until.ts'
import { type DemoJson, DemoRun, SHARED_SUMMARY, demo, demoJson, figuresOf, sharedFile, totalsOf } from './demo-run.ts'

const DEMO_MS_MAX = 180_000
const TRANSPORTS = ['memory', 'sqlite', 'nats', 'rabbitmq', 'postgres'] as const

beforeAll(async () => {
  expect(await ensureFreshDist()).toBe(true)
})

/** Every order has ended, and each way in which orders end has been seen. */
function expectWhole({ placed, started, fulfilled, cancelled, compensated, failed, open, unheard }: DemoJson['orders']): void {
  expect({ started, ended: fulfilled + cancelled + compensated + failed, failed, open, unheard }).toEqual({ started: placed, ended: placed, failed: 0, open: 0, unheard: 0 })
  expect(Math.min(fulfilled, cancelled, compensated)).toBeGreaterThan(0)
}

/** Customers were told a price each time that they asked. */
function expectNoPriceUnanswered({ answered, byFallback, failed }: DemoJson['prices']): void {
  expect([answered + byFallback > 0, failed]).toEqual([true, 0])
}

describe('generated invoices', () => {
  test.each(TRANSPORTS)('come to their independent totals on %s', { timeout: DEMO_MS_MAX }, async (transport) => {
    const result = await demoJson(['--transport', transport, '--invoices', '150', '--seed', '7'])
    const expected = totalsOf(7, 150)
    expect(result).toMatchObject({ ...expected, deadLetters: 0, transport, kills: 0, serviceKills: 0, brokerKills: 0, isComplete: true })
    // Both keys of money are text, so that nobody reads them as floating point.
    expect([typeof result.gross, typeof result.cancelled, typeof result.seconds]).toEqual(['string', 'string', 'number'])
    expect(result.answer?.entries).toBeGreaterThanOrEqual(150)
    expect(result.books).toMatchObject({ ...result.answer, doubled: 0 })
    expectWhole(result.orders)
    expectNoPriceUnanswered(result.prices)
  })

  test('are shared by several instances of every service', { timeout: DEMO_MS_MAX }, async () => {
    expect(figuresOf(await demoJson(['--invoices', '100', '--seed', '5', '--services', '2']))).toEqual(totalsOf(5, 100))
  })

  test.each(['stock', 'billing', 'reporting', 'orders'])('come to something else without %s', { timeout: DEMO_MS_MAX }, async (service) => {
    const result = await demoJson(['--invoices', '30', '--without', service, '--stall-seconds', '2'], 1)
    if (service !== 'orders') expect(figuresOf(result)).not.toEqual(totalsOf(1, 30))
    expect(result.isComplete).toBe(false)
    expect(result.problem).toContain('nothing has moved for 2 s')
    expectNoPriceUnanswered(result.prices)
    expect(result.prices.answered > 0).toBe(service !== 'stock')
  })
})

describe('an effect that happens twice', () => {
  test.each([
    ['billing', 'ledger', 'message_id, account, invoice_no, kind, amount'], ['stock', 'goods', 'message_id, position, order_id, stock_code, pieces'],
  ])('in the files of %s makes the summary say so', { timeout: DEMO_MS_MAX }, async (service, table, columns) => {
    await using run = new DemoRun(['--invoices', '60', '--rate', '40', '--json'])
    await until(() => run.plant(service, `INSERT INTO ${table} (${columns}) SELECT ${columns} FROM ${table} LIMIT 1`), { deadlineMs: 60_000, what: 'an effect to repeat' })
    const { code, stdout } = await run.end
    const result: DemoJson = JSON.parse(stdout)
    expect({ code, isComplete: result.isComplete, doubled: result.books.doubled }).toEqual({ code: 1, isComplete: false, doubled: 1 })
    expect(result.problem).toContain(`${service}'s ${table} holds 1 effects that it had already`)
  })
})

// The file of real invoices is no part of the repository. Where it is absent, the generated ones above are the test.
if (sharedFile !== undefined) {
  const input = sharedFile
  test.each(TRANSPORTS)('the real invoices come to the known figures on %s', { timeout: DEMO_MS_MAX }, async (transport) => {
    const end = await demo('--transport', transport, '--input', input)
    expect(end.stdout.split('\n')[0]).toBe(SHARED_SUMMARY)
    expect(end.code).toBe(0)
    expect(end.stdout).toContain('billing, asked over request/reply: balance 180667.75 in 518 entries')
    expect(end.stdout).toContain('inventory: 78286 pieces in 10000 movements; ledger: 180667.75 in 518 entries; effects that are there twice: 0')
  })
} else {
  process.stderr.write('the file of real invoices is not here: the demo is tested with generated ones alone\n')
}

describe('broken lines', () => {
  function brokenFile(): { readonly path: string; readonly dir: string } {
    const dir = mkdtempSync(join(tmpdir(), 'trunkline-broken-'))
    const path = join(dir, 'invoices.csv')
    const good = (no: string, quantity: number): string => `${no},85123A,LANTERN,${quantity},2010-12-01T08:26:00Z,2.55,17850,United Kingdom`
    const bad = ['536365,85123A,LANTERN,six,2010-12-01T08:26:00Z,2.55,17850,United Kingdom', 'not a line', '536366,X,"never closed,1,2010-12-01T08:26:00Z,1,,UK']
    const lines = ['invoice_no,stock_code,description,quantity,invoice_date,unit_price,customer_id,country', good('536365', 6), ...bad, good('536365', 1), good('C536366', -1)]
    writeFileSync(path, `${lines.join('\n')}\n`)
    return { path, dir }
  }

  test.each(TRANSPORTS)('each become a dead letter with its reason on %s, and the good ones count', { timeout: DEMO_MS_MAX }, async (transport) => {
    const { path, dir } = brokenFile()
    const result = await demoJson(['--transport', transport, '--input', path])
    rmSync(dir, { recursive: true })
    expect(result).toMatchObject({ invoices: 2, cancellations: 1, gross: '17.85', cancelled: '-2.55', deadLetters: 3, isComplete: true })
    expect(result.deadLetterList.map(({ reason }) => reason).toSorted()).toEqual([
      'line 3: quantity "six" is not a whole number', 'line 4: the line has 1 fields, not 8', 'line 5: a quoted field is not closed',
    ])
  })
})

describe('the command line', () => {
  test('--help tells every option', async () => {
    const { code, stdout } = await demo('--help')
    expect(code).toBe(0)
    for (const option of ['transport', 'url', 'input', 'seed', 'invoices', 'services', 'chaos', 'rate', 'without', 'keep', 'stall-seconds', 'limit-seconds', 'json', 'help']) {
      expect(stdout).toContain(`--${option}`)
    }
  })

  test('chaos on memory is refused with the reason', async () => {
    const end = await demo('--chaos', '--transport', 'memory')
    expect(end).toMatchObject({ code: 2, stdout: '', stderr: expect.stringContaining('all services are one process, whose death loses the messages') })
  })

  test.each([
    [['--transport', 'kafka'], '--transport is one of sqlite, nats, rabbitmq, postgres, memory, not "kafka"'],
    [['--input', 'absent.csv'], '--input is not a file: absent.csv'],
    [['--services', '0'], '--services is a whole number from 1 to 16, not "0"'],
    [['--invoices', 'many'], '--invoices is a whole number'],
    [['--url', 'nats://127.0.0.1:4222'], '--url names a broker, and sqlite has none'],
    [['--without', 'shop'], '--without is one of stock, billing, reporting, orders, not'],
    [['--wrong'], "Unknown option '--wrong'"],
    [['surplus'], 'surplus'],
  ])('%j ends with 2 and says why', async (args, reason) => {
    expect(await demo(...args)).toMatchObject({ code: 2, stdout: '', stderr: expect.stringContaining(reason) })
  })

  test('a file with other columns and a broker that is not there end with 1 and the reason', { timeout: DEMO_MS_MAX }, async () => {
    const dir = mkdtempSync(join(tmpdir(), 'trunkline-columns-'))
    writeFileSync(join(dir, 'other.csv'), 'a,b\n1,2\n')
    expect(await demo('--transport', 'memory', '--input', join(dir, 'other.csv'))).toMatchObject({ code: 1, stdout: expect.stringContaining('the first line of the file is not: invoice_no') })
    rmSync(dir, { recursive: true })
    expect(await demo('--transport', 'nats', '--url', 'nats://127.0.0.1:1')).toMatchObject({ code: 1, stderr: expect.stringContaining('no connection to 127.0.0.1:1') })
  })
})
