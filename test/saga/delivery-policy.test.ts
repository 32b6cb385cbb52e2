import { describe, expect, test } from 'vitest'
import { TrunklineError } from '../../src/index.ts'
import { afterFailure } from '../../src/saga/delivery-policy.ts'

const failure = (error: unknown, attempt: number): ReturnType<typeof afterFailure> =>
  afterFailure({ error, attempt, attemptsMax: 25, type: 'sales.order-placed', group: 'shop.saga-order', disposition: error instanceof TrunklineError ? error.disposition : 'retry' })

describe('a message that a saga could not handle', () => {
  test('comes again for as long as the database is away, more slowly in time', () => {
    const down = new TrunklineError('store.down', { store: 'postgres', problem: 'ECONNREFUSED' })
    expect([1, 2, 5, 10, 1_000].map((attempt) => failure(down, attempt))).toEqual([500, 1_000, 8_000, 30_000, 30_000].map((delayMs) => ({ kind: 'retry', delayMs })))
  })

  test('comes again for as long as others are faster, or another process has to take it', () => {
    expect(failure(new TrunklineError('store.conflict', { store: 'postgres', problem: '' }), 1_000)).toEqual({ kind: 'retry', delayMs: 500 })
    expect(failure(new TrunklineError('saga.version_unknown', { saga: 'order', instance: 'o-1', version: 2 }), 1_000)).toEqual({ kind: 'retry', delayMs: 1_000 })
  })

  test('is given up at once where no attempt can help, and soon where nobody knows', () => {
    expect(failure(new TrunklineError('saga.correlation_missing', { saga: 'order', type: 't', id: 'm', problem: '' }), 1)).toBeUndefined()
    expect(failure(new TypeError('oh dear'), 4)).toBeUndefined()
    expect(failure(new TypeError('oh dear'), 5)).toEqual({ kind: 'deadLetter' })
  })
})
