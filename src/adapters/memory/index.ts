/** The in-process transport; subpath `trunkline/memory`. */
export { memory, memoryCapabilities, type MemoryOptions } from './memory-transport.ts'
export { MemoryBroker, memoryBroker, type MemoryBrokerOptions } from './memory-broker.ts'
