import { describe, expect, test } from 'vitest'
import type { Planted, StoreKind, TransportKind } from './plan.ts'
import { torture } from './torture.ts'

const RIGHT = { lost: 0, doubled: 0, outOfOrder: 0, ghosts: 0, balances: true, problem: undefined }

describe('money that is moved while processes, brokers and databases are killed', () => {
  const pairs: readonly (readonly [StoreKind, TransportKind])[] = [
    ['sqlite', 'sqlite'], ['sqlite', 'nats'], ['postgres', 'nats'], ['postgres', 'rabbitmq'], ['postgres', 'postgres'],
  ]

  test.each(pairs)('is all there, once and in order, over %s and %s', { timeout: 180_000 }, async (store, transport) => {
    expect(await torture({ store, transport, kills: 10 })).toMatchObject({ ...RIGHT, kills: 10 })
  })
})

describe('a planted bug', () => {
  const bugs: readonly (readonly [Planted, string, { readonly service: number; readonly relay: number; readonly server: number }])[] = [
    ['no-inbox', 'doubled', { service: 100, relay: 0, server: 0 }],
    ['delete-before-publish', 'lost', { service: 0, relay: 100, server: 0 }],
    ['ack-before-commit', 'lost', { service: 100, relay: 0, server: 0 }],
  ]

  test.each(bugs)('%s is found: something is %s', { timeout: 240_000 }, async (planted, what, mix) => {
    const result = await torture({ store: 'postgres', transport: 'nats', kills: 12, planted, mix, restMs: 15_000 })
    expect(result[what === 'lost' ? 'lost' : 'doubled']).toBeGreaterThan(0)
  })
})
