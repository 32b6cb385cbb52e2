import { describe, expect, test } from 'vitest'
import { TrunklineError, circuitBreaker, compose, timeout } from '../../src/index.ts'
import { OpenCall, PolicyRig, Watched, broken } from './policy-rig.ts'

const quick = { trip: { consecutive: 1 }, openMs: 100 } as const

describe('a circuit breaker', () => {
  test('refuses with the time until the next trial, and tells what it becomes', async () => {
    const rig = new PolicyRig()
    const breaker = circuitBreaker(quick)
    const call = { host: rig.host, name: 'pricing.quote' }
    await expect(breaker.run(() => Promise.reject(broken()), call)).rejects.toMatchObject({ code: 'bus.no_responder' })
    await rig.clock.advance(60)
    await expect(breaker.run(() => 1, call)).rejects.toMatchObject({ code: 'resilience.circuit_open', details: { name: 'pricing.quote', retryAfterMs: 40 } })
    await rig.clock.advance(40)
    await expect(breaker.run(() => 1, call)).resolves.toBe(1)
    expect(rig.events).toEqual([
      { kind: 'circuit-changed', name: 'pricing.quote', state: 'open', retryAfterMs: 100 },
      { kind: 'circuit-changed', name: 'pricing.quote', state: 'half-open', retryAfterMs: 0 },
      { kind: 'circuit-changed', name: 'pricing.quote', state: 'closed', retryAfterMs: 0 },
    ])
  })

  test.each([
    ['a declared error', new TrunklineError('contract.declared_error', { type: 'a.b', name: 'x', data: {} }), 'closed'],
    ['data that does not fit', new TrunklineError('contract.payload_invalid', { type: 'a.b', during: 'publish', issues: [] }), 'closed'],
    ['a full bulkhead inside of it', new TrunklineError('resilience.bulkhead_full', { name: 'a.b', inFlightMax: 1, waitingMax: 0 }), 'closed'],
    ['an answer that the request can never be answered', new TrunklineError('bus.answer_failed', { type: 'a.b', code: 'bus.rejected', problem: '' }), 'closed'],
    ['an answer of a later version', new TrunklineError('bus.answer_failed', { type: 'a.b', code: 'bus.unheard_of', problem: '' }), 'open'],
    ['an overload', new TrunklineError('bus.callee_overloaded', { type: 'a.b', problem: '', retryAfterMs: 1 }), 'open'],
    ['an error of nobody knows whom', new RangeError('x'), 'open'],
  ])('after %s', async (_name, error, state) => {
    const rig = new PolicyRig()
    const breaker = circuitBreaker(quick)
    await breaker.run(() => Promise.reject(error), { host: rig.host }).catch(() => {})
    expect(breaker.state).toBe(state)
  })

  test('does not count what its caller gave up, but what took too long', async () => {
    const rig = new PolicyRig()
    const [given, late] = [circuitBreaker(quick), circuitBreaker(quick)]
    const caller = new AbortController()
    const work = (signal: AbortSignal): Promise<never> => new Promise((_resolve, reject) => {
      signal.addEventListener('abort', () => reject(new DOMException('aborted', 'AbortError')))
    })
    void given.run(work, { host: rig.host, signal: caller.signal }).catch(() => {})
    caller.abort()
    void compose(timeout(50), late).run(work, { host: rig.host }).catch(() => {})
    await rig.clock.advance(50)
    expect([given.state, late.state]).toEqual(['closed', 'open'])
  })

  test('that is half-open refuses at once what finds no trial left', async () => {
    const rig = new PolicyRig()
    const breaker = circuitBreaker(quick)
    await breaker.run(() => Promise.reject(broken()), { host: rig.host }).catch(() => {})
    await rig.clock.advance(100)
    const trial = new OpenCall()
    const tried = new Watched(breaker.run(trial.work, { host: rig.host }))
    const other = new Watched(breaker.run(() => 2, { host: rig.host }))
    trial.resolve(1)
    await rig.clock.settle()
    expect([tried.outcome, other.outcome, breaker.state]).toEqual([1, 'resilience.circuit_open', 'closed'])
  })

  test.each([
    [{ openMS: 3 }, 'core.option_unknown'], [{ trip: {} }, 'core.option_invalid'], [{ trip: { consecutive: 0 } }, 'core.option_invalid'],
    [{ trip: { ratio: 2, windowMs: 3 } }, 'core.option_invalid'], [{ trip: { ratios: 0.2, windowMs: 3 } }, 'core.option_unknown'], [{ openMs: 50, openMaxMs: 40 }, 'core.option_invalid'], [undefined, undefined],
  ])('takes no options like %o', (options, code) => {
    const make = (): unknown => circuitBreaker(options as never)
    if (code === undefined) expect(make).not.toThrow()
    else expect(make).toThrow(expect.objectContaining({ code }))
  })
})
