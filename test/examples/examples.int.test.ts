import { execFile } from 'node:child_process'
import { readFileSync, readdirSync } from 'node:fs'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { beforeAll, expect, test } from 'vitest'
import { ensureFreshDist } from '../../scripts/fresh-dist.mjs'

const run = promisify(execFile)
const examples = join(import.meta.dirname, '..', '..', 'examples')
const programs = readdirSync(examples).filter((file) => file.endsWith('.ts'))

// The examples import the package by its name, as its users do.
beforeAll(async () => {
  expect(await ensureFreshDist()).toBe(true)
})

test('there is an expected output for every example, and nothing else', () => {
  expect(readdirSync(join(examples, 'expected')).toSorted()).toEqual(programs.map((file) => file.replace(/\.ts$/, '.txt')).toSorted())
})

test.each(programs)('%s prints what it says and ends by itself', async (file) => {
  const { stdout } = await run(process.execPath, ['--disable-warning=ExperimentalWarning', join(examples, file)], { timeout: 30_000 })
  expect(stdout).toBe(readFileSync(join(examples, 'expected', file.replace(/\.ts$/, '.txt')), 'utf8'))
})
