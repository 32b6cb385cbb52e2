import { describe, expect, test } from 'vitest'
import { type ErrorCode, type ErrorDetails, errorRegistry, errorSentences } from '../../src/core/error-registry.ts'

/** Details as they occur. */
const EXAMPLES: { readonly [C in ErrorCode]: ErrorDetails[C] } = {
  'core.invariant_broken': { expected: 'the transport is open' },
  'core.option_invalid': { option: 'inFlightMax', expected: 'a whole number from 1 to 10000', actual: '0' },
  'core.option_unknown': { option: 'maxAttempts', place: 'retry', nearest: 'attemptsMax', known: ['attemptsMax', 'factor'] },
  'core.peer_missing': { package: 'nats', install: 'npm install nats' },
  'contract.definition_invalid': { type: 'sales.placed', problem: 'the schema is asynchronous' },
  'contract.definition_conflict': { type: 'sales.placed', problem: 'it is defined twice' },
  'contract.payload_invalid': { type: 'sales.placed', during: 'publish', issues: [{ path: 'orderId', rule: 'expected string' }, { path: '', rule: 'too odd' }] },
  'contract.payload_unencodable': { type: 'sales.placed', path: 'total', problem: 'a bigint' },
  'contract.payload_too_large': { type: 'sales.placed', bytes: 9, bytesMax: 8 },
  'contract.body_malformed': { type: 'sales.placed', problem: 'it is no JSON' },
  'contract.message_foreign': { problem: 'it has no id' },
  'contract.version_unknown': { type: 'sales.placed', version: '3', versionMax: 2 },
  'contract.upcast_failed': { type: 'sales.placed', fromVersion: 1, problem: 'boom' },
  'contract.header_refused': { header: 'Expires', problem: 'it steers the broker' },
  'contract.attribute_invalid': { attribute: 'id', problem: 'the id is empty' },
  'contract.declared_error': { type: 'stock.reserve', name: 'soldOut', data: { sku: 'lamp' } },
  'bus.unsupported': { adapter: 'rabbitmq', capability: 'canReplay', needed: '"from: beginning" of the subscription shop.all' },
  'bus.subscription_conflict': { subscription: 'shop.all', problem: 'two handlers' },
  'bus.not_running': { operation: 'publish', state: 'idle' },
  'bus.connection_lost': { adapter: 'nats', problem: 'no connection to 127.0.0.1:4222' },
  'bus.publish_timeout': { type: 'sales.placed', id: 'm-1', timeoutMs: 5 },
  'bus.publish_refused': { type: 'sales.placed', id: 'm-1', problem: 'the disk is full.' },
  'bus.overloaded': { what: 'asks that wait for an answer', limit: 5 },
  'bus.type_unhandled': { type: 'sales.placed', group: 'shop.all' },
  'bus.handler_timeout': { type: 'sales.placed', group: 'shop.all', timeoutMs: 5 },
  'bus.handler_failed': { type: 'sales.placed', group: 'shop.all', problem: 'boom' },
  'bus.rejected': { reason: 'no such order' },
  'bus.attempts_exhausted': { type: 'sales.placed', group: 'shop.all', attempts: 5, problem: 'its process died' },
  'bus.deadline_passed': { type: 'sales.placed', deadline: '2026-01-01T00:00:00.000Z' },
  'bus.hops_exceeded': { type: 'sales.placed', hops: '33', hopsMax: 32 },
  'bus.ask_timeout': { type: 'pricing.quote', timeoutMs: 5 },
  'bus.ask_cancelled': { type: 'pricing.quote' },
  'bus.no_responder': { type: 'pricing.quote' },
  'bus.answer_failed': { type: 'pricing.quote', code: 'bus.handler_failed', problem: 'boom' },
  'bus.callee_overloaded': { type: 'pricing.quote', problem: 'too many requests', retryAfterMs: 250 },
  'bus.dead_letter_missing': { id: 'd-1' },
  'store.wrong_revision': { stream: 'order-1', expected: '3', actual: '4' },
  'store.conflict': { store: 'postgres', problem: 'deadlock detected' },
  'store.rolled_back': { store: 'postgres', problem: 'the transaction was aborted' },
  'store.down': { store: 'postgres', problem: 'ECONNREFUSED' },
  'store.refused': { store: 'postgres', problem: 'the disk is full' },
  'store.lease_lost': { store: 'postgres', lease: 'relay-0' },
  'store.event_unreadable': { stream: 'order-1', revision: '3', problem: 'no upcaster' },
  'outbox.transaction_missing': { library: 'pg', problem: 'it is the pool' },
  'outbox.unit_over': { operation: 'publish' },
  'outbox.unit_too_long': { store: 'postgres', limitMs: 5 },
  'outbox.unit_nested': { operation: 'bus.publish' },
  'outbox.not_attached': { store: 'postgres', operation: 'publish' },
  'outbox.attached_twice': { store: 'postgres', service: 'shop' },
  'outbox.id_collision': { id: 'm-1', source: '/shop', group: 'shop.all' },
  'outbox.retention_too_short': { retentionMs: 5, horizonMs: 6, problem: 'the broker keeps events for a week' },
  'outbox.timer_invalid': { id: 't-1', problem: 'no such time zone' },
  'discovery.attached_twice': { service: 'shop' },
  'discovery.off': { problem: 'the transport eventstoredb carries no broadcasts and requests' },
  'discovery.fetch_timeout': { address: 'http://10.0.0.7:8080', timeoutMs: 5_000 },
  'discovery.response_failed': { service: 'payments', status: 503 },
  'discovery.no_instance': { wanted: 'pricing.quote', problem: 'no instance that is up answers pricing.quote' },
  'discovery.wait_timeout': { service: 'stock', count: 2, seen: 1, timeoutMs: 30_000 },
  'discovery.unrecorded': { at: '2026-01-01T00:00:00.000Z', problem: 'nothing is recorded' },
  'outbox.body_missing': { id: 'b-1' },
  'outbox.too_old': { id: 'm-1', type: 'sales.order-placed', time: '2026-01-02T03:04:05.678Z' },
  'saga.definition_invalid': { saga: 'order', problem: 'it has no steps' },
  'saga.timer_invalid': { timer: 'remind', problem: 'give exactly one of afterMs, at and cron' },
  'saga.timer_missing': { saga: 'order', instance: 'o-1' },
  'saga.correlation_missing': { saga: 'order', type: 'sales.placed', id: 'm-1', problem: 'correlate gave an empty text' },
  'saga.correlation_ambiguous': { saga: 'order', type: 'sales.placed', id: 'm-1', instances: ['o-1', 'o-2'] },
  'saga.message_refused': { saga: 'order', type: 'sales.placed', id: 'm-1', problem: 'its saga has ended' },
  'saga.instance_missing': { saga: 'order', instance: 'o-1' },
  'saga.action_refused': { saga: 'order', instance: 'o-1', action: 'resume', problem: 'it is running' },
  'saga.version_unknown': { saga: 'order', instance: 'o-1', version: 2 },
  'saga.version_missing': { saga: 'order', versions: [1], known: [2, 3] },
  'saga.migration_failed': { saga: 'order', instance: 'o-1', problem: 'version 2 has no step pay' },
  'saga.repeated_too_often': { saga: 'order', instance: 'o-1', step: 'pay', timesMax: 5 },
  'saga.function_failed': { saga: 'order', problem: 'it wants send after its end' },
  'saga.compensation_failed': { saga: 'order', run: 'pay', problem: 'no answer' },
  'saga.stream_full': { saga: 'order', instance: 'o-1', events: 10_001, eventsMax: 10_000 },
  'discovery.setting_invalid': { setting: 'pricing.policy', problem: 'margin: too small' },
  'discovery.setting_unknown': { setting: 'pricing.policy', known: ['pricing.limits'] },
  'discovery.setting_revision_missing': { setting: 'pricing.policy', revision: 7 },
  'discovery.settings_unstored': { operation: 'set' },
  'resilience.timeout': { name: 'pricing.quote', timeoutMs: 500 },
  'resilience.circuit_open': { name: 'pricing.quote', retryAfterMs: 900 },
  'resilience.bulkhead_full': { name: 'pricing.quote', inFlightMax: 4, waitingMax: 8 },
  'resilience.rate_limited': { name: 'pricing.quote', retryAfterMs: 40 },
  'resilience.shed': { name: 'pricing.quote', waitedMs: 120, retryAfterMs: 40 },
  'resilience.cancelled': { name: 'pricing.quote' },
  'gateway.route_invalid': { route: '/orders', problem: 'the data has no field "id"' },
  'gateway.route_missing': { path: '/orders' },
  'gateway.method_refused': { method: 'PUT', path: '/orders', allowed: ['GET', 'HEAD'] },
  'gateway.request_malformed': { part: 'query', problem: 'the parameter "sku" is given 2 times' },
  'gateway.media_type_refused': { given: 'text/xml', accepted: 'application/json' },
  'gateway.head_too_large': { what: 'headers', bytes: 20_000, bytesMax: 16_384 },
  'gateway.unauthenticated': { challenge: 'Bearer' },
  'gateway.forbidden': { problem: 'POST /orders' },
  'gateway.origin_refused': { origin: 'https://evil.example' },
  'gateway.host_refused': { host: 'evil.example' },
  'gateway.precondition_missing': { header: 'If-Match' },
  'gateway.key_missing': { header: 'Idempotency-Key' },
  'gateway.key_reused': { key: 'k-1' },
  'gateway.key_in_progress': { key: 'k-1' },
  'gateway.draining': { operation: 'a new event stream' },
}

function sentencesOf<C extends ErrorCode>(code: C): string {
  return errorSentences(code, EXAMPLES[code])
}

// The compiler has checked that the examples are keyed by the codes.
const codes = Object.keys(errorRegistry) as ErrorCode[]

describe('the words of every error', () => {
  test.each(codes)('%s: sentences that begin with what happened and end with what to do', (code) => {
    const text = sentencesOf(code)
    expect(text).toMatch(/^[A-Za-z"].*\.$/)
    // Neither JSON, but for the data of a declared error, nor what a forgotten detail leaves.
    expect(text).not.toMatch(/undefined|\[object|\.\.|\{"(?!sku)/)
    expect(text.endsWith(` ${errorRegistry[code].remedy}`)).toBe(true)
    expect(text.length).toBeLessThan(400)
  })

  test.each(codes)('%s: everything short that its details say', (code) => {
    const text = sentencesOf(code)
    const values = Object.values(EXAMPLES[code]).filter((value) => (typeof value === 'string' && value.length > 0) || typeof value === 'number')
    // A phase of sending and the state before the start have words of their own.
    const said = values.filter((one) => !(one === 'publish' && code === 'contract.payload_invalid') && one !== 'idle')
    for (const value of said) expect(text).toContain(String(value).replace(/\.$/, ''))
  })
})

test.each<readonly [string, ErrorDetails['contract.payload_invalid'], string]>([
  ['what was to be sent', { type: 'a.b', during: 'publish', issues: [{ path: 'x.0', rule: 'is odd' }] }, 'The data that was to be sent does not fit the schema of a.b: x.0: is odd.'],
  ['what came in', { type: 'a.b', during: 'consume', issues: [{ path: '', rule: 'is odd' }] }, 'The data of a received message does not fit the schema of a.b: is odd.'],
  ['three issues of many', { type: 'a.b', during: 'reply', issues: Array.from({ length: 5 }, (_one, at) => ({ path: `p${at}`, rule: 'no' })) }, 'The answer or declared error does not fit the schema of a.b: p0: no; p1: no; p2: no; and 2 more.'],
])('invalid data is told with path and rule: %s', (_what, details, beginning) => {
  expect(errorSentences('contract.payload_invalid', details).startsWith(`${beginning} `)).toBe(true)
})

test('a misspelt option is told with the one that was probably meant', () => {
  expect(sentencesOf('core.option_unknown')).toBe('retry has no option "maxAttempts"; did you mean "attemptsMax"? Known are attemptsMax, factor. Correct the name, or take it out.')
  expect(errorSentences('core.option_unknown', { option: 'qqq', place: 'retry', nearest: undefined, known: ['factor'] })).toBe('retry has no option "qqq". Known are factor. Correct the name, or take it out.')
})

test('details that are not what they should be give the remedy alone', () => {
  expect(errorSentences('contract.payload_invalid', {} as never)).toBe(errorRegistry['contract.payload_invalid'].remedy)
})
