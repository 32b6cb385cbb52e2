import { expect, test } from 'vitest'
import { LazyContext } from '../../src/bus/context.ts'
import { scopeOf } from '../../src/bus/envelopes.ts'
import { type Logger, silentLogger } from '../../src/index.ts'
import { wireMessage } from './fake-transport.ts'

test('a context tells what is known, and binds the ids of its message to the logger once', () => {
  const bindings: unknown[] = []
  const logger: Logger = {
    ...silentLogger,
    child: (bound) => {
      bindings.push(bound)
      return silentLogger
    },
  }
  const message = wireMessage({ id: 'm', correlationId: 'flow', deadline: '2024-01-01T00:00:00Z' })
  const context = new LazyContext({ group: 'shop.g', attemptsMax: 5, logger }, { message, isRedriven: true }, 3, scopeOf(message))
  expect(context).toMatchObject({ attempt: 3, attemptsMax: 5, group: 'shop.g', isRedriven: true, deadlineAtMs: Date.parse('2024-01-01T00:00:00Z') })
  expect(bindings).toEqual([])
  expect([context.logger, context.logger]).toEqual([silentLogger, silentLogger])
  expect(bindings).toEqual([{ messageId: 'm', type: 'sales.order-placed', correlationId: 'flow', group: 'shop.g', attempt: 3 }])
})

test('a signal is the same however often it is asked for, and aborts with the reason', () => {
  const message = wireMessage()
  const make = (): LazyContext => new LazyContext({ group: 'g', attemptsMax: 1, logger: silentLogger }, { message, isRedriven: false }, 1, scopeOf(message))
  const reason = new Error('time is over')
  const [early, late] = [make(), make()]
  const { signal } = early
  expect([early.signal === signal, signal.aborted]).toEqual([true, false])
  for (const context of [early, late]) context.abort(reason)
  expect([signal.aborted, signal.reason, late.signal.aborted, late.signal.reason]).toEqual([true, reason, true, reason])
})
