import { MemoryBackend, type MemoryDatabase, MemoryTransaction, memoryDatabase, memoryLogCapabilities } from '../../src/adapters/memory/index.ts'
import type { BusinessRows, StorePlace, StoreSubject } from '../../src/testing/index.ts'

/** The memory store: a database value per case. */
export const memoryStoreSubject: StoreSubject = {
  name: 'memory',
  capabilities: memoryLogCapabilities,
  place(): Promise<StorePlace> {
    const database = memoryDatabase()
    return Promise.resolve({ make: () => new MemoryBackend(database), rows: memoryRows(database), close: () => Promise.resolve() })
  },
}

/** A user's table in a memory database. */
export function memoryRows(database: MemoryDatabase): BusinessRows {
  return {
    put: (handle, id, value) => {
      if (!(handle instanceof MemoryTransaction)) throw new Error('the handle is a transaction')
      handle.table<number>('rows').set(id, value)
      return Promise.resolve()
    },
    read: (id) => Promise.resolve(database.rows<number>('rows').get(id)),
  }
}
