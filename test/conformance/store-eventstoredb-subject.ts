import { eventStoreDbBackend, eventStoreDbLogCapabilities } from '../../src/adapters/eventstoredb/index.ts'
import type { StorePlace, StoreSubject } from '../../src/testing/index.ts'
import { esdbDouble } from '../esdb-double/esdb-double.ts'

/** The EventStoreDB store on the protocol double: a double per case. */
export const eventStoreDbStoreSubject: StoreSubject = {
  name: 'eventstoredb',
  capabilities: eventStoreDbLogCapabilities,
  without: {
    'business rows': 'EventStoreDB holds events alone',
    'truncation everywhere': 'what the settings of a stream end stays in the whole log until an operator scavenges it',
    'own transport': 'a unit is one append to one stream, and messages go to streams of their own',
  },
  place: async (): Promise<StorePlace> => {
    const double = await esdbDouble()
    return {
      make: () => eventStoreDbBackend({ hosts: `127.0.0.1:${double.port}`, tls: false }),
      close: () => double.close(),
    }
  },
}
