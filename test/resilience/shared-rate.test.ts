import { expect, test } from 'vitest'
import { memoryDatabase, memoryStore } from '../../src/adapters/memory/index.ts'
import { rateLimit, seededRandom } from '../../src/index.ts'
import { virtualClock } from '../../src/testing/virtual-clock.ts'
import { Watched } from './policy-rig.ts'

const clock = virtualClock()

interface Instance {
  granted: number
  readonly call: () => Watched
}

/** Instances that share one bucket of 100 permits a second through one database. */
async function instances(count: number, more: { readonly waitMaxMs?: number } = {}): Promise<readonly Instance[]> {
  const database = memoryDatabase({ clock })
  return await Promise.all(Array.from({ length: count }, async (_none, at) => {
    const store = memoryStore({ database })
    await store.open({ service: 'caller', clock })
    const policy = rateLimit({ permitsPerSecond: 100, burstMax: 20, shared: { name: 'payments', events: store.events, chunkMs: 50 }, ...more })
    const host = { clock, random: seededRandom(at), emit: () => {} }
    const one: Instance = { granted: 0, call: () => new Watched(policy.run(() => void one.granted++, { host })) }
    return one
  }))
}

test('all instances together get what one bucket has, whoever comes first', async () => {
  const all = await instances(3)
  const outcomes = new Set<unknown>()
  for (let atMs = 0; atMs < 3_000; atMs += 5) {
    // Each is the first one now and then, as in the world.
    const first = (atMs / 5) % all.length
    const calls = [...all.slice(first), ...all.slice(0, first)].map(({ call }) => call())
    await clock.advance(5)
    for (const { outcome } of calls) outcomes.add(outcome)
  }
  const sum = all.reduce((total, { granted }) => total + granted, 0)
  expect(sum).toBeLessThanOrEqual(320)
  expect(sum).toBeGreaterThan(280)
  for (const { granted } of all) expect(granted).toBeGreaterThan(20)
  outcomes.delete('pending')
  expect(outcomes).toEqual(new Set([undefined, 'resilience.rate_limited']))
})

test('a call waits for a shared permit as long as it may', async () => {
  const [one] = await instances(1, { waitMaxMs: 100 })
  const calls = Array.from({ length: 40 }, () => one?.call())
  await clock.advance(200)
  const done = one?.granted ?? 0
  expect(done).toBeGreaterThanOrEqual(25)
  expect(done).toBeLessThanOrEqual(30)
  expect(calls.filter((call) => call?.outcome === 'resilience.rate_limited').length).toBe(40 - done)
})

test.each([{ name: 'Bad name' }, { name: 'a', chunkMs: 0 }])('%o is refused', (shared) => {
  const store = memoryStore()
  expect(() => rateLimit({ permitsPerSecond: 1, shared: { events: store.events, ...shared } })).toThrow(expect.objectContaining({ code: 'core.option_invalid' }))
})
