import { expect, test } from 'vitest'
import { type BalanceOptions, seededRandom } from '../../src/index.ts'
import { type Instance } from '../../src/discovery/index.ts'
import { CallBook } from '../../src/discovery/call-book.ts'
import { type Reachable, choose } from '../../src/discovery/choice.ts'

function at(instance: string, over: Partial<Instance> = {}): Reachable {
  const known: Instance = {
    service: 'stock', instance, incarnation: 1, state: 'up', health: 'up', reasons: [], version: '1.0.0', addresses: {}, zone: undefined, weight: 1, tags: [], accepts: [], sends: [],
    startedAt: '', inFlight: 0, loopDelayMs: 0, silentMs: 0, ...over,
  }
  return { instance: known, address: instance }
}

const random = seededRandom(3)

function chosen(reachable: readonly Reachable[], options: BalanceOptions, { book = new CallBook(), zone, tried = [], nowMs = 0 }: { readonly book?: CallBook; readonly zone?: string; readonly tried?: readonly string[]; readonly nowMs?: number } = {}): Readonly<Record<string, number>> {
  const counts: Record<string, number> = {}
  for (let turn = 0; turn < 1_000; turn++) {
    const name = choose(reachable, options, { book, random, nowMs, zone, turn, tried: new Set(tried) })?.address ?? 'nobody'
    counts[name] = (counts[name] ?? 0) + 1
  }
  return counts
}

test('weight 0 gets no calls, and what was tried gets no second one', () => {
  expect(chosen([at('a', { weight: 0 }), at('b')], {})).toEqual({ b: 1_000 })
  expect(chosen([at('a'), at('b')], {}, { tried: ['a'] })).toEqual({ b: 1_000 })
  expect(chosen([at('a')], {}, { tried: ['a'] })).toEqual({ nobody: 1_000 })
})

test('a range of versions is kept, also where nobody is left', () => {
  const some = [at('old', { version: '1.9.0' }), at('new', { version: '2.1.0' }), at('odd', { version: 'build-7' })]
  expect(chosen(some, { version: '^2.0' })).toEqual({ new: 1_000 })
  expect(chosen(some, { version: '^3.0' })).toEqual({ nobody: 1_000 })
  expect(Object.keys(chosen(some, { version: '*' })).toSorted()).toEqual(['new', 'odd', 'old'])
})

test('a canary gets its share, sticks to a key, and gives way where one side is absent', () => {
  const some = [at('a'), at('b'), at('canary', { version: '2.0.0' })]
  const share = (chosen(some, { canary: { version: '2.x', share: 0.1 } })['canary'] ?? 0) / 1_000
  expect(share).toBeGreaterThan(0.06)
  expect(share).toBeLessThan(0.14)
  for (const key of ['k1', 'k2', 'k3', 'k4']) {
    const sides = Object.keys(chosen(some, { key, canary: { version: '2.x', share: 0.5 } }))
    expect(sides.includes('canary')).toBe(sides.length === 1)
  }
  expect(chosen([at('a')], { canary: { version: '2.x', share: 1 } })).toEqual({ a: 1_000 })
})

test('near instances are taken alone, until they have too much to do or are gone', () => {
  const some = [at('near', { zone: 'eu' }), at('far', { zone: 'us' })]
  const book = new CallBook()
  expect(chosen(some, { zone: 'near' }, { book, zone: 'eu' })).toEqual({ near: 1_000 })
  for (let count = 0; count < 10; count++) book.begin('near', 0)
  expect(chosen(some, { zone: 'near' }, { book, zone: 'eu' })['far']).toBeGreaterThan(0)
  expect(chosen(some, { zone: 'near' }, { zone: 'asia' })['far']).toBeGreaterThan(0)
  expect(chosen(some, { zone: 'near' })['far']).toBeGreaterThan(0)
})

test('an outlier gets nothing, then a part of its share, and is taken where nobody else is left', () => {
  const book = new CallBook()
  for (let count = 0; count < 5; count++) book.end('bad', 'failed', 1, 0)
  const some = [at('bad'), at('good')]
  expect(chosen(some, { by: 'random' }, { book })).toEqual({ good: 1_000 })
  const back = chosen(some, { by: 'random' }, { book, nowMs: 12_000 })['bad'] ?? 0
  expect(back).toBeGreaterThan(50)
  expect(back).toBeLessThan(300)
  expect(chosen(some, {}, { book, tried: ['good'] })).toEqual({ bad: 1_000 })
})

test('a rule of the user\'s own chooses', () => {
  expect(chosen([at('a'), at('b', { tags: ['gpu'] })], { by: (all) => all.find(({ tags }) => tags.includes('gpu')) ?? all[0] })).toEqual({ b: 1_000 })
})
