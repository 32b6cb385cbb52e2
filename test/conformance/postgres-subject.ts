import { postgresCapabilities } from '../../src/adapters/postgres/index.ts'
import { postgresServer } from '../servers/postgres-server.ts'
import { BrokerSubject } from './broker-subject.ts'

/** The PostgreSQL transport on a private server, a schema per case; each call makes another server. */
export function postgresSubject(listen = true): BrokerSubject {
  return new BrokerSubject({
    name: 'postgres',
    capabilities: postgresCapabilities,
    without: { foreign: 'only this library writes to its tables' },
    // What need not survive a crash is on the disk up to three of these delays later: here a kill really forgets it.
    server: () => postgresServer({ config: ['max_connections = 300', 'wal_writer_delay = 10s'] }),
    spec: (url, namespace) => ({ kind: 'postgres', url, schema: namespace.replaceAll('-', '_'), listen }),
    settle: () => Promise.resolve(),
  })
}
