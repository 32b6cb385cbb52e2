import { spawn } from 'node:child_process'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { sqlite } from '../src/adapters/sqlite/index.ts'
import { createBus } from '../src/index.ts'
import { type Ratio, type Result, percentile } from './measure.ts'
import { Order } from './payload.ts'
import type { IdleCost, PeerSettings } from './transport-sqlite-peer.ts'

const IDLE_MS = 30_000
/** A message every 20 ms; and one so seldom that polling has become rare again. */
const BUSY = { ms: 20, count: 300 } as const
const SELDOM = { ms: 3_000, count: 8 } as const

/** What it costs to wait for other processes, and how long a message takes to them. */
export async function sqliteWakeSuite(progress: (text: string) => void): Promise<{ results: Result[]; ratios: Ratio[] }> {
  const dir = mkdtempSync(join(tmpdir(), 'trunkline-bench-'))
  const at = (name: string): string => join(dir, name)
  const results: Result[] = []
  const ratios: Ratio[] = []
  const latency = async (name: string, file: string, watch: boolean, pace: { readonly ms: number; readonly count: number }, boundMs: number): Promise<void> => {
    progress(name)
    const all = await latencies({ file, role: 'publisher', watch, ...pace })
    results.push({ name, p50Ms: percentile(all, 0.5), p99Ms: percentile(all, 0.99) })
    ratios.push({ name: `${name}, p50 [ms]`, value: percentile(all, 0.5), bound: boundMs, kind: 'at most' })
  }
  await latency('other process, watching', at('watch.db'), true, BUSY, 20)
  await latency('other process, watching, seldom', at('watch.db'), true, SELDOM, 20)
  await latency('other process, polling', at('poll.db'), false, BUSY, 20)
  await latency('other process, polling, seldom', at('poll.db'), false, SELDOM, 500)
  if (process.platform === 'linux') {
    progress('two idle processes')
    const idle = (watch: boolean): Promise<IdleCost> => peer<IdleCost>({ file: at('idle.db'), role: 'idle', watch, ms: IDLE_MS, count: 0 })
    const costs = await Promise.all([idle(true), idle(false)])
    for (const [index, { wakeUps, cpu }] of costs.entries()) {
      const name = `idle, 10 groups, ${index === 0 ? 'watching' : 'polling'}`
      results.push({ name: `${name} [wake-ups/s]`, value: wakeUps }, { name: `${name} [% of a core]`, value: cpu })
      ratios.push({ name: `${name} [wake-ups/s]`, value: wakeUps, bound: 4, kind: 'at most' })
      ratios.push({ name: `${name} [% of a core]`, value: cpu, bound: 1, kind: 'at most' })
    }
  }
  rmSync(dir, { recursive: true, force: true })
  return { results, ratios }
}

/** Milliseconds from the call of `publish` in one process to the handler in this one. */
async function latencies(settings: PeerSettings): Promise<number[]> {
  const all: number[] = []
  const bus = createBus({ service: { name: 'receiver' }, transport: sqlite({ file: settings.file, watch: settings.watch }).transport })
  const handled = Promise.withResolvers<void>()
  bus.on(Order, { group: 'orders' }, ({ data }) => {
    all.push(Number(process.hrtime.bigint() - BigInt(data.note)) / 1e6)
    if (all.length === settings.count) handled.resolve()
  })
  await bus.start()
  await peer(settings)
  await handled.promise
  await bus.stop()
  // The first ones compile the code.
  return all.slice(settings.count > 100 ? 50 : 1)
}

/** Runs a peer to its end, and gives the first thing that it said. */
function peer<T>(settings: PeerSettings): Promise<T> {
  const child = spawn(process.execPath, [join(import.meta.dirname, 'transport-sqlite-peer.ts'), JSON.stringify(settings)], { stdio: ['pipe', 'pipe', 'inherit'] })
  return new Promise((resolve, reject) => {
    let said: T | undefined
    createInterface({ input: child.stdout }).on('line', (line) => {
      said ??= JSON.parse(line)
    })
    child.once('error', reject)
    child.once('close', (code) => (code === 0 && said !== undefined ? resolve(said) : reject(new Error(`a peer ended with ${code}`))))
  })
}
