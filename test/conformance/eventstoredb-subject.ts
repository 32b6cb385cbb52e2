import { EventStoreDBClient } from '@eventstore/db-client'
import { eventStoreDbCapabilities } from '../../src/adapters/eventstoredb/index.ts'
import { doubleProcess } from '../esdb-double/double-process.ts'
import { BrokerSubject } from './broker-subject.ts'

/** The EventStoreDB transport on the protocol double, as a process with a log in a file; each call makes another one. */
export function eventStoreDbSubject(): BrokerSubject {
  return new BrokerSubject({
    name: 'eventstoredb',
    capabilities: eventStoreDbCapabilities,
    server: () => doubleProcess(),
    spec: (url, namespace) => ({ kind: 'eventstoredb', host: new URL(url).host, namespace }),
    publishForeign: async (url, namespace, { type, attributes, contentType, body }) => {
      const client = EventStoreDBClient.connectionString(`${url}?tls=false`)
      const metadata = { ...attributes, ...(contentType === undefined ? {} : { datacontenttype: contentType }) }
      const event = { id: crypto.randomUUID(), type, contentType: 'application/octet-stream', data: body, metadata } as const
      await client.appendToStream(`trunkline-${namespace}/events/${type}`, [event], { credentials: { username: 'a', password: 'b' } })
      await client.dispose()
    },
    settle: () => Promise.resolve(),
  })
}
