import { describe, expect, test } from 'vitest'
import { TrunklineError, assert, errorDispositions, errorText, escapeControls, isTrunklineError } from '../../src/core/errors.ts'

describe('TrunklineError', () => {
  test('carries code, details, disposition and cause, and tells people in sentences', () => {
    const cause = new Error('disk')
    const error = new TrunklineError('bus.publish_refused', { type: 'a.b', id: 'i', problem: 'full' }, { cause })
    expect(error).toMatchObject({ name: 'TrunklineError', code: 'bus.publish_refused', disposition: 'retry', cause, details: { type: 'a.b', id: 'i', problem: 'full' } })
    expect(error.message).toBe(
      'The message i of a.b was refused and is not stored: full. Look for a full disk, a limit of the broker or a missing permission, then send it again.',
    )
    expect(error).toBeInstanceOf(Error)
  })

  test('can be made with details that JSON cannot hold', () => {
    const cycle: { self?: unknown } = {}
    cycle.self = cycle
    expect(new TrunklineError('contract.declared_error', { type: 'a.b', name: 'n', data: cycle }).message).toContain('JSON cannot hold')
    expect(new TrunklineError('contract.declared_error', { type: 'a.b', name: 'n', data: 10n ** 20n }).message).toContain('100000000000000000000')
  })

  test('cannot forge a log line', () => {
    expect(new TrunklineError('bus.rejected', { reason: 'line\nbreak \u001b[31m' }).message).toContain('line\\u000abreak \\u001b[31m')
  })

  test('hides the mark that it is known by from those who copy its fields', () => {
    expect(isTrunklineError(Object.assign(new Error('copy'), new TrunklineError('bus.rejected', { reason: 'x' })))).toBe(false)
  })

  test('says stop only for what no redelivery can mend, and retry only for what passes', () => {
    const codesOf = (disposition: string): string[] => Object.entries(errorDispositions).filter(([, value]) => value === disposition).map(([code]) => code).toSorted()
    expect(codesOf('stop')).toEqual([
      'bus.subscription_conflict', 'bus.unsupported', 'contract.definition_conflict', 'contract.definition_invalid',
      'core.invariant_broken', 'core.option_invalid', 'core.option_unknown', 'core.peer_missing', 'discovery.attached_twice', 'discovery.off', 'discovery.setting_unknown', 'discovery.settings_unstored', 'outbox.attached_twice', 'outbox.not_attached', 'outbox.retention_too_short', 'saga.definition_invalid', 'saga.version_missing',
    ])
    expect(codesOf('retry')).toEqual([
      'bus.answer_failed', 'bus.ask_cancelled', 'bus.ask_timeout', 'bus.callee_overloaded', 'bus.connection_lost', 'bus.handler_failed', 'bus.handler_timeout', 'bus.no_responder',
      'bus.not_running', 'bus.overloaded', 'bus.publish_refused', 'bus.publish_timeout',
      'discovery.fetch_timeout', 'discovery.no_instance', 'discovery.response_failed', 'discovery.wait_timeout', 'outbox.body_missing', 'outbox.unit_too_long',
      'resilience.bulkhead_full', 'resilience.cancelled', 'resilience.circuit_open', 'resilience.rate_limited', 'resilience.shed', 'resilience.timeout',
      'saga.version_unknown', 'store.conflict', 'store.down', 'store.lease_lost', 'store.rolled_back', 'store.wrong_revision',
    ])
  })
})

describe('isTrunklineError', () => {
  test('knows an error of a second installed copy by its mark, and narrows by code', () => {
    const foreign = Object.assign(new Error('x'), { code: 'bus.rejected', [Symbol.for('trunkline.error')]: true })
    expect(isTrunklineError(foreign)).toBe(true)
    expect(isTrunklineError(foreign, 'bus.rejected')).toBe(true)
    expect(isTrunklineError(foreign, 'bus.ask_timeout')).toBe(false)
  })

  test.each([undefined, null, 'text', 5, {}, { [Symbol.for('trunkline.error')]: true }, new Error('plain'), Object.assign(new Error('x'), { code: 'bus.rejected' })])(
    'does not take %s for one',
    (value) => {
      expect(isTrunklineError(value)).toBe(false)
    },
  )
})

test('assert throws core.invariant_broken with what was expected', () => {
  expect(() => assert(true, 'fine')).not.toThrow()
  expect(() => assert(false, 'the sky is up')).toThrow(expect.objectContaining({ code: 'core.invariant_broken', details: { expected: 'the sky is up' }, disposition: 'stop' }))
})

class Hostile extends Error {
  override get message(): string {
    throw new TypeError('no text for you')
  }
}

describe('errorText', () => {
  test.each<readonly [string, unknown, string]>([
    ['an error', new Error('plain'), 'plain'],
    ['a string', 'text', 'text'],
    ['undefined', undefined, 'undefined: undefined'],
    ['null', null, 'object: null'],
    ['a number', 5, 'number: 5'],
    ['a bigint', 5n, 'a thrown bigint'],
    ['an object', { a: 1 }, 'object: {"a":1}'],
    ['a symbol', Symbol('s'), 'symbol: Symbol(s)'],
    ['a frozen object', Object.freeze({ a: 1 }), 'object: {"a":1}'],
    ['an object without prototype', Object.create(null), 'object: {}'],
    ['an error that would forge lines', new Error('line\nbreak \u001b[31m'), 'line\\u000abreak \\u001b[31m'],
    // What handlers throw need not be well-behaved (B48), and a failure to describe it would lose the delivery.
    ['an error whose message is no string', Object.assign(new Error('x'), { message: 42 }), 'number: 42'],
    ['an error whose message cannot be read', new Hostile(), 'a thrown object'],
  ])('describes %s', (_name, thrown, text) => {
    expect(errorText(thrown)).toBe(text)
  })
})

test('escapeControls makes C0, C1 and line separators visible and leaves everything else', () => {
  expect(escapeControls('a\u0000\u001f\u007f\u0085\u009f\u2028\u2029z')).toBe('a\\u0000\\u001f\\u007f\\u0085\\u009f\\u2028\\u2029z')
  expect(escapeControls('Grüße 😀 %"\\')).toBe('Grüße 😀 %"\\')
})
