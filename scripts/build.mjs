// Makes dist: declarations of every module by the compiler, and the code of each entry as one file with what entries share in chunks beside
// it. Loading two hundred modules one by one would take twice as long as everything that they do.

import { readFileSync, rmSync } from 'node:fs'
import { isAbsolute, join } from 'node:path'
import process from 'node:process'
import { rolldown } from 'rolldown'
import { rootDir, runProgram } from './parts.mjs'

rmSync(join(rootDir, 'dist'), { recursive: true, force: true })
const declarations = await runProgram('build', 'tsc', ['-p', 'tsconfig.build.json', '--emitDeclarationOnly'])
if (declarations.isGreen) await bundle()
process.exitCode = declarations.isGreen ? 0 : 1

/** Writes each entry that the package exports where `exports` has it. */
async function bundle() {
  const { exports } = JSON.parse(readFileSync(join(rootDir, 'package.json'), 'utf8'))
  const files = Object.values(exports).flatMap((entry) => entry.default ?? [])
  const names = files.map((file) => file.replace(/^\.\/dist\/(.*)\.js$/, '$1'))
  const build = await rolldown({
    cwd: rootDir,
    input: Object.fromEntries(names.map((name) => [name, join(rootDir, 'src', `${name}.ts`)])),
    // Every package stays what the project of the user has installed.
    external: (id) => !id.startsWith('.') && !isAbsolute(id),
    platform: 'node',
    treeshake: { moduleSideEffects: false },
  })
  await build.write({ dir: join(rootDir, 'dist'), format: 'esm', entryFileNames: '[name].js', chunkFileNames: 'chunks/[name]-[hash].js', sourcemap: true, minify: false })
  await build.close()
}
