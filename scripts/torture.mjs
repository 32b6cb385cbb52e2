// npm run torture -- --store postgres --transport nats --kills 200
import { spawnSync } from 'node:child_process'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'

const program = join(dirname(dirname(fileURLToPath(import.meta.url))), 'test', 'torture', 'main.ts')
const { status } = spawnSync(process.execPath, ['--disable-warning=ExperimentalWarning', program, ...process.argv.slice(2)], { stdio: 'inherit' })
process.exit(status ?? 1)
