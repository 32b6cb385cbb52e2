import { expectTypeOf, test } from 'vitest'
import { z } from 'zod'
import { type MemoryTransaction, memory, memoryStore } from '../../src/adapters/memory/index.ts'
import { createBus, event, project } from '../../src/index.ts'

const Placed = event('sales.order-placed', { schema: z.object({ orderId: z.string() }) })

test('a handler has a transaction within a store alone', () => {
  const store = memoryStore()
  const bus = createBus({ service: { name: 'shop' }, transport: memory(), outbox: store.outbox })
  bus.on(Placed, { group: 'within', within: store }, (_message, context) => {
    expectTypeOf(context.tx).toEqualTypeOf<MemoryTransaction>()
    expectTypeOf(context).toHaveProperty('publish')
  })
  bus.on(Placed, { group: 'without' }, (_message, context) => {
    expectTypeOf(context).not.toHaveProperty('tx')
    expectTypeOf(context).not.toHaveProperty('publish')
  })
})

test('a projection that is given to its store directly knows the unit', () => {
  const store = memoryStore()
  project(store.events, {
    name: 'orders', contracts: [Placed],
    apply: ({ data }, { tx, version }) => {
      expectTypeOf(data).toEqualTypeOf<{ orderId: string }>()
      expectTypeOf(tx).toEqualTypeOf<MemoryTransaction>()
      expectTypeOf(version).toBeNumber()
    },
  })
})
