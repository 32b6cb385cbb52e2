import { eventStoreDbTransport } from '../../src/adapters/eventstoredb/index.ts'
import { nats } from '../../src/adapters/nats/index.ts'
import { postgres } from '../../src/adapters/postgres/index.ts'
import { rabbitmq } from '../../src/adapters/rabbitmq/index.ts'
import { sqlite } from '../../src/adapters/sqlite/index.ts'
import type { Transport } from '../../src/index.ts'

/** Where a place is, as JSON, so that a child process can open a transport in it too. */
export type TransportSpec =
  | { readonly kind: 'sqlite'; readonly file: string }
  | { readonly kind: 'eventstoredb'; readonly host: string; readonly namespace: string }
  | { readonly kind: 'nats'; readonly servers: string; readonly namespace: string }
  | { readonly kind: 'postgres'; readonly url: string; readonly schema: string; readonly listen: boolean }
  | { readonly kind: 'rabbitmq'; readonly url: string; readonly namespace: string }

/** Opens a transport in a place. Times that decide how soon a death is noticed are short, the rest is the default. */
export function openTransport(spec: TransportSpec): Transport {
  if (spec.kind === 'sqlite') return sqlite({ file: spec.file }).transport
  if (spec.kind === 'eventstoredb') {
    const { host: hosts, namespace } = spec
    return eventStoreDbTransport({ hosts, namespace, tls: false, leaseMs: 3_000, callTimeoutMs: 5_000 })
  }
  if (spec.kind === 'postgres') return postgres({ connectionString: spec.url, schema: spec.schema, listen: spec.listen, leaseMs: 3_000, poolMax: 4 }).transport
  if (spec.kind === 'nats') return nats({ servers: spec.servers, namespace: spec.namespace, ackWaitMs: 3_000, leaseMs: 3_000 })
  return rabbitmq({ url: spec.url, namespace: spec.namespace, heartbeatMs: 1_000 })
}
