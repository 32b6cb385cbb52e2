import { execFile, spawn } from 'node:child_process'
import { once } from 'node:events'
import { promisify } from 'node:util'
import { expect, test } from 'vitest'
import { postgresServer } from './postgres-server.ts'
import { requireBinary } from './server-binary.ts'
import { until } from './until.ts'

const run = promisify(execFile)

async function query(url: string, sql: string): Promise<string> {
  const { stdout } = await run(requireBinary('psql', 'postgresql-client'), [url, '-At', '-c', sql], { timeout: 10_000 })
  return stdout.trim()
}

test('keeps what was committed through SIGKILL, behind its own password', async () => {
  await using server = await postgresServer({ password: 'secret', config: ['work_mem = 5MB'] })
  await server.start()
  await query(server.url, 'create table kept (id int); insert into kept values (7)')
  await server.kill9()
  await server.start()
  expect(await query(server.url, 'select id from kept')).toBe('7')
  expect(await query(server.url, 'show work_mem')).toBe('5MB')
  await expect(query(server.url.replace('secret', 'wrong'), 'select 1')).rejects.toThrow(/password authentication failed/)
})

test('starts although a session of the killed server is slow to end', async () => {
  await using server = await postgresServer()
  await server.start()
  const session = spawn(requireBinary('psql', 'postgresql-client'), [server.url, '-At', '-c', 'select pg_backend_pid()', '-c', 'select pg_sleep(60)'])
  const [line] = await once(session.stdout, 'data')
  const backend = Number(String(line))
  process.kill(backend, 'SIGSTOP')
  await server.kill9()
  const started = server.start()
  await until(() => server.logTail().includes('pre-existing shared memory block'), { what: 'a start that was too early' })
  process.kill(backend, 'SIGCONT')
  await started
  expect(await query(server.url, 'select 1')).toBe('1')
  session.kill()
})
