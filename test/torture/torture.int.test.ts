import { describe, expect, test } from 'vitest'
import { PAIRS, type Planted } from './plan.ts'
import type { Mix } from './strikes.ts'
import { type TortureResult, torture } from './torture.ts'

const RIGHT = { lost: 0, doubled: 0, outOfOrder: 0, ghosts: 0, balances: true, problem: undefined }

describe('money that is moved while processes, brokers and databases are killed', () => {
  test.each(PAIRS)('is all there, once and in order, over %s and %s', { timeout: 180_000 }, async (store, transport) => {
    const result = await torture({ store, transport, kills: 10 })
    expect(result).toMatchObject({ ...RIGHT, kills: 10, frozen: 2 })
    expect(result.requests).toBeGreaterThan(50)
  })
})

describe('transfers that are sagas', () => {
  test.each([['sqlite', 'sqlite'], ['postgres', 'nats']] as const)('all end, with each effect and each compensation once, over %s and %s', { timeout: 180_000 }, async (store, transport) => {
    const result = await torture({ store, transport, kills: 5, isSagas: true })
    expect(result).toMatchObject({ ...RIGHT, kills: 5, frozen: 1 })
    expect(result.requests).toBeGreaterThan(25)
  })
})

describe('a planted bug', () => {
  const bugs: readonly (readonly [Planted, 'lost' | 'doubled', Mix])[] = [
    ['no-inbox', 'doubled', { service: 100, relay: 0, server: 0 }],
    ['delete-before-publish', 'lost', { service: 0, relay: 100, server: 0 }],
    ['ack-before-commit', 'lost', { service: 100, relay: 0, server: 0 }],
    ['checkpoint-by-id', 'lost', { service: 100, relay: 0, server: 0 }],
  ]

  test.each(bugs)('%s is found: something is %s', { timeout: 240_000 }, async (planted, what, mix) => {
    const result: TortureResult = await torture({ store: 'postgres', transport: 'nats', kills: 10, planted, mix, restMs: 6_000 })
    expect(result[what]).toBeGreaterThan(0)
  })
})
