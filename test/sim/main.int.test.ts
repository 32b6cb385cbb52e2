import { spawnSync } from 'node:child_process'
import { join } from 'node:path'
import { expect, test } from 'vitest'

const script = join(import.meta.dirname, '..', '..', 'scripts', 'sim.mjs')

function sim(...args: readonly string[]): { readonly status: number | null; readonly stdout: string; readonly stderr: string } {
  const { status, stdout, stderr } = spawnSync(process.execPath, [script, ...args], { encoding: 'utf8', timeout: 60_000 })
  return { status, stdout, stderr }
}

test('prints a table or JSON and ends with 0 where every promise was kept', () => {
  const table = sim('discovery', '--instances', '5,10', '--minutes', '1')
  expect({ status: table.status, rows: table.stdout.split('\n').filter((line) => /^\| \d/.test(line)).length }).toEqual({ status: 0, rows: 2 })
  const json = sim('discovery', '--instances', '5', '--minutes', '1', '--seed', '3', '--json')
  expect(JSON.parse(json.stdout)).toMatchObject([{ instances: 5, seed: 3, falseDowns: 0, wrongAtEnd: 0 }])
})

test('ends with 1 and says why where a promise was broken', () => {
  const { status, stderr } = sim('discovery', '--instances', '10', '--minutes', '2', '--loss', '0.7')
  expect(status).toBe(1)
  expect(stderr).toMatch(/10 instances: \d+ /)
})

test('ends with 2 and the help where it is called wrongly, and with 0 where the help is asked for', () => {
  for (const args of [[], ['saga'], ['discovery', '--instances', 'many'], ['discovery', '--speed', '9']]) {
    const { status, stderr } = sim(...args)
    expect([args, status, stderr.includes('npm run sim -- discovery')]).toEqual([args, 2, true])
  }
  const { status, stdout } = sim('--help')
  expect([status, stdout.includes('npm run sim -- discovery')]).toEqual([0, true])
})
