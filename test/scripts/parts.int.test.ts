import { execFile } from 'node:child_process'
import { writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { promisify } from 'node:util'
import { expect, test } from 'vitest'
import { privateFolder } from '../servers/server-process.ts'

const run = promisify(execFile)
const partsScript = join(dirname(dirname(import.meta.dirname)), 'scripts', 'parts.mjs')

async function evaluate(program: string): Promise<unknown> {
  const source = `const { countTests, summarise } = await import(${JSON.stringify(partsScript)})\n${program}`
  const { stdout } = await run(process.execPath, ['--input-type=module', '-e', source])
  return JSON.parse(stdout.trim().split('\n').at(-1) ?? '')
}

async function counted(results: object): Promise<unknown> {
  const file = join(privateFolder('results'), 'results.json')
  writeFileSync(file, JSON.stringify(results))
  return await evaluate(`console.log(JSON.stringify(countTests(${JSON.stringify(file)})))`)
}

const NONE = { numPassedTests: 0, numFailedTests: 0, numPendingTests: 0, numTodoTests: 0, testResults: [] }

test('counts what passed and what failed', async () => {
  expect(await counted({ ...NONE, numPassedTests: 5, numFailedTests: 2 })).toEqual({ passed: 5, failed: 2 })
})

test('counts a skipped test and a file that did not load as failed', async () => {
  const unloaded = { status: 'failed', assertionResults: [] }
  expect(await counted({ ...NONE, numPassedTests: 5, numPendingTests: 1, numTodoTests: 1, testResults: [unloaded] })).toEqual({ passed: 5, failed: 3 })
})

test('counts nothing where no results were written', async () => {
  expect(await evaluate("console.log(JSON.stringify(countTests('/nowhere/results.json')))")).toEqual({ passed: 0, failed: 0 })
})

test('sums the parts, with one failure for a red part that counts no tests', async () => {
  const parts = [
    { name: 'types', isGreen: false, seconds: 1, passed: 0, failed: 0 },
    { name: 'unit', isGreen: true, seconds: 1, passed: 7, failed: 0 },
    { name: 'int', isGreen: false, seconds: 1, passed: 3, failed: 2 },
  ]
  expect(await evaluate(`console.log(JSON.stringify(summarise(${JSON.stringify(parts)})))`)).toEqual({ passed: 10, failed: 3 })
})

test('stops a part that does not end, with everything that it has started', async () => {
  const program = `
    const { exitCodeOf } = await import(${JSON.stringify(partsScript)})
    console.log(JSON.stringify(await exitCodeOf('sh', ['-c', 'sleep 100 & wait'], 300)))`
  const { stdout, stderr } = await run(process.execPath, ['--input-type=module', '-e', program])
  expect(stdout.trim()).toBe('137')
  expect(stderr).toContain('is stopped')
})
