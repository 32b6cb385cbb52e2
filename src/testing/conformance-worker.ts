import { createBus } from '../bus/bus.ts'
import type { Transport } from '../bus/port.ts'
import { sleep, systemClock } from '../core/clock.ts'
import { silentLogger } from '../core/logger.ts'
import { Moved, Ticked } from './conformance-contracts.ts'

/** What a worker process does. */
export type WorkerRole = 'handler' | 'ordered' | 'publisher'

/** Everything that a worker is told; JSON-safe, so that it fits into an environment variable. */
export interface WorkerSettings {
  readonly role: WorkerRole
  /** Data with this `n` ends the process inside the handler. */
  readonly deadlyN?: number
  /** Data with this `n` is never finished. */
  readonly endlessN?: number
  /** Time that a handler pretends to work, in milliseconds. Default 0. */
  readonly workMs?: number
  readonly attemptsMax?: number
  readonly inFlightMax?: number
  /** Messages that the role `publisher` sends. */
  readonly count?: number
}

/** One thing that a worker has to say. */
export interface WorkerLine {
  readonly what: 'ready' | 'begun' | 'handled' | 'accepted'
  readonly n: number
  readonly key: string
  readonly attempt: number
  /** The machine's wall clock, in milliseconds, to order what several workers said. */
  readonly atMs: number
}

/** How a worker reaches the world. */
export interface WorkerHost {
  /** Must have reached the parent when it returns: the process may die right after it. */
  readonly say: (line: WorkerLine) => void
  /** Ends the process as SIGKILL does; never resolves. */
  readonly die: () => Promise<never>
  /** Called with the bus' instance id before it starts. */
  readonly born?: (instance: string) => void
}

/**
 * Runs one of the suite's workers until its process ends. The program round it opens the transport of the
 * place it was told, and passes on what the worker says.
 */
export async function runConformanceWorker(transport: Transport, settings: WorkerSettings, host: WorkerHost): Promise<void> {
  const { attemptsMax = 5, inFlightMax = 4, role } = settings
  const bus = createBus({ service: { name: 'worker' }, transport, logger: silentLogger, defaults: { inFlightMax, retry: { attemptsMax, initialMs: 5, maxMs: 20 } } })
  host.born?.(bus.instance)
  const say = (what: WorkerLine['what'], n: number, key = '', attempt = 0): void => host.say({ what, n, key, attempt, atMs: systemClock.nowMs() })
  const work = async (n: number, key: string, attempt: number): Promise<void> => {
    say('begun', n, key, attempt)
    if (n === settings.deadlyN) await host.die()
    if (n === settings.endlessN) await new Promise<never>(() => {})
    if (settings.workMs !== undefined) await sleep(systemClock, settings.workMs)
    say('handled', n, key, attempt)
  }
  if (role === 'handler') bus.on(Ticked, { group: 'work' }, ({ data }, { attempt }) => work(data.n, '', attempt))
  if (role === 'ordered') bus.on(Moved, { group: 'ordered', order: 'key' }, ({ data }, { attempt }) => work(data.n, data.key, attempt))
  await bus.start()
  say('ready', 0)
  if (role !== 'publisher') return
  for (let n = 1; n <= (settings.count ?? 0); n++) {
    await bus.publish(Ticked, { n })
    say('accepted', n)
    if (n === settings.deadlyN) await host.die()
  }
}
