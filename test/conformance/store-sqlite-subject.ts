import { rmSync } from 'node:fs'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { sqliteBackend, sqliteLogCapabilities } from '../../src/adapters/sqlite/index.ts'
import type { SqliteHandle } from '../../src/adapters/sqlite/index.ts'
import type { StorePlace, StoreSubject } from '../../src/testing/index.ts'
import { privateFolder } from '../servers/server-process.ts'

/** The SQLite store: a file per case. */
export const sqliteStoreSubject: StoreSubject = {
  name: 'sqlite',
  capabilities: sqliteLogCapabilities,
  place(): Promise<StorePlace> {
    const dir = privateFolder('store-conformance')
    const file = join(dir, 'store.db')
    const database = new DatabaseSync(file)
    database.exec('PRAGMA busy_timeout = 5000; PRAGMA journal_mode = WAL; CREATE TABLE rows (id TEXT PRIMARY KEY, value INTEGER NOT NULL) STRICT')
    const read = database.prepare('SELECT value FROM rows WHERE id = ?')
    return Promise.resolve({
      make: () => sqliteBackend({ file }),
      rows: {
        put: (handle, id, value) => {
          if (!isHandle(handle)) throw new Error('the handle prepares statements')
          handle.prepare('INSERT INTO rows VALUES (?, ?) ON CONFLICT (id) DO UPDATE SET value = excluded.value').run(id, value)
          return Promise.resolve()
        },
        read: (id) => {
          const value = read.get(id)?.['value']
          return Promise.resolve(typeof value === 'number' ? value : undefined)
        },
      },
      close: () => {
        database.close()
        rmSync(dir, { recursive: true, force: true, maxRetries: 5, retryDelay: 50 })
        return Promise.resolve()
      },
    })
  },
}

function isHandle(handle: unknown): handle is SqliteHandle {
  return typeof handle === 'object' && handle !== null && 'prepare' in handle
}
