// Everything that must be green before a change is done; started by test.mjs on a Node that is new enough.

import { join } from 'node:path'
import process from 'node:process'
import { runCheckParts } from './check-parts.mjs'
import { rootDir, runProgram, runTests, summarise } from './parts.mjs'
import { ensureServers } from './servers.mjs'

const PACKAGE_TESTS = 'test/package/'

process.chdir(rootDir)
console.log(`Node ${process.versions.node} (${process.execPath})`)
if (!ensureServers()) {
  console.log('0 passed, 1 failed')
  process.exit(1)
}

const parts = await runCheckParts()
parts.push(await runProgram('build', process.execPath, ['scripts/build.mjs']))
// Inherited by every process that a test starts.
process.env.NODE_COMPILE_CACHE = join(rootDir, 'node_modules', '.cache', 'trunkline-compiled')
parts.push(await runProgram('compile', process.execPath, ['--disable-warning=ExperimentalWarning', 'scripts/warm-cache.mjs']))
parts.push(await runTests('tests on real servers', ['--project', 'int', '--exclude', `${PACKAGE_TESTS}**`]))
parts.push(await runTests('package tests', ['--project', 'int', PACKAGE_TESTS]))

const { passed, failed } = summarise(parts)
console.log(`${passed} passed, ${failed} failed`)
process.exitCode = failed === 0 && passed > 0 ? 0 : 1
