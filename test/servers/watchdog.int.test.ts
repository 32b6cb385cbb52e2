import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { until } from './until.ts'

const SERVER_FILE = join(import.meta.dirname, 'nats-server.ts')
const OWNER = `
  const { natsServer } = await import(${JSON.stringify(SERVER_FILE)})
  const server = await natsServer({ hasJetStream: false })
  await server.start()
  console.log(JSON.stringify({ pid: server.pid, dir: server.dir }))
  setInterval(() => {}, 1000)
`

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0)
    return true
  } catch {
    return false
  }
}

test('ends the servers and removes the folders of a test process that was killed', async () => {
  const owner = spawn(process.execPath, ['--input-type=module', '-e', OWNER], { stdio: ['ignore', 'pipe', 'inherit'] })
  const [line] = await once(owner.stdout, 'data')
  const server: { pid: number; dir: string } = JSON.parse(String(line))
  expect(isAlive(server.pid)).toBe(true)
  owner.kill('SIGKILL')
  await until(() => !isAlive(server.pid), { what: 'the end of the server' })
  await until(() => !existsSync(server.dir), { what: 'the removal of its folder' })
})
