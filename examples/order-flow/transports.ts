import type { Transport } from 'trunkline'
import { type MemoryBroker, memory } from 'trunkline/memory'

/** Which transport, as a value that a child process can be given. */
export type TransportChoice =
  | { readonly kind: 'sqlite'; readonly file: string }
  | { readonly kind: 'nats'; readonly url: string; readonly namespace: string }
  | { readonly kind: 'rabbitmq'; readonly url: string; readonly namespace: string }
  | { readonly kind: 'postgres'; readonly url: string; readonly schema: string }

/** Names of the transports that the demo runs on. */
export const TRANSPORTS = ['sqlite', 'nats', 'rabbitmq', 'postgres', 'memory'] as const

/** One of them. */
export type TransportName = (typeof TRANSPORTS)[number]

/** Time after which the broker gives a dead instance's messages to others. Short, so that chaos stays lively. */
const TAKEOVER_MS = 2_000

/** Makes a transport between processes. Only the chosen one is loaded. */
export async function transportOf(choice: TransportChoice): Promise<Transport> {
  switch (choice.kind) {
    case 'sqlite': {
      const { sqlite } = await import('trunkline/sqlite')
      return sqlite({ file: choice.file, leaseMs: TAKEOVER_MS }).transport
    }
    case 'nats': {
      const { nats } = await import('trunkline/nats')
      return nats({ servers: choice.url, namespace: choice.namespace, ackWaitMs: TAKEOVER_MS, leaseMs: TAKEOVER_MS / 2 })
    }
    case 'rabbitmq': {
      const { rabbitmq } = await import('trunkline/rabbitmq')
      return rabbitmq({ url: choice.url, namespace: choice.namespace })
    }
    case 'postgres': {
      const { postgres } = await import('trunkline/postgres')
      return postgres({ connectionString: choice.url, schema: choice.schema, leaseMs: TAKEOVER_MS }).transport
    }
  }
}

/** Makes a transport inside this process, for services that share the broker. */
export function memoryTransport(broker: MemoryBroker): Transport {
  return memory({ broker })
}
