import { describe, expect, test } from 'vitest'
import { type BalanceCandidate, type BalanceName, seededRandom } from '../../src/index.ts'
import { balanceRules } from '../../src/discovery/balance-rules.ts'

function candidate(instance: string, over: Partial<BalanceCandidate> = {}): BalanceCandidate {
  return { instance, address: instance, version: '1.0.0', zone: undefined, weight: 1, tags: [], pending: 0, latencyMs: undefined, ...over }
}

type Some = readonly [BalanceCandidate, ...BalanceCandidate[]]
const four: Some = [candidate('a'), candidate('b'), candidate('c'), candidate('d')]

/** How often each was chosen in so many choices. */
function tally(rule: BalanceName, candidates: Some, count: number, key?: (index: number) => string): Readonly<Record<string, number>> {
  const random = seededRandom(7)
  const chosen: Record<string, number> = {}
  for (let turn = 0; turn < count; turn++) {
    const { instance } = balanceRules[rule](candidates, { random, turn, key: key?.(turn) })
    chosen[instance] = (chosen[instance] ?? 0) + 1
  }
  return chosen
}

test('round-robin takes turns', () => {
  expect(tally('round-robin', four, 400)).toEqual({ a: 100, b: 100, c: 100, d: 100 })
})

test('random is even', () => {
  for (const count of Object.values(tally('random', four, 4_000))) expect(count).toBeGreaterThan(900)
})

test('weighted follows the weights', () => {
  const chosen = tally('weighted', [candidate('a', { weight: 3 }), candidate('b')], 4_000)
  expect((chosen['a'] ?? 0) / 4_000).toBeCloseTo(0.75, 1)
})

test('least-pending never takes the busiest of two, and looks at weights', () => {
  expect(tally('least-pending', [candidate('busy', { pending: 9 }), candidate('a'), candidate('b')], 1_000)['busy']).toBeUndefined()
  expect(tally('least-pending', [candidate('big', { pending: 3, weight: 5 }), candidate('small', { pending: 1 })], 100)).toEqual({ big: 100 })
})

test('latency goes round the slow one, and gives one that is unknown a chance', () => {
  expect(tally('latency', [candidate('slow', { latencyMs: 500 }), candidate('a', { latencyMs: 5 }), candidate('b', { latencyMs: 6 })], 1_000)['slow']).toBeUndefined()
  expect(tally('latency', [candidate('known', { latencyMs: 20 }), candidate('other', { latencyMs: 30 }), candidate('new')], 1_000)['new']).toBeGreaterThan(200)
  expect(tally('latency', [candidate('fast', { latencyMs: 5, pending: 20 }), candidate('idle', { latencyMs: 20 })], 100)).toEqual({ idle: 100 })
})

describe('hash', () => {
  const key = (index: number): string => `key-${index}`

  test('spreads keys evenly, and by weight', () => {
    for (const count of Object.values(tally('hash', four, 4_000, key))) expect(count).toBeGreaterThan(850)
    const chosen = tally('hash', [candidate('a', { weight: 3 }), candidate('b')], 4_000, key)
    expect((chosen['a'] ?? 0) / 4_000).toBeCloseTo(0.75, 1)
  })

  test('moves only the keys of the instance that goes', () => {
    const random = seededRandom(1)
    const [, ...three] = four
    const rest: Some = [three[0] ?? candidate('b'), ...three.slice(1)]
    for (let index = 0; index < 500; index++) {
      const before = balanceRules.hash(four, { random, turn: index, key: key(index) }).instance
      const after = balanceRules.hash(rest, { random, turn: index, key: key(index) }).instance
      if (before !== 'a') expect(after).toBe(before)
    }
  })

  test('gives a key to the next one while its own instance is far busier than the others', () => {
    const random = seededRandom(1)
    const own = balanceRules.hash(four, { random, turn: 0, key: 'k' }).instance
    const busy: Some = [candidate('a'), candidate('b'), candidate('c'), candidate('d')].map((one) => (one.instance === own ? { ...one, pending: 50 } : one)) as [BalanceCandidate, ...BalanceCandidate[]]
    expect(balanceRules.hash(busy, { random, turn: 0, key: 'k' }).instance).not.toBe(own)
  })
})
