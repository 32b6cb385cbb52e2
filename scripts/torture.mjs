// npm run torture -- --store postgres --transport nats --kills 200
import { spawn } from 'node:child_process'
import { dirname, join } from 'node:path'
import process from 'node:process'
import { fileURLToPath } from 'node:url'

const program = join(dirname(dirname(fileURLToPath(import.meta.url))), 'test', 'torture', 'main.ts')
const torture = spawn(process.execPath, ['--disable-warning=ExperimentalWarning', program, ...process.argv.slice(2)], { stdio: 'inherit' })
// The torture still counts; a Ctrl-C ends everything at once.
process.on('SIGTERM', () => torture.kill('SIGTERM'))
torture.once('exit', (status) => process.exit(status ?? 1))
