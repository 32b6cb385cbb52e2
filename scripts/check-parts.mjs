// What `npm run check` runs, and `npm test` before everything else: no server, no network, under a minute.

import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { rootDir, runProgram, runTests } from './parts.mjs'

const LINTED = ['src', 'test', 'examples', 'scripts', 'bench', 'vitest.config.ts']

/** Types, lint, and the unit tests with the architecture and style rules among them. */
export async function runCheckParts() {
  // What the benchmarks compare with is installed by `npm run bench` alone; without it their types cannot be read.
  const canReadBench = existsSync(join(rootDir, 'bench', 'node_modules'))
  const paths = LINTED.filter((path) => existsSync(join(rootDir, path)))
  return [
    await runProgram('types', 'tsc', ['--noEmit']),
    await runProgram('types of the library', 'tsc', ['--noEmit', '-p', 'tsconfig.build.json']),
    ...(canReadBench ? [await runProgram('types of the benchmarks', 'tsc', ['--noEmit', '-p', 'bench/tsconfig.json'])] : []),
    await runProgram('lint', 'oxlint', ['--type-aware', '--deny-warnings', ...paths]),
    await runTests('unit and tidy tests', ['--project', 'unit', '--project', 'unit-alone']),
  ]
}
