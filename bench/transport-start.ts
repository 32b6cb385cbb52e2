import { spawnSync } from 'node:child_process'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { type Case, type Ratio, type Result, measure } from './measure.ts'

const root = join(dirname(fileURLToPath(import.meta.url)), '..')

/** What importing costs, each time in a fresh process. */
export async function startSuite(rounds: number, progress: (text: string) => void): Promise<{ results: Map<string, Result>; ratios: Ratio[] }> {
  const cases: Case[] = ['zod', 'trunkline', 'trunkline/memory', 'trunkline/nats', 'trunkline/rabbitmq', 'trunkline/sqlite'].map((name) => ({
    name: `import ${name} [ms]`,
    run: async () => ({ value: importMs(name) }),
  }))
  const results = await measure(cases, Math.max(rounds, 7), progress)
  const value = (name: string): number => results.get(`import ${name} [ms]`)?.value ?? NaN
  return { results, ratios: [{ name: 'import trunkline ÷ import zod', value: value('trunkline') / value('zod'), bound: 1.25, kind: 'at most' }] }
}

function importMs(name: string): number {
  const script = `const t = performance.now(); await import(${JSON.stringify(name)}); console.log(performance.now() - t)`
  const { status, stdout, stderr } = spawnSync(process.execPath, ['--input-type=module', '-e', script], { cwd: root, encoding: 'utf8' })
  if (status !== 0) throw new Error(`import ${name}: ${stderr}`)
  return Number(stdout)
}
