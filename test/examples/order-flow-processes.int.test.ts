import { execFileSync } from 'node:child_process'
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { beforeAll, expect, test } from 'vitest'
import { ensureFreshDist } from '../../scripts/fresh-dist.mjs'
import { natsServer } from '../servers/nats-server.ts'
import { acceptsConnections } from '../servers/server-process.ts'
import { until } from '../servers/until.ts'
import { DemoRun, SHARED_SUMMARY, demo, demoJson, figuresOf, isRunning, sharedFile, totalsOf } from './demo-run.ts'

const DEMO_MS_MAX = 180_000
/** On a machine that is busy with others, each life of a service begins late. */
const CHAOS_MS_MAX = 300_000

/** Numbers of the services' processes; each is there before its service does anything. */
async function processesOf(run: DemoRun): Promise<readonly number[]> {
  const services = ['shop', 'stock', 'billing', 'reporting', 'orders', 'till']
  return await Promise.all(services.map((service) => until(() => run.fact(service, 'ready-1') ?? 0, { what: `the process of ${service}` })))
}

/** Port of the demo's private server. */
function portOf(run: DemoRun): number {
  const port = Number(/127\.0\.0\.1:(\d+)/.exec(readFileSync(join(run.dir ?? '', 'nats.conf'), 'utf8'))?.[1])
  expect(port).toBeGreaterThan(0)
  return port
}

function parentOf(pid: number): number {
  return Number(execFileSync('ps', ['-o', 'ppid=', '-p', `${pid}`], { encoding: 'utf8' }))
}

beforeAll(async () => {
  expect(await ensureFreshDist()).toBe(true)
})

test.each(['sqlite', 'nats', 'rabbitmq', 'postgres'])('generated invoices come to their totals on %s while services and the broker are killed', { timeout: CHAOS_MS_MAX }, async (transport) => {
  const result = await demoJson(['--transport', transport, '--invoices', '250', '--seed', '3', '--chaos', '--rate', '32'])
  expect(figuresOf(result)).toEqual(totalsOf(3, 250))
  expect(result).toMatchObject({ deadLetters: 0, isComplete: true, books: { doubled: 0 }, orders: { open: 0, failed: 0, unheard: 0 } })
  expect(result.serviceKills).toBeGreaterThanOrEqual(1)
  expect(result.brokerKills).toBeGreaterThanOrEqual(1)
  expect(result.kills).toBe(result.serviceKills + result.brokerKills)
  // A price was asked all the time, of instances that came and went before the eyes of who asked.
  expect(result.prices).toMatchObject({ failed: 0, answered: expect.toSatisfy((count: number) => count > 0) })
  expect(result.sightings.joined).toBeGreaterThanOrEqual(7)
})

// The file of real invoices is no part of the repository; order-flow.int.test.ts says where it is missed.
if (sharedFile !== undefined) {
  const input = sharedFile
  test('the real invoices come to the known figures while everything is killed', { timeout: CHAOS_MS_MAX }, async () => {
    const end = await demo('--input', input, '--chaos')
    expect(end.stdout.split('\n')[0]).toBe(SHARED_SUMMARY)
    expect(end.stdout).toMatch(/kills \d+ \(services [1-9]\d*, broker [1-9]\d*\)/)
  })
}

test('a killed shop goes on at its recorded line', { timeout: DEMO_MS_MAX }, async () => {
  await using run = new DemoRun(['--invoices', '120', '--seed', '9', '--rate', '40', '--json'])
  await until(() => run.published >= 20, { deadlineMs: 60_000, what: 'the shop publishing' })
  const pid = await until(() => run.fact('shop', 'ready-1') ?? 0, { what: 'the number of its process' })
  process.kill(pid, 'SIGKILL')
  await until(() => (run.fact('shop', 'began-at-line') ?? 0) > 1, { deadlineMs: 60_000, what: 'the shop going on in the middle' })
  const { code, stdout } = await run.end
  expect(code).toBe(0)
  expect(figuresOf(JSON.parse(stdout))).toEqual(totalsOf(9, 120))
})

test.each(['SIGINT', 'SIGTERM'] as const)('%s ends everything and leaves nothing behind', { timeout: DEMO_MS_MAX }, async (signal) => {
  await using run = new DemoRun(['--transport', 'nats', '--rate', '20'])
  await until(() => run.published >= 5, { deadlineMs: 60_000, what: 'the shop publishing' })
  const pids = await processesOf(run)
  const port = portOf(run)
  run.child.kill(signal)
  expect(await run.end).toMatchObject({ code: 1, stdout: '', stderr: expect.stringContaining(`broken off by ${signal}`) })
  expect(pids.filter(isRunning)).toEqual([])
  expect(run.leftBehind).toEqual([])
  expect(await acceptsConnections(port)).toBe(false)
})

test.each(['npm script', 'supervisor'])('a killed %s leaves nothing behind either', { timeout: DEMO_MS_MAX }, async (victim) => {
  await using run = new DemoRun(['--transport', 'nats', '--rate', '20'])
  await until(() => run.published >= 5, { deadlineMs: 60_000, what: 'the shop publishing' })
  const pids = await processesOf(run)
  const port = portOf(run)
  const script = run.child.pid ?? 0
  process.kill(victim === 'supervisor' ? parentOf(pids[0] ?? 0) : script, 'SIGKILL')
  await until(() => run.leftBehind.length === 0 && !pids.some(isRunning), { deadlineMs: 30_000, what: 'everything being gone' })
  expect(await acceptsConnections(port)).toBe(false)
})

test('on a broker that runs already, one demo after the other has its own figures', { timeout: DEMO_MS_MAX }, async () => {
  await using server = await natsServer()
  await server.start()
  const args = ['--transport', 'nats', '--url', server.url, '--invoices', '40']
  for (const seed of [1, 2]) expect(figuresOf(await demoJson([...args, '--seed', `${seed}`]))).toEqual(totalsOf(seed, 40))
})

test('--keep leaves the files of the services, and a second run into the same folder is refused', { timeout: DEMO_MS_MAX }, async () => {
  const dir = mkdtempSync(join(tmpdir(), 'trunkline-keep-'))
  await demoJson(['--transport', 'memory', '--invoices', '10', '--keep', dir])
  expect(['shop.db', 'stock.db', 'billing.db', 'reporting.db', 'orders.db', 'till.db'].filter((file) => !existsSync(join(dir, file)))).toEqual([])
  expect(await demo('--keep', dir)).toMatchObject({ code: 2, stderr: expect.stringContaining('--keep needs a new or empty folder') })
  rmSync(dir, { recursive: true })
})
