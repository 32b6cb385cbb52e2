import {
  ConsecutiveBreaker, ExponentialBackoff, TimeoutStrategy, bulkhead as cockatielBulkhead, circuitBreaker as cockatielBreaker, fallback as cockatielFallback, handleAll,
  retry as cockatielRetry, timeout as cockatielTimeout, wrap,
} from 'cockatiel'
import { z } from 'zod'
import { memory } from '../src/adapters/memory/index.ts'
import { bulkhead, circuitBreaker, compose, createBus, fallback, lastAnswer, loadShed, query, rateLimit, resilience, retry, silentLogger, timeout } from '../src/index.ts'
import { type Case, type Ratio, type Result, measure } from './measure.ts'

const COUNT = 100_000
const Look = query('bench.look', { request: z.object({ sku: z.string() }), response: z.object({ left: z.int() }) })

/** What a policy adds to a call that succeeds, in microseconds; cockatiel's of the same kind beside it, in the same run. */
export async function policiesSuite(rounds: number, progress: (text: string) => void): Promise<{ results: Map<string, Result>; ratios: Ratio[] }> {
  const ours = {
    timeout: timeout(1_000),
    retry: retry(),
    'circuit breaker': circuitBreaker({ trip: { consecutive: 5 } }),
    bulkhead: bulkhead({ inFlightMax: 64 }),
    fallback: fallback({ value: 0 }),
    'all five': compose(fallback({ value: 0 }), retry(), circuitBreaker({ trip: { consecutive: 5 } }), bulkhead({ inFlightMax: 64 }), timeout(1_000)),
  }
  const breaker = (): ReturnType<typeof cockatielBreaker> => cockatielBreaker(handleAll, { halfOpenAfter: 1_000, breaker: new ConsecutiveBreaker(5) })
  const again = cockatielRetry(handleAll, { maxAttempts: 3, backoff: new ExponentialBackoff() })
  const theirs = {
    timeout: cockatielTimeout(1_000, TimeoutStrategy.Aggressive),
    retry: again,
    'circuit breaker': breaker(),
    bulkhead: cockatielBulkhead(64, 64),
    fallback: cockatielFallback(handleAll, 0),
    'all five': wrap(cockatielFallback(handleAll, 0), again, breaker(), cockatielBulkhead(64, 64), cockatielTimeout(1_000, TimeoutStrategy.Aggressive)),
  }
  const more = { 'rate limit': rateLimit({ permitsPerSecond: 1e9 }), 'load shedding': loadShed(), 'last answer': lastAnswer() }
  const call = { key: () => 'a' }
  const work = (): Promise<number> => Promise.resolve(1)
  const cases: Case[] = [
    timed('no policy', work),
    ...Object.entries(ours).map(([name, policy]) => timed(`${name}`, () => policy.run(work))),
    ...Object.entries(theirs).map(([name, policy]) => timed(`${name}, cockatiel`, () => policy.execute(work))),
    ...Object.entries(more).map(([name, policy]) => timed(name, () => policy.run(work, call))),
    ...(await asks()),
  ]
  const results = await measure(cases, rounds, progress)
  const cost = (name: string): number => (results.get(named(name))?.value ?? NaN) - (results.get(named('no policy'))?.value ?? NaN)
  return { results, ratios: Object.keys(ours).map((name) => ({ name: `${name}: added time ÷ cockatiel's`, value: cost(name) / cost(`${name}, cockatiel`), bound: 1, kind: 'at most' as const })) }
}

function named(name: string): string {
  return `${name} [µs]`
}

function timed(name: string, one: () => Promise<unknown>): Case {
  return {
    name: named(name),
    run: async () => {
      const startedMs = performance.now()
      for (let index = 0; index < COUNT; index++) await one()
      return { value: ((performance.now() - startedMs) / COUNT) * 1_000 }
    },
  }
}

/** A whole ask in one process: as it is, under a policy, and of a provider that limits its callers. */
async function asks(): Promise<readonly Case[]> {
  const started = async (name: string, more: Parameters<typeof createBus>[0]['resilience']): Promise<ReturnType<typeof createBus>> => {
    const bus = createBus({ service: { name }, transport: memory(), logger: silentLogger, ...(more === undefined ? {} : { resilience: more }) })
    bus.answer(Look, () => ({ left: 1 }))
    await bus.start()
    return bus
  }
  const [plain, fair] = [await started('plain', undefined), await started('fair', resilience({ provider: {} }))]
  const policy = compose(retry(), circuitBreaker(), timeout(1_000))
  return [
    timed('ask in memory', () => plain.ask(Look, { sku: 'a' })),
    timed('ask in memory under retry, breaker and timeout', () => plain.ask(Look, { sku: 'a' }, { policy })),
    timed('ask in memory, of a provider that limits callers', () => fair.ask(Look, { sku: 'a' })),
  ]
}
