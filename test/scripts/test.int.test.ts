import { execFile } from 'node:child_process'
import { chmodSync, cpSync, mkdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { promisify } from 'node:util'
import { expect, test } from 'vitest'
import { privateFolder } from '../servers/server-process.ts'

const run = promisify(execFile)
const testScript = join(dirname(dirname(import.meta.dirname)), 'scripts', 'test.mjs')

/** A checkout with a gate that says that it ran, and ends with 3. */
function checkout(): string {
  const dir = privateFolder('checkout')
  mkdirSync(join(dir, 'scripts'))
  cpSync(testScript, join(dir, 'scripts', 'test.mjs'))
  writeFileSync(join(dir, 'scripts', 'gate.mjs'), "console.log('gate', ...process.argv.slice(2)); process.exitCode = 3\n")
  return dir
}

interface Ended {
  readonly code: number
  readonly output: string
}

async function runScript(dir: string, patch = (script: string): string => script): Promise<Ended> {
  const path = join(dir, 'scripts', 'test.mjs')
  writeFileSync(path, patch(readFileSync(path, 'utf8')))
  try {
    const { stdout } = await run(process.execPath, [path, 'word'])
    return { code: 0, output: stdout }
  } catch (error) {
    const { code, stdout, stderr } = error as { readonly code: number; readonly stdout: string; readonly stderr: string }
    return { code, output: `${stdout}${stderr}` }
  }
}

test('asks for npm ci where nothing is installed', async () => {
  expect(await runScript(checkout())).toEqual({ code: 1, output: 'The dependencies are not installed. Run: npm ci && npm test\n' })
})

test('runs the gate and ends as it ends', async () => {
  const dir = checkout()
  mkdirSync(join(dir, 'node_modules', '.bin'), { recursive: true })
  symlinkSync(process.execPath, join(dir, 'node_modules', '.bin', 'node'))
  expect(await runScript(dir)).toEqual({ code: 3, output: 'gate word\n' })
})

test('says which Node it needs where there is none', async () => {
  const dir = checkout()
  mkdirSync(join(dir, 'node_modules', '.bin'), { recursive: true })
  const old = join(dir, 'node_modules', '.bin', 'node')
  writeFileSync(old, '#!/bin/sh\necho v18.1.0\n')
  chmodSync(old, 0o755)
  const { code, output } = await runScript(dir, (script) => script.replace('[installedNode, process.execPath]', '[installedNode]'))
  expect(code).toBe(1)
  expect(output).toContain('Trunkline needs Node 22.13 or newer')
  expect(output).toContain('v18.1.0 is in node_modules/.bin')
})

test('is written in a language that an old Node can parse', () => {
  const script = readFileSync(testScript, 'utf8')
  expect(script).not.toMatch(/\?\.|\?\?|\|\|=|&&=|\bawait\b|\bat\(|#\w+\s*[(=]|from 'node:/)
})
