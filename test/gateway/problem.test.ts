import { expect, test } from 'vitest'
import { type ErrorCode, TrunklineError } from '../../src/index.ts'
import { errorRegistry } from '../../src/core/error-registry.ts'
import { problemOf, titleOf } from '../../src/gateway/problem.ts'

const context = { correlationId: 'c-1', base: 'urn:x:', declared: { closed: 409 }, type: 'sales.place-order' }

test('a fault of ours shows its code and its correlation id, and nothing of its details, cause or stack', () => {
  const secret = 'amqp://user:hunter2@broker.internal'
  const error = new TrunklineError('bus.connection_lost', { adapter: 'rabbitmq', problem: secret }, { cause: new Error(secret) })
  const problem = problemOf(error, context)
  expect(problem).toEqual({
    type: 'urn:x:bus.connection_lost', title: 'Connection lost', status: 503, code: 'bus.connection_lost', correlationId: 'c-1',
    detail: 'The service is not available at the moment. Repeat the request later.',
  })
  for (const thrown of [new Error(secret), secret, { message: secret }, undefined, null]) {
    expect(problemOf(thrown, context)).toMatchObject({ status: 500, code: 'core.unexpected' })
    expect(JSON.stringify(problemOf(thrown, context))).not.toContain('hunter2')
  }
})

test.each([
  ['bus.overloaded', 503], ['bus.handler_timeout', 504], ['bus.deadline_passed', 504], ['contract.payload_invalid', 502], ['contract.version_unknown', 502],
  ['outbox.id_collision', 422], ['bus.handler_failed', 500], ['something.new', 500], ['__proto__', 500],
])('an answer that failed with %s is a %i', (code, status) => {
  expect(problemOf(new TrunklineError('bus.answer_failed', { type: 'a.b', code, problem: 'hunter2' }), context)).toMatchObject({ status, code: 'bus.answer_failed' })
})

test('what the caller did wrong is told in a sentence without advice to operators', () => {
  const error = new TrunklineError('contract.payload_invalid', { type: 'a.b', during: 'publish', issues: [{ path: 'x', rule: 'is odd' }] })
  expect(problemOf(error, context)).toMatchObject({ status: 422, detail: 'The data that was to be sent does not fit the schema of a.b: x: is odd.', issues: [{ path: 'x', rule: 'is odd' }] })
  const ours = new TrunklineError('contract.payload_invalid', { type: 'a.b', during: 'reply', issues: [{ path: 'x', rule: 'is odd' }] })
  expect(problemOf(ours, context)).toMatchObject({ status: 502, detail: 'The service behind this gateway gave no valid answer.' })
  expect(problemOf(ours, context).issues).toBeUndefined()
})

test('a declared error has the status of its route, and its data only where the route declared it', () => {
  const declared = (type: string, name: string): TrunklineError => new TrunklineError('contract.declared_error', { type, name, data: { orderId: 'o' } })
  expect(problemOf(declared('sales.place-order', 'closed'), context)).toMatchObject({ type: 'urn:x:sales.place-order:closed', title: 'Closed', status: 409, data: { orderId: 'o' } })
  expect(problemOf(declared('sales.place-order', 'constructor'), context)).toMatchObject({ status: 422 })
  expect(problemOf(declared('other.thing', 'closed'), context)).toMatchObject({ status: 422 })
  expect(problemOf(declared('other.thing', 'closed'), context).data).toBeUndefined()
})

test('every code has a title that is a few words', () => {
  for (const code of Object.keys(errorRegistry) as ErrorCode[]) expect(titleOf(code)).toMatch(/^[A-Z][a-z]+(?: [a-z]+)*$/)
})
