import { Client } from 'pg'
import { postgresBackend } from '../../src/adapters/postgres/index.ts'
import type { StorePlace, StoreSubject } from '../../src/testing/index.ts'
import { postgresServer } from '../servers/postgres-server.ts'
import type { ServerProcess } from '../servers/server-process.ts'

/** The PostgreSQL store: a schema per case in one private server, which starts with the first case. */
export class PostgresStoreSubject implements StoreSubject {
  readonly name = 'postgres'
  readonly capabilities = { canCommitRows: true, canCommitStreams: true, survivesProcessDeath: true }
  #server: Promise<ServerProcess> | undefined
  #made = 0

  async place(): Promise<StorePlace> {
    const server = await (this.#server ??= this.#start())
    const schema = `case_${++this.#made}`
    const client = new Client({ connectionString: server.url })
    await client.connect()
    await client.query(`CREATE TABLE rows_${schema} (id text PRIMARY KEY, value int NOT NULL)`)
    return {
      make: () => postgresBackend({ connectionString: server.url, schema, poolMax: 4 }),
      rows: {
        put: async (handle, id, value) => {
          if (typeof handle !== 'object' || handle === null || !('query' in handle) || typeof handle.query !== 'function') throw new Error('the handle has a query')
          await handle.query(`INSERT INTO rows_${schema} VALUES ($1, $2) ON CONFLICT (id) DO UPDATE SET value = excluded.value`, [id, value])
        },
        read: async (id) => {
          const { rows } = await client.query(`SELECT value FROM rows_${schema} WHERE id = $1`, [id])
          return rows[0]?.value
        },
      },
      close: async () => {
        await client.query(`DROP TABLE rows_${schema}; DROP SCHEMA IF EXISTS ${schema} CASCADE`)
        await client.end()
      },
    }
  }

  async close(): Promise<void> {
    await (await this.#server)?.close()
  }

  async #start(): Promise<ServerProcess> {
    const server = await postgresServer({ config: ['fsync = off'] })
    await server.start()
    return server
  }
}
