// Compiles src to dist: one file per module, with declarations and maps.

import { rmSync } from 'node:fs'
import { join } from 'node:path'
import process from 'node:process'
import { rootDir, runProgram } from './parts.mjs'

rmSync(join(rootDir, 'dist'), { recursive: true, force: true })
const build = await runProgram('build', 'tsc', ['-p', 'tsconfig.build.json'])
process.exitCode = build.isGreen ? 0 : 1
