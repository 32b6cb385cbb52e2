/** The in-process transport; subpath `trunkline/memory`. */
export { memory, memoryCapabilities, type MemoryOptions } from './memory-transport.ts'
export { MemoryBroker, memoryBroker, type MemoryBrokerOptions } from './memory-broker.ts'
export { memoryStore, type MemoryStoreOptions } from './memory-composed.ts'
export { MemoryBackend } from './memory-store.ts'
export { MemoryDatabase, type MemoryDatabaseOptions, memoryDatabase } from './memory-store-database.ts'
export { memoryLogCapabilities } from './memory-store-log.ts'
export { MemoryOwnTransaction, MemoryTable, MemoryTransaction } from './memory-store-transaction.ts'
