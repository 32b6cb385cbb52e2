// npm run bench -- <suite>: builds the library, installs the peers that are compared with, and measures.
import { spawnSync } from 'node:child_process'
import { existsSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'

const root = join(dirname(fileURLToPath(import.meta.url)), '..')
const bench = join(root, 'bench')

function run(command, args, cwd) {
  const { status } = spawnSync(command, args, { cwd, stdio: ['inherit', 'inherit', 'inherit'] })
  if (status !== 0) process.exit(status ?? 1)
}

if (!process.argv.includes('--help')) {
  if (!existsSync(join(bench, 'node_modules'))) run('npm', ['ci', '--no-audit', '--no-fund'], bench)
  run(process.execPath, [join(root, 'scripts', 'build.mjs')], root)
}
run(process.execPath, ['--expose-gc', join(bench, 'main.ts'), ...process.argv.slice(2)], root)
