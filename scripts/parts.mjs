// Runs the parts of a check one after the other and keeps the score.

import { spawn } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { constants, tmpdir } from 'node:os'
import { delimiter, dirname, join } from 'node:path'
import { performance } from 'node:perf_hooks'

const HEARTBEAT_MS = 30_000
/** No part takes longer than this; what does hangs, and is stopped so that somebody hears of it. */
const PART_MS_MAX = 30 * 60_000

/** The repository. */
export const rootDir = dirname(import.meta.dirname)

const STOP_SIGNALS = ['SIGINT', 'SIGTERM', 'SIGHUP']

const binDir = join(rootDir, 'node_modules', '.bin')

/** What a part came to. `passed` and `failed` count tests; both are 0 for parts that are no tests. */
class Part {
  constructor(name, isGreen, seconds, passed, failed) {
    this.name = name
    this.isGreen = isGreen
    this.seconds = seconds
    this.passed = passed
    this.failed = failed
  }
}

/** Runs a program of node_modules/.bin, or any other, with its output passed on. */
export async function runProgram(name, command, args) {
  const { code, seconds } = await run(name, command, args)
  return report(new Part(name, code === 0, seconds, 0, 0))
}

/** Runs vitest and counts its tests. A run without a single test is a failure, and so is a skipped test. */
export async function runTests(name, args) {
  const dir = mkdtempSync(join(tmpdir(), 'trunkline-results-'))
  const resultFile = join(dir, 'results.json')
  const reporters = ['--reporter=default', '--reporter=./scripts/running-tests.mjs', '--reporter=json', `--outputFile.json=${resultFile}`]
  try {
    const { code, seconds } = await run(name, 'vitest', ['run', ...args, ...reporters])
    const { passed, failed } = countTests(resultFile)
    return report(new Part(name, code === 0 && failed === 0 && passed > 0, seconds, passed, failed))
  } finally {
    rmSync(dir, { recursive: true, force: true })
  }
}

/** Numbers of tests in a file that vitest's json reporter wrote. A file that did not load counts as one failed test. */
export function countTests(resultFile) {
  let results
  try {
    results = JSON.parse(readFileSync(resultFile, 'utf8'))
  } catch {
    return { passed: 0, failed: 0 }
  }
  const unloaded = results.testResults.filter((file) => file.status === 'failed' && file.assertionResults.length === 0)
  const skipped = results.numPendingTests + results.numTodoTests
  return { passed: results.numPassedTests, failed: results.numFailedTests + unloaded.length + skipped }
}

/** A table of the parts, and the sums. A part that is red without a failed test counts as one failure. */
export function summarise(parts) {
  console.log('')
  for (const part of parts) {
    console.log(`${part.isGreen ? 'green' : 'RED  '}  ${part.name.padEnd(28)} ${part.seconds.toFixed(1).padStart(7)} s  ${countText(part)}`)
  }
  const passed = parts.reduce((sum, part) => sum + part.passed, 0)
  const failed = parts.reduce((sum, part) => sum + (part.isGreen ? 0 : Math.max(1, part.failed)), 0)
  return { passed, failed }
}

function countText(part) {
  return part.passed + part.failed === 0 ? '' : `${part.passed} passed, ${part.failed} failed`
}

function report(part) {
  console.log(`── ${part.name}: ${part.isGreen ? 'green' : 'RED'} in ${part.seconds.toFixed(1)} s`)
  return part
}

async function run(name, command, args) {
  console.log(`── ${name}: ${[command, ...args.filter((arg) => !arg.includes('reporter') && !arg.includes('outputFile'))].join(' ')}`)
  const start = performance.now()
  const secondsSoFar = () => (performance.now() - start) / 1000
  const heartbeat = setInterval(() => console.log(`   … ${name}: ${secondsSoFar().toFixed(0)} s so far`), HEARTBEAT_MS)
  try {
    return { code: await exitCodeOf(command, args), seconds: secondsSoFar() }
  } finally {
    clearInterval(heartbeat)
  }
}

export function exitCodeOf(command, args, limitMs = PART_MS_MAX) {
  // The tools start with `env node`: the Node that npm ci installed must come before the system's.
  const env = { ...process.env, PATH: `${binDir}${delimiter}${process.env.PATH ?? ''}` }
  // A group of its own, so that nothing of it is left when it has to be stopped.
  const child = spawn(command, args, { cwd: rootDir, env, stdio: ['ignore', 'inherit', 'inherit'], detached: true })
  const stop = (signal) => {
    if (child.pid !== undefined && child.exitCode === null && child.signalCode === null) process.kill(-child.pid, signal)
  }
  const interrupted = (signal) => {
    stop(signal)
    process.exit(128 + constants.signals[signal])
  }
  for (const signal of STOP_SIGNALS) process.on(signal, interrupted)
  const limit = setTimeout(() => {
    console.error(`   ${command} has not ended after ${limitMs / 60_000} minutes and is stopped; the tests that ran last are named above`)
    stop('SIGKILL')
  }, limitMs)
  return new Promise((resolve) => {
    child.once('error', (error) => {
      console.error(`   ${command}: ${error.message}`)
      resolve(1)
    })
    child.once('exit', (code, signal) => resolve(signal === null ? code : 128 + constants.signals[signal]))
  }).finally(() => {
    clearTimeout(limit)
    for (const signal of STOP_SIGNALS) process.off(signal, interrupted)
  })
}
