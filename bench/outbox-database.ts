import { Pool, type PoolClient } from 'pg'
import { postgresServer } from '../test/servers/postgres-server.ts'
import type { ServerProcess } from '../test/servers/server-process.ts'

/** Connections of every case that says how many work side by side. */
export const CONNECTIONS = 16

/** A private server with as much memory as a small production server has; everything that makes it safe is on. */
export async function benchDatabase(): Promise<ServerProcess> {
  const server = await postgresServer({ config: ['shared_buffers = 256MB', 'max_wal_size = 4GB', 'checkpoint_timeout = 30min'] })
  await server.start()
  return server
}

/** A pool of the plain client. */
export function plainPool(url: string, max: number = CONNECTIONS): Pool {
  const pool = new Pool({ connectionString: url, max })
  pool.on('error', () => undefined)
  return pool
}

/** A transaction as one writes it by hand over the plain client. */
export async function transaction<T>(pool: Pool, work: (client: PoolClient) => Promise<T>): Promise<T> {
  const client = await pool.connect()
  let isDone = false
  try {
    await client.query('BEGIN')
    const value = await work(client)
    await client.query('COMMIT')
    isDone = true
    return value
  } finally {
    client.release(!isDone)
  }
}

/** The table of the business, and the statement that fills it. */
export const BUSINESS_TABLE = 'CREATE TABLE IF NOT EXISTS business (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, customer text NOT NULL, sku text NOT NULL, total double precision NOT NULL)'
export const BUSINESS_TEXT = 'INSERT INTO business (customer, sku, total) VALUES ($1, $2, $3)'
