import { afterAll, beforeAll } from 'vitest'
import { Client, Pool } from 'pg'
import { type PostgresBackend, postgresBackend, type PostgresOptions } from '../../../src/adapters/postgres/index.ts'
import { systemClock } from '../../../src/core/clock.ts'
import type { WireMessage } from '../../../src/core/envelope.ts'
import { silentLogger } from '../../../src/core/logger.ts'
import { systemRandom } from '../../../src/core/random.ts'
import type { NewOutboxRow, StoreHost } from '../../../src/outbox/port.ts'
import type { EventLog, NewEvent, StoredEvent } from '../../../src/store/port.ts'
import { wireMessage } from '../wire-messages.ts'
import { postgresServer } from '../../servers/postgres-server.ts'
import type { ServerProcess } from '../../servers/server-process.ts'

/** A private server for the tests of one file, with a database of its own for each test that wants one. */
export class PostgresRig {
  #server: ServerProcess | undefined
  #made = 0

  get server(): ServerProcess {
    if (this.#server === undefined) throw new Error('the server was not started')
    return this.#server
  }

  async start(config: readonly string[] = []): Promise<void> {
    // Nothing in these tests depends on a power cut.
    this.#server = await postgresServer({ config: ['fsync = off', ...config] })
    await this.#server.start()
  }

  async stop(): Promise<void> {
    await this.#server?.close()
  }

  /** The URL of a new, empty database. */
  async database(): Promise<string> {
    const name = `t${++this.#made}`
    const admin = await this.client(this.server.url)
    await admin.query(`CREATE DATABASE ${name}`)
    await admin.end()
    return this.server.url.replace(/\/postgres$/, `/${name}`)
  }

  async client(url: string): Promise<Client> {
    const client = new Client({ connectionString: url })
    client.on('error', () => undefined)
    await client.connect()
    return client
  }

  pool(url: string, max = 10): Pool {
    const pool = new Pool({ connectionString: url, max })
    pool.on('error', () => undefined)
    return pool
  }
}

/** A rig whose server runs while the tests of this file do. */
export function postgresRig(config: readonly string[] = []): PostgresRig {
  const rig = new PostgresRig()
  beforeAll(async () => {
    await rig.start(config)
  })
  afterAll(async () => {
    await rig.stop()
  })
  return rig
}

/** One report of the state of the link. */
export interface StateReport {
  readonly state: 'up' | 'degraded' | 'down'
  readonly reason: string
}

/** A host for a store, with real time; what is reported goes into `reports`. */
export function storeHost(options: { readonly instance?: string; readonly reports?: StateReport[]; readonly isOwnTransport?: boolean } = {}): StoreHost {
  return {
    clock: systemClock,
    random: systemRandom,
    logger: silentLogger,
    service: 'test',
    instance: options.instance ?? systemRandom.id(systemClock.nowMs()),
    isOwnTransport: options.isOwnTransport ?? false,
    report: (state, reason) => options.reports?.push({ state, reason }),
  }
}

let made = 0

/** An event to be appended; each has an id of its own. */
export function newEvent(parts: Partial<WireMessage> = {}): NewEvent {
  return { message: wireMessage({ id: `event-${++made}`, ...parts }), isPublic: false }
}

/** A message for the outbox; each has an id of its own. */
export function outboxRow(parts: Partial<WireMessage> = {}, shard = 0): NewOutboxRow {
  return { kind: 'event', shard, message: wireMessage({ id: `message-${++made}`, ...parts }) }
}

/** Everything in the log, as a reader sees it now. */
export async function readAll(log: EventLog): Promise<readonly StoredEvent[]> {
  const events: StoredEvent[] = []
  for (let after: bigint | undefined; ; ) {
    const page = await log.read({ selection: { kind: 'all' }, direction: 'forwards', after, limit: 100 })
    events.push(...page.events)
    if (page.isEnd) return events
    after = page.cursor
  }
}

/** An open store on its own database, closed by `close`. */
export async function openStore(options: PostgresOptions, host: StoreHost = storeHost()): Promise<PostgresBackend> {
  const backend = postgresBackend(options)
  await backend.open(host)
  return backend
}

/** A promise and the way to resolve it. */
export class Gate {
  readonly opened: Promise<void>
  open: () => void = () => undefined

  constructor() {
    this.opened = new Promise((resolve) => {
      this.open = resolve
    })
  }
}
