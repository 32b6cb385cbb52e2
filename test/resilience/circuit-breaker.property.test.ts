import { BrokenCircuitError, CircuitState, ConsecutiveBreaker, CountBreaker, ExponentialBackoff, type IBreaker, SamplingBreaker, circuitBreaker as cockatielBreaker, handleAll, noJitterGenerator } from 'cockatiel'
import fc from 'fast-check'
import { expect, test } from 'vitest'
import { type Trip, circuitBreaker } from '../../src/index.ts'
import { TwoClocks, broken } from './policy-rig.ts'

// The oracle is cockatiel. What is different on purpose, and therefore not compared:
// - a call that comes while all trials are under way is refused by us, and waits for their outcome there;
// - a call that began before the circuit changed says nothing to us, while it can reopen a half-open circuit there;
// - a window of time forgets what is older than it, whatever comes in between; there only the slice that is entered next is emptied, so that
//   failures of hours ago count after a pause. Sequences for that window therefore have a call in every slice.

type Step = { readonly kind: 'call'; readonly fails: boolean } | { readonly kind: 'wait'; readonly ms: number }

const call: fc.Arbitrary<Step> = fc.boolean().map((fails) => ({ kind: 'call', fails }))
const wait: fc.Arbitrary<Step> = fc.integer({ min: 0, max: 3_000 }).map((ms) => ({ kind: 'wait', ms }))
const steps = fc.array(fc.oneof({ arbitrary: call, weight: 4 }, { arbitrary: wait, weight: 1 }), { maxLength: 80 })

const consecutive = fc.integer({ min: 1, max: 6 }).map((failures): { trip: Trip; breaker: () => IBreaker } => ({
  trip: { consecutive: failures }, breaker: () => new ConsecutiveBreaker(failures),
}))
const counted = fc.record({ ratio: fc.constantFrom(0.1, 0.25, 0.5, 0.9), size: fc.integer({ min: 1, max: 12 }), min: fc.integer({ min: 1, max: 12 }) }).map(({ ratio, size, min }) => {
  const callsMin = Math.min(size, min)
  return { trip: { ratio, windowCalls: size, callsMin } satisfies Trip, breaker: (): IBreaker => new CountBreaker({ threshold: ratio, size, minimumNumberOfCalls: callsMin }) }
})

async function compare(trip: Trip, breaker: IBreaker, sequence: readonly Step[], trials: number): Promise<void> {
  using clocks = new TwoClocks()
  const ours = circuitBreaker({ trip, openMs: 1_000, openMaxMs: 4_000, trials })
  const theirs = cockatielBreaker(handleAll, {
    breaker,
    halfOpenAfter: new ExponentialBackoff({ generator: noJitterGenerator, initialDelay: 1_000, exponent: 2, maxDelay: 4_000 }),
    halfOpenSampling: { calls: trials, threshold: 0 },
  })
  const names = { [CircuitState.Closed]: 'closed', [CircuitState.Open]: 'open', [CircuitState.HalfOpen]: 'half-open', [CircuitState.Isolated]: 'isolated' }
  for (const step of sequence) {
    if (step.kind === 'wait') {
      await clocks.advance(step.ms)
      continue
    }
    const work = (): Promise<string> => (step.fails ? Promise.reject(broken()) : Promise.resolve('done'))
    const mine = await ours.run(work, { host: clocks.host }).catch((error: { code: string }) => (error.code === 'resilience.circuit_open' ? 'refused' : 'failed'))
    const other = await theirs.execute(work).catch((error: unknown) => (error instanceof BrokenCircuitError ? 'refused' : 'failed'))
    expect([mine, ours.state]).toEqual([other, names[theirs.state]])
  }
}

test('opens, tries and closes as cockatiel does, for failures in a row and for the last calls', async () => {
  await fc.assert(
    fc.asyncProperty(fc.oneof(consecutive, counted), steps, fc.integer({ min: 1, max: 4 }), ({ trip, breaker }, sequence, trials) => compare(trip, breaker(), sequence, trials)),
    { numRuns: 300 },
  )
}, 120_000)

test('opens, tries and closes as cockatiel does, for the calls of the last time', async () => {
  const dense = fc.array(fc.boolean(), { maxLength: 80 }).map((fails) => fails.flatMap((one): Step[] => [{ kind: 'call', fails: one }, { kind: 'wait', ms: 100 }]))
  await fc.assert(
    fc.asyncProperty(fc.constantFrom(0.1, 0.3, 0.5, 0.8), fc.integer({ min: 1, max: 10 }), dense, async (ratio, callsMin, sequence) => {
      // Five slices of 200 ms each, with calls every 100 ms.
      await compare({ ratio, windowMs: 1_000, callsMin }, new SamplingBreaker({ threshold: ratio, duration: 1_000, minimumRps: callsMin }), sequence, 1)
    }),
    { numRuns: 150 },
  )
}, 120_000)
