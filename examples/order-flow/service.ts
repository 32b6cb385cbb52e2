import { join } from 'node:path'
import { type Bus, type InlineProjection, type Transport, createBus, silentLogger } from 'trunkline'
import { type Directory, discovery } from 'trunkline/discovery'
import { type Sqlite, sqlite } from 'trunkline/sqlite'
import { addToFact, makeTables, setFact } from './service-tables.ts'

/** The services of the order flow. */
export const SERVICES = ['shop', 'stock', 'billing', 'reporting', 'orders', 'till'] as const

/** One of them. */
export type ServiceName = (typeof SERVICES)[number]

/** What every service is started with. */
export interface ServiceSetup {
  readonly transport: Transport
  /** Folder of the services' files. */
  readonly dir: string
  /** Begins the id of every message of this run, so that nothing from an earlier run on the same broker counts. */
  readonly run: string
  /** 1-based number among the instances of the service. */
  readonly instance: number
  /** The invoices; for shop and till. */
  readonly input?: string
  /** The shop begins when this file is there. */
  readonly door?: string
  /** Invoices that the shop publishes in a second at most; undefined for as many as it can. */
  readonly invoicesPerSecond?: number | undefined
  /** Called when the service cannot go on by itself; started again, it goes on where it was. */
  readonly failed: (error: unknown) => void
}

/** The part of a setup that another process can be given. */
export type ServicePlan = Omit<ServiceSetup, 'transport' | 'failed'>

/** A service that runs. */
export interface RunningService {
  /** Finishes what is being handled and closes everything. */
  stop(): Promise<void>
}

/** File of a service. */
export function serviceFilePath(dir: string, service: ServiceName): string {
  return join(dir, `${service}.db`)
}

/** A service before it is started. */
export interface OpenService {
  readonly bus: Bus
  /** The service's own database: what its handlers write, what they have handled, and what they publish commit in it together. */
  readonly store: Sqlite
  /** Who else is there, as this process sees it. */
  readonly directory: Directory
}

/** Time after which others take over what a dead instance held. Short, so that chaos stays lively. */
const TAKEOVER_MS = 2_000
/** Time between two signs of life. Short as well: who dies is suspect after three of them that are missed. */
const BEAT_MS = 500

/** Makes a service's tables, its store and its bus; the service subscribes its handlers and starts it. */
export async function openService(name: ServiceName, setup: ServiceSetup, tables: string, inline: readonly InlineProjection[] = []): Promise<OpenService> {
  const file = serviceFilePath(setup.dir, name)
  await makeTables(file, tables)
  const store = sqlite({ file, leaseMs: TAKEOVER_MS, inline })
  // Each life has a name of its own, so that one sees the old one go and the new one come.
  const directory = discovery({ instance: `${name}-${setup.instance} (process ${process.pid})`, beatMs: BEAT_MS })
  const bus = createBus({
    discovery: directory,
    service: { name },
    transport: setup.transport,
    outbox: store.outbox,
    // The summary counts what went wrong, and chaos makes much of it.
    logger: silentLogger,
    // Every death of a process counts as an attempt of what it was handling, and chaos kills often.
    defaults: { retry: { attemptsMax: 100, initialMs: 100, maxMs: 1_000 } },
  })
  bus.observe((event) => {
    if (event.kind === 'delivery-retried') void store.transaction(({ tx }) => addToFact(tx, 'retried', 1)).catch(() => {})
  })
  return { bus, store, directory }
}

/** Starts the bus and says so in the service's file. */
export async function startService({ bus, store }: OpenService, setup: ServiceSetup): Promise<RunningService> {
  await bus.start()
  // From now on the groups exist, whatever happens to this process.
  await store.transaction(({ tx }) => setFact(tx, `ready-${setup.instance}`, process.pid))
  return { stop: () => bus.stop() }
}

/** True for messages of this run. Others were left behind on the broker by a run that was broken off. */
export function isOfRun(setup: ServiceSetup, message: { readonly id: string }): boolean {
  return message.id.startsWith(`${setup.run}.`)
}

/** The same for messages of an order: those that its saga sends have ids of their own, and the order's id begins with the run. */
export function isOrderOfRun(setup: ServiceSetup, orderId: string): boolean {
  return orderId.startsWith(`${setup.run}.`)
}
