import { execFile } from 'node:child_process'
import { promisify } from 'node:util'
import { expect, test } from 'vitest'
import { migrate, migrationSql, versionOf } from '../../../src/adapters/postgres/postgres-migrations.ts'
import { PgDatabase } from '../../../src/adapters/postgres/postgres-database.ts'
import { settingsFrom } from '../../../src/adapters/postgres/postgres-options.ts'
import { requireBinary } from '../../servers/server-binary.ts'
import { until } from '../../servers/until.ts'
import { postgresRig, storeHost } from './postgres-rig.ts'

const run = promisify(execFile)
const rig = postgresRig()

async function shape(url: string): Promise<string> {
  const { stdout } = await run(requireBinary('pg_dump', 'postgresql-client'), ['--schema-only', '--no-owner', url], { timeout: 20_000 })
  // Newer minor releases write a random key into each dump.
  return stdout.replaceAll(/^\\(?:un)?restrict .*$/gm, '')
}

test('two instances that start at once make the tables once', async () => {
  const url = await rig.database()
  const hosts = Array.from({ length: 4 }, () => storeHost())
  const databases = hosts.map(() => new PgDatabase(settingsFrom({ connectionString: url })))
  await Promise.all(databases.map((database, index) => database.open(hosts[index] ?? storeHost(), 'store')))
  const client = await rig.client(url)
  const { rows } = await client.query('SELECT part, version FROM trunkline.part_version')
  expect(rows).toEqual([{ part: 'store', version: versionOf('store') }])
  await client.end()
  await Promise.all(databases.map((database, index) => database.close(hosts[index] ?? storeHost())))
})

test('a process that is killed half way leaves nothing behind', async () => {
  const url = await rig.database()
  const client = await rig.client(url)
  const pid: number = (await client.query('SELECT pg_backend_pid() AS pid')).rows[0].pid
  const failing = migrate(async (text) => {
    if (text.startsWith('INSERT INTO')) {
      const admin = await rig.client(url)
      await admin.query('SELECT pg_terminate_backend($1)', [pid])
      await admin.end()
    }
    return (await client.query(text)).rows
  }, 'trunkline', ['store'], true)
  await expect(failing).rejects.toThrow()
  const other = await rig.client(url)
  await until(async () => (await other.query('SELECT 1 FROM pg_stat_activity WHERE pid = $1', [pid])).rows.length === 0)
  expect((await other.query("SELECT 1 FROM pg_namespace WHERE nspname = 'trunkline'")).rows).toEqual([])
  await migrate(async (text) => (await other.query(text)).rows, 'trunkline', ['store'], true)
  await other.end()
})

test('the printed SQL makes the same tables, also when it is run again', async () => {
  const [byCall, bySql] = [await rig.database(), await rig.database()]
  const client = await rig.client(byCall)
  await migrate(async (text) => (await client.query(text)).rows, 'trunkline', ['store', 'transport'], true)
  await client.end()
  const psql = requireBinary('psql', 'postgresql-client')
  for (let time = 0; time < 2; time++) await run(psql, [bySql, '-v', 'ON_ERROR_STOP=1', '-q', '-c', migrationSql()], { timeout: 20_000 })
  expect(await shape(bySql)).toBe(await shape(byCall))
  const other = await rig.client(bySql)
  await migrate(async (text) => {
    expect(text).toMatch(/^SELECT/)
    return (await other.query(text)).rows
  }, 'trunkline', ['store'], true)
  await other.end()
})

test('the schema has the name that it is given', async () => {
  const url = await rig.database()
  const host = storeHost()
  const database = new PgDatabase(settingsFrom({ connectionString: url, schema: 'user' }))
  await database.open(host, 'store')
  await database.close(host)
  const client = await rig.client(url)
  expect((await client.query("SELECT DISTINCT schemaname FROM pg_tables WHERE tablename IN ('event', 'outbox')")).rows).toEqual([{ schemaname: 'user' }])
  await client.end()
})

test('a role that may change no tables starts where they are right, and is refused where they are not', async () => {
  const url = await rig.database()
  const admin = await rig.client(url)
  await admin.query('CREATE ROLE plain LOGIN')
  const plainUrl = Object.assign(new URL(url), { username: 'plain' }).href
  const host = storeHost()
  const database = new PgDatabase(settingsFrom({ connectionString: plainUrl }))
  await expect(database.open(host, 'store')).rejects.toMatchObject({ code: 'store.refused', message: expect.stringContaining('42501') })
  await migrate(async (text) => (await admin.query(text)).rows, 'trunkline', ['store'], true)
  await admin.query('GRANT USAGE ON SCHEMA trunkline TO plain; GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA trunkline TO plain')
  await database.open(host, 'store')
  await database.close(host)
  await admin.end()
})

test('with migrations on check, open changes nothing', async () => {
  const url = await rig.database()
  const host = storeHost()
  const database = new PgDatabase(settingsFrom({ connectionString: url, migrations: 'check' }))
  await expect(database.open(host, 'store')).rejects.toMatchObject({ code: 'store.refused', message: expect.stringContaining('migrationSql') })
  const client = await rig.client(url)
  expect((await client.query("SELECT 1 FROM pg_namespace WHERE nspname = 'trunkline'")).rows).toEqual([])
  await client.end()
})

test('tables of a newer release are left alone', async () => {
  const url = await rig.database()
  const host = storeHost()
  const database = new PgDatabase(settingsFrom({ connectionString: url }))
  await database.open(host, 'store')
  await database.close(host)
  const client = await rig.client(url)
  await client.query('UPDATE trunkline.part_version SET version = 99')
  await client.end()
  await expect(database.open(host, 'store')).rejects.toMatchObject({ code: 'bus.unsupported' })
})
