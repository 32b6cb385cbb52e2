import { expectTypeOf, test } from 'vitest'
import { type Policy, compose, createBus, fallback, query, retry, timeout } from '../../src/index.ts'
import { memory } from '../../src/adapters/memory/index.ts'
import { z } from 'zod'

test('what a fallback may give is in the type of what comes out', () => {
  expectTypeOf(compose(retry(), timeout(5))).toEqualTypeOf<Policy>()
  expectTypeOf(compose(fallback({ value: 'none' }), fallback({ use: () => 5 }), retry())).toEqualTypeOf<Policy<string | number>>()
  const bus = createBus({ service: { name: 'shop' }, transport: memory() })
  const Quote = query('pricing.quote', { request: z.object({}), response: z.object({ cents: z.int() }) })
  expectTypeOf(bus.ask(Quote, {}, { policy: compose(fallback({ value: undefined }), retry()) })).resolves.toEqualTypeOf<{ cents: number } | undefined>()
  expectTypeOf(bus.ask(Quote, {}, { policy: retry() })).resolves.toEqualTypeOf<{ cents: number }>()
  expectTypeOf(bus.ask(Quote, {}, { timeoutMs: 5 })).resolves.toEqualTypeOf<{ cents: number }>()
  expectTypeOf(bus.ask(Quote, {})).resolves.toEqualTypeOf<{ cents: number }>()
  expectTypeOf(timeout(5).run((signal) => fetch('http://localhost', { signal }))).resolves.toEqualTypeOf<Response>()
})
