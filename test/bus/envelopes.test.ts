import { describe, expect, test } from 'vitest'
import { Envelopes, type SendOptions, messageOf, scopeOf } from '../../src/bus/envelopes.ts'
import { currentScope, runInScope } from '../../src/bus/scope.ts'
import { seededRandom } from '../../src/core/random.ts'
import { virtualClock } from '../../src/testing/virtual-clock.ts'
import { wireMessage } from './fake-transport.ts'

const contract = { type: 'a.b', version: 3 }
const data = { body: Buffer.from('null'), key: 'k' }
const TRACE = `00-${'a'.repeat(32)}-${'b'.repeat(16)}-01`
const made = (): Envelopes => new Envelopes(virtualClock({ startMs: 0 }), seededRandom(1), 'shop')

describe('making a message', () => {
  test('fills in everything that is known outside a handler', () => {
    expect(made().make(contract, data, undefined)).toEqual({
      id: seededRandom(1).id(0), source: '/shop', type: 'a.b', version: 3, time: '1970-01-01T00:00:00.000Z', contentType: 'application/json', key: 'k', correlationId: undefined,
      causationId: undefined, deadline: undefined, tenant: undefined, traceparent: undefined, tracestate: undefined, hops: 0, replyTo: undefined, outcome: undefined,
      headers: undefined, body: data.body, defect: undefined,
    })
  })

  test('takes flow, tenant and trace from the handler that runs, and the options before those', () => {
    const handled = wireMessage({ id: 'cause', correlationId: 'flow', tenant: 'acme', traceparent: TRACE, tracestate: 'v=1', hops: 4, deadline: '1970-01-01T00:01:00.000Z' })
    const inside = runInScope(scopeOf(handled), () => made().make(contract, data, undefined))
    expect(inside).toMatchObject({ correlationId: 'flow', causationId: 'cause', tenant: 'acme', traceparent: TRACE, tracestate: 'v=1', hops: 5 })
    const other = `00-${'c'.repeat(32)}-${'d'.repeat(16)}-00`
    const own = runInScope(scopeOf(handled), () => made().make(contract, data, { id: 'i', correlationId: 'f', causationId: 'c', tenant: 't', traceparent: other }))
    expect(own).toMatchObject({ id: 'i', correlationId: 'f', causationId: 'c', tenant: 't', traceparent: other, tracestate: undefined, hops: 5 })
  })

  test('starts a flow with the id of the message that caused it', () => {
    expect(scopeOf(wireMessage({ id: 'first' })).correlationId).toBe('first')
  })

  test('writes the time anew when it changes and the deadline as an instant', async () => {
    const clock = virtualClock({ startMs: 0 })
    const envelopes = new Envelopes(clock, seededRandom(1), 'shop')
    const times = [envelopes.make(contract, data, undefined).time]
    await clock.advance(5)
    times.push(envelopes.make(contract, data, undefined).time)
    expect(times).toEqual(['1970-01-01T00:00:00.000Z', '1970-01-01T00:00:00.005Z'])
    const deadlines = [1_000, 1_000, 2_000].map((deadlineAtMs) => envelopes.make(contract, data, undefined, { deadlineAtMs }).deadline)
    expect(deadlines).toEqual(['1970-01-01T00:00:01.000Z', '1970-01-01T00:00:01.000Z', '1970-01-01T00:00:02.000Z'])
  })

  test('keeps the headers as they were at the call, and lets nobody change them (B49)', () => {
    const headers: Record<string, string> = { a: '1' }
    const message = made().make(contract, data, { headers })
    headers['a'] = '2'
    expect(message.headers).toEqual({ a: '1' })
    expect(Reflect.set(message.headers ?? {}, 'a', '3')).toBe(false)
  })

  test.each<readonly [string, SendOptions]>([
    ['id', { id: '' }], ['id', { id: 'x'.repeat(256) }], ['id', { id: 'a\nb' }], ['correlationId', { correlationId: '' }], ['causationId', { causationId: 'a\u0000' }],
    ['tenant', { tenant: '../other' }], ['tenant', { tenant: '' }], ['traceparent', { traceparent: '00-1-2-3' }], ['traceparent', { traceparent: `${TRACE}\n` }],
  ])('refuses a bad %s', (attribute, options) => {
    expect(() => made().make(contract, data, options)).toThrow(expect.objectContaining({ code: 'contract.attribute_invalid', details: { attribute, problem: expect.any(String) } }))
  })

  test('refuses headers that steer a broker', () => {
    expect(() => made().make(contract, data, { headers: { cc: 'x' } })).toThrow(expect.objectContaining({ code: 'contract.header_refused' }))
  })

  // B43: what has no text as an instant, or one that no reader would take for an instant.
  test.each([Number.NaN, Infinity, -Infinity, -1, 8.64e15 + 1, 253_402_300_800_000])('refuses a deadline at %d', (deadlineAtMs) => {
    expect(() => made().make(contract, data, undefined, { deadlineAtMs })).toThrow(expect.objectContaining({ code: 'contract.attribute_invalid', details: expect.objectContaining({ attribute: 'deadline' }) }))
  })
})

describe('reading a message', () => {
  test('drops what is broken in the flow of a foreign message, and keeps the message', () => {
    const scope = scopeOf(wireMessage({ id: 'i', correlationId: 'a\nb', traceparent: 'no', tracestate: 'x', deadline: 'tomorrow' }))
    expect(scope).toEqual({ correlationId: 'i', causationId: 'i', deadlineAtMs: undefined, tenant: undefined, traceparent: undefined, tracestate: undefined, hops: 0 })
    expect(scopeOf(wireMessage({ traceparent: TRACE, tracestate: 'x'.repeat(513) })).tracestate).toBeUndefined()
  })

  test('gives the handler attributes and data, and empty headers that are the same for all', () => {
    const wire = wireMessage({ key: 'k', headers: { a: '1' }, version: 2 })
    expect(messageOf(wire, { x: 1 }, scopeOf(wire))).toEqual({
      id: 'm-1', type: 'sales.order-placed', version: 2, source: '/elsewhere', time: '2024-01-01T00:00:00.000Z', key: 'k', correlationId: 'm-1', causationId: undefined, tenant: undefined,
      headers: { a: '1' }, data: { x: 1 },
    })
    const bare = wireMessage()
    expect(Reflect.set(messageOf(bare, 1, scopeOf(bare)).headers, 'a', '1')).toBe(false)
  })
})

test('the scope is seen by everything that its work awaits, and by nothing else', async () => {
  const scope = scopeOf(wireMessage({ id: 'i' }))
  const inside = runInScope(scope, async () => {
    await Promise.resolve()
    return currentScope()
  })
  expect(currentScope()).toBeUndefined()
  expect(await inside).toBe(scope)
})
