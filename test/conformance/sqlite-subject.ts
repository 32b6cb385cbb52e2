import { rmSync } from 'node:fs'
import { join } from 'node:path'
import { sqliteCapabilities } from '../../src/adapters/sqlite/index.ts'
import type { ConformanceSubject } from '../../src/testing/index.ts'
import { privateFolder } from '../servers/server-process.ts'
import { type TransportSpec, openTransport } from './transport-spec.ts'
import { spawnWorker } from './worker-process.ts'

/** The SQLite transport: a file per case. */
export const sqliteSubject: ConformanceSubject = {
  name: 'sqlite',
  capabilities: sqliteCapabilities,
  without: { faults: 'a file has neither a server nor a link', foreign: 'only this library writes to its tables' },
  place: async () => {
    const dir = privateFolder('conformance')
    const spec: TransportSpec = { kind: 'sqlite', file: join(dir, 'bus.db') }
    return {
      open: () => openTransport(spec),
      spawn: (settings) => spawnWorker(spec, settings),
      close: async () => rmSync(dir, { recursive: true, force: true, maxRetries: 5, retryDelay: 50 }),
    }
  },
}
