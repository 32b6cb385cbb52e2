// npm run sim -- discovery --instances 1000
import { spawn } from 'node:child_process'
import { dirname, join } from 'node:path'
import process from 'node:process'
import { fileURLToPath } from 'node:url'

const program = join(dirname(dirname(fileURLToPath(import.meta.url))), 'test', 'sim', 'main.ts')
const sim = spawn(process.execPath, ['--disable-warning=ExperimentalWarning', program, ...process.argv.slice(2)], { stdio: 'inherit' })
sim.once('exit', (status) => process.exit(status ?? 1))
