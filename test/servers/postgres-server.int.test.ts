import { execFile } from 'node:child_process'
import { promisify } from 'node:util'
import { expect, test } from 'vitest'
import { postgresServer } from './postgres-server.ts'
import { requireBinary } from './server-binary.ts'

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
