import { postgresCapabilities } from '../../src/adapters/postgres/index.ts'
import { postgresServer } from '../servers/postgres-server.ts'
import { BrokerSubject } from './broker-subject.ts'

/** The PostgreSQL transport on a private server, a schema per case; each call makes another server. */
export function postgresSubject(listen = true): BrokerSubject {
  return new BrokerSubject({
    name: 'postgres',
    capabilities: postgresCapabilities,
    without: { foreign: 'only this library writes to its tables' },
    server: () => postgresServer({ config: ['max_connections = 300'] }),
    spec: (url, namespace) => ({ kind: 'postgres', url, schema: namespace.replaceAll('-', '_'), listen }),
    settle: () => Promise.resolve(),
  })
}
