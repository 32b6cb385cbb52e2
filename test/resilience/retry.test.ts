import { describe, expect, test } from 'vitest'
import { type PolicyCall, TrunklineError, retry, retryBudget } from '../../src/index.ts'
import { PolicyRig, Watched, broken } from './policy-rig.ts'

const bounded = { attemptsMax: 3, initialMs: 100, maxMs: 100 } as const

function failing(error: unknown): { readonly work: () => Promise<never>; times: number } {
  const one = { times: 0, work: (): Promise<never> => { one.times++; return Promise.reject(error) } }
  return one
}

describe('a retry', () => {
  test('waits as long as whoever refused wants, and not at all where the caller is gone by then', async () => {
    const rig = new PolicyRig()
    const busy = failing(new TrunklineError('bus.callee_overloaded', { type: 'pricing.quote', problem: 'full', retryAfterMs: 700 }))
    const seen = new Watched(retry(bounded).run(busy.work, { host: rig.host, expiresAtMs: 1_300 }))
    await rig.clock.advance(699)
    expect(busy.times).toBe(1)
    await rig.clock.advance(1)
    // The next wait would end at 1,400 ms.
    expect([busy.times, seen.outcome]).toEqual([2, 'bus.callee_overloaded'])
  })

  test.each<[PolicyCall['kind'], boolean, unknown, number]>([
    ['query', false, broken(), 3],
    ['command', false, new TrunklineError('bus.ask_timeout', { type: 'stock.reserve', timeoutMs: 5 }), 1],
    ['command', true, new TrunklineError('bus.ask_timeout', { type: 'stock.reserve', timeoutMs: 5 }), 3],
    ['command', false, new TrunklineError('bus.callee_overloaded', { type: 'stock.reserve', problem: 'full', retryAfterMs: 5 }), 3],
    ['command', false, new TrunklineError('bus.callee_overloaded', { type: 'stock.reserve', problem: 'full', retryAfterMs: 5, hasBegun: true }), 1],
    ['query', false, new TrunklineError('contract.declared_error', { type: 'pricing.quote', name: 'unknownSku', data: {} }), 1],
    ['query', false, new TrunklineError('bus.answer_failed', { type: 'pricing.quote', code: 'contract.payload_invalid', problem: 'x' }), 1],
    ['query', false, new TrunklineError('resilience.circuit_open', { name: 'pricing.quote', retryAfterMs: 5 }), 1],
    ['query', false, new TrunklineError('resilience.bulkhead_full', { name: 'pricing.quote', inFlightMax: 1, waitingMax: 1 }), 3],
    ['work', false, new TypeError('no link'), 3],
  ])('of a %s that may be done twice: %s, after %s: makes %i attempts', async (kind, idempotent, error, attempts) => {
    const rig = new PolicyRig()
    const one = failing(error)
    const seen = new Watched(retry({ ...bounded, idempotent }).run(one.work, { host: rig.host, kind }))
    await rig.clock.advance(10_000)
    expect([one.times, seen.outcome]).toEqual([attempts, error instanceof TrunklineError ? error.code : 'no link'])
  })

  test('ends in its wait when its caller gives up', async () => {
    const rig = new PolicyRig()
    const caller = new AbortController()
    const one = failing(broken())
    const seen = new Watched(retry(bounded).run(one.work, { host: rig.host, signal: caller.signal }))
    await rig.clock.settle()
    caller.abort()
    await rig.clock.settle()
    expect([one.times, seen.outcome, rig.clock.timerCount]).toEqual([1, 'resilience.cancelled', 0])
  })

  test('makes no more retries than its budget has: a share of all calls, and some a second', async () => {
    const rig = new PolicyRig()
    const policy = retry({ attemptsMax: 2, initialMs: 0, budget: retryBudget({ ratio: 0.2, perSecondMin: 0, savedMax: 10 }) })
    const one = failing(broken())
    for (let call = 0; call < 50; call++) {
      void policy.run(one.work, { host: rig.host }).catch(() => {})
      await rig.clock.advance(1)
    }
    expect(one.times).toBe(60)
  })

  test.each([[{ attemptMax: 3 }, 'core.option_unknown'], [{ attemptsMax: 0 }, 'core.option_invalid'], [{ budget: 3 }, 'core.option_invalid'], [{ isRetryable: true }, 'core.option_invalid']])('refuses the options %o', (options, code) => {
    // As a caller without types gives them.
    expect(() => retry(options as never)).toThrow(expect.objectContaining({ code }))
  })
})
