import { join } from 'node:path'
import { type Bus, type Transport, createBus, silentLogger } from 'trunkline'
import { ServiceFile } from './service-file.ts'

/** The services of the order flow. */
export const SERVICES = ['shop', 'stock', 'billing', 'reporting'] as const

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
  /** The invoices; for the shop only. */
  readonly input?: string
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

/** Opens a service's file and makes its bus; the service subscribes its handlers and starts it. */
export async function openService(name: ServiceName, setup: ServiceSetup, tables: string): Promise<{ readonly bus: Bus; readonly file: ServiceFile }> {
  const file = await ServiceFile.open(serviceFilePath(setup.dir, name), tables)
  const bus = createBus({
    service: { name },
    transport: setup.transport,
    // The summary counts what went wrong, and chaos makes much of it.
    logger: silentLogger,
    // Every death of a process counts as an attempt of what it was handling, and chaos kills often.
    defaults: { retry: { attemptsMax: 20, initialMs: 100, maxMs: 1_000 } },
  })
  bus.observe((event) => {
    if (event.kind === 'delivery-retried') void file.addToFact('retried', 1).catch(() => {})
  })
  return { bus, file }
}

/** Starts the bus and says so in the service's file. */
export async function startService(bus: Bus, file: ServiceFile, setup: ServiceSetup): Promise<RunningService> {
  await bus.start()
  // From now on the groups exist, whatever happens to this process.
  await file.setFact(`ready-${setup.instance}`, process.pid)
  return {
    async stop() {
      await bus.stop()
      file[Symbol.dispose]()
    },
  }
}

/** True for messages of this run. Others were left behind on the broker by a run that was broken off. */
export function isOfRun(setup: ServiceSetup, message: { readonly id: string }): boolean {
  return message.id.startsWith(`${setup.run}.`)
}
