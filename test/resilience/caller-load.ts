import { type Bus, type Clock, command, createBus, query, resilience, silentLogger, systemClock } from '../../src/index.ts'
import type { BusOptions, ProviderOptions } from '../../src/index.ts'
import { sleep } from '../../src/core/clock.ts'
import { z } from 'zod'

export const Look = query('stock.look', { request: z.object({ sku: z.string() }), response: z.object({ left: z.int() }) })
/** The same to be done: a command. */
export const Count = command('stock.count', { schema: z.object({ sku: z.string() }), response: z.object({ left: z.int() }) })

/** A provider whose handler takes `takesMs`, and two services that ask it. */
export interface Trio extends AsyncDisposable {
  readonly provider: Bus
  readonly noisy: Bus
  readonly quiet: Bus
}

export interface TrioOptions {
  readonly transport: () => BusOptions['transport']
  readonly clock?: Clock
  readonly takesMs: number
  readonly inFlightMax: number
  /** Without it the provider takes requests as they come. */
  readonly limits?: ProviderOptions
}

export async function trio({ transport, clock = systemClock, takesMs, inFlightMax, limits }: TrioOptions): Promise<Trio> {
  const bus = (name: string, more: Partial<BusOptions> = {}): Bus => createBus({ service: { name }, transport: transport(), clock, logger: silentLogger, ...more })
  const provider = bus('stock', limits === undefined ? {} : { resilience: resilience({ provider: limits }) })
  provider.answer(Look, { inFlightMax }, async () => {
    await sleep(clock, takesMs)
    return { left: 1 }
  })
  provider.handle(Count, { inFlightMax }, async () => {
    await sleep(clock, takesMs)
    return { left: 1 }
  })
  const [noisy, quiet] = [bus('noisy'), bus('quiet')]
  for (const one of [provider, noisy, quiet]) await one.start()
  return {
    provider, noisy, quiet,
    [Symbol.asyncDispose]: async () => {
      await Promise.all([noisy, quiet, provider].map((one) => one.stop()))
    },
  }
}

/** How the asks of one service ended: milliseconds of those that were answered, and codes of the others. */
export interface Outcomes {
  readonly answeredMs: number[]
  readonly codes: string[]
}

/** Asks once, and notes how it ended. */
export async function noted(bus: Bus, outcomes: Outcomes, clock: Clock = systemClock, what: typeof Look | typeof Count = Look): Promise<void> {
  const sinceMs = clock.monotonicMs()
  try {
    await bus.ask(what, { sku: 'a' }, { timeoutMs: 2_000 })
    outcomes.answeredMs.push(clock.monotonicMs() - sinceMs)
  } catch (error) {
    outcomes.codes.push(error instanceof Error && 'code' in error ? String(error.code) : 'unknown')
  }
}
