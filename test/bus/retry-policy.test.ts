import { describe, expect, test } from 'vitest'
import { type Decision, type Failure, codeOf, decideRetry, dispositionOf, inRange, reject, retryHorizonMs, retryPolicy, wholeInRange } from '../../src/bus/retry-policy.ts'
import { TrunklineError } from '../../src/core/errors.ts'
import type { Random } from '../../src/core/random.ts'

const half: Random = { next: () => 0.5, id: () => '' }
const failure = (parts: Partial<Failure> = {}): Failure => ({ error: new Error('x'), disposition: 'retry', attempt: 1, attemptsMax: 5, type: 'a.b', group: 'g', ...parts })
const defaults = retryPolicy()

describe('retryPolicy', () => {
  test('fills in the defaults', () => {
    expect(defaults).toEqual({ attemptsMax: 5, immediateMax: 0, initialMs: 500, factor: 2, maxMs: 300_000 })
  })

  test('puts later layers over earlier ones, field by field', () => {
    expect(retryPolicy({ attemptsMax: 3, factor: 3 }, undefined, {}, { attemptsMax: 9 })).toMatchObject({ attemptsMax: 9, factor: 3, initialMs: 500 })
  })

  // B45
  test.each<readonly [string, unknown]>([
    ['attemptsMax', 0], ['attemptsMax', -1], ['attemptsMax', Infinity], ['attemptsMax', Number.NaN], ['attemptsMax', 1.5], ['attemptsMax', '5'], ['immediateMax', -1], ['immediateMax', 0.5],
    ['initialMs', -1], ['initialMs', 86_400_001], ['factor', 0.5], ['factor', Number.NaN], ['factor', 101], ['maxMs', -1], ['maxMs', Infinity], ['maxMs', 86_400_001],
  ])('refuses %s %s', (option, value) => {
    expect(() => Reflect.apply(retryPolicy, undefined, [{ [option]: value }])).toThrow(
      expect.objectContaining({ code: 'core.option_invalid', details: expect.objectContaining({ option: `retry.${option}`, actual: String(value) }) }),
    )
  })
})

describe('ranges', () => {
  test('hold both of their ends and nothing that is no number', () => {
    expect([inRange('o', 1, 1, 2), inRange('o', 2, 1, 2), inRange('o', 1.5, 1, 2), wholeInRange('o', 2, 1, 2)]).toEqual([1, 2, 1.5, 2])
    for (const value of [0.9, 2.1, Number.NaN, '1', undefined, null, 1n, { valueOf: () => 1 }]) {
      expect(() => inRange('o', value, 1, 2)).toThrow(expect.objectContaining({ code: 'core.option_invalid' }))
    }
    for (const value of [1.5, 3, Number.NaN, '1']) expect(() => wholeInRange('o', value, 1, 2)).toThrow(expect.objectContaining({ code: 'core.option_invalid' }))
  })
})

describe('decideRetry', () => {
  test.each<readonly [string, Partial<Failure>, Decision]>([
    ['the first failure', {}, { kind: 'retry', delayMs: 250 }],
    ['the fourth failure', { attempt: 4 }, { kind: 'retry', delayMs: 2_000 }],
    ['the last attempt', { attempt: 5 }, { kind: 'deadLetter' }],
    ['an attempt beyond the last', { attempt: 50 }, { kind: 'deadLetter' }],
    ['what is permanent', { disposition: 'reject' }, { kind: 'deadLetter' }],
    ['what no redelivery mends', { disposition: 'stop' }, { kind: 'stop' }],
    ['what no redelivery mends, at the last attempt', { disposition: 'stop', attempt: 5 }, { kind: 'stop' }],
  ])('decides %s', (_name, parts, decision) => {
    expect(decideRetry(failure(parts), defaults, undefined, half)).toEqual(decision)
  })

  test('tries at once first, and then starts with the first delay', () => {
    const policy = retryPolicy({ attemptsMax: 5, immediateMax: 2 })
    expect([1, 2, 3, 4, 5].map((attempt) => decideRetry(failure({ attempt }), policy, undefined, half))).toEqual([
      { kind: 'retry', delayMs: 0 }, { kind: 'retry', delayMs: 0 }, { kind: 'retry', delayMs: 250 }, { kind: 'retry', delayMs: 500 }, { kind: 'deadLetter' },
    ])
  })

  test('gives a single attempt where that was asked for', () => {
    expect(decideRetry(failure(), retryPolicy({ attemptsMax: 1, immediateMax: 5 }), undefined, half)).toEqual({ kind: 'deadLetter' })
  })

  test('asks the custom policy first, with everything that is known', () => {
    const seen: Failure[] = []
    const given = failure({ attempt: 7, disposition: 'reject' })
    const decide = (one: Failure): Decision => {
      seen.push(one)
      return { kind: 'retry', delayMs: 5 }
    }
    expect(decideRetry(given, defaults, decide, half)).toEqual({ kind: 'retry', delayMs: 5 })
    expect(seen).toEqual([given])
    expect(decideRetry(given, defaults, () => ({ kind: 'stop' }), half)).toEqual({ kind: 'stop' })
    expect(decideRetry(failure(), defaults, () => ({ kind: 'deadLetter' }), half)).toEqual({ kind: 'deadLetter' })
    expect(decideRetry(failure(), defaults, () => ({ kind: 'retry', delayMs: Infinity }), half)).toEqual({ kind: 'retry', delayMs: 86_400_000 })
  })

  test.each<readonly [string, () => unknown]>([
    ['undefined', () => undefined], ['null', () => null], ['text', () => 'retry'], ['an unknown kind', () => ({ kind: 'later' })], ['no delay', () => ({ kind: 'retry' })],
    ['a negative delay', () => ({ kind: 'retry', delayMs: -1 })], ['NaN', () => ({ kind: 'retry', delayMs: Number.NaN })], ['a promise', () => Promise.resolve({ kind: 'stop' })],
    ['an error that it throws', () => { throw new Error('policy') }],
  ])('falls back to the default policy for %s', (_name, decide) => {
    expect(Reflect.apply(decideRetry, undefined, [failure(), defaults, decide, half])).toEqual({ kind: 'retry', delayMs: 250 })
  })
})

describe('what was thrown', () => {
  test('counts as worth a retry unless it is an error of ours that says otherwise', () => {
    for (const thrown of [new Error('x'), undefined, null, 'text', {}]) expect([dispositionOf(thrown), codeOf(thrown)]).toEqual(['retry', 'bus.handler_failed'])
    expect(dispositionOf(new TrunklineError('bus.unsupported', { adapter: '', capability: '', needed: '' }))).toBe('stop')
    expect(codeOf(new TrunklineError('bus.rejected', { reason: '' }))).toBe('bus.rejected')
  })

  test('is marked as permanent by reject, whatever it is', () => {
    const cause = new TypeError('no such customer')
    expect(reject(cause)).toMatchObject({ code: 'bus.rejected', disposition: 'reject', cause, details: { reason: 'no such customer' } })
    expect(reject('text').details.reason).toBe('text')
    for (const strange of [undefined, null, Symbol('s'), Object.create(null), 5n]) expect(reject(strange)).toMatchObject({ code: 'bus.rejected', cause: strange })
  })
})

describe('the horizon of a policy', () => {
  test.each([
    [{ attemptsMax: 1 }, 0],
    [{ attemptsMax: 4, initialMs: 100, factor: 2, maxMs: 1_000 }, 700],
    [{ attemptsMax: 6, initialMs: 100, factor: 10, maxMs: 1_000 }, 4_100],
    [{ attemptsMax: 1_000_000, initialMs: 0, maxMs: 0 }, 0],
    [{ attemptsMax: 4, immediateMax: 2, initialMs: 100, factor: 2, maxMs: 1_000 }, 100],
  ])('of %j is %d ms', (options, expectedMs) => {
    expect(retryHorizonMs(retryPolicy(options))).toBe(expectedMs)
  })
})
