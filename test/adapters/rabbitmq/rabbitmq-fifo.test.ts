import fc from 'fast-check'
import { expect, test } from 'vitest'
import { Fifo } from '../../../src/adapters/rabbitmq/rabbitmq-fifo.ts'

test('gives out what went in, in order, whatever is put in front or taken out on the way', () => {
  const step = fc.oneof(
    fc.record({ kind: fc.constant('push' as const), count: fc.integer({ min: 1, max: 3_000 }) }),
    fc.record({ kind: fc.constant('shift' as const), count: fc.integer({ min: 1, max: 3_000 }) }),
    fc.record({ kind: fc.constant('prepend' as const), count: fc.integer({ min: 0, max: 5 }) }),
    fc.record({ kind: fc.constant('remove' as const), count: fc.integer({ min: 2, max: 5 }) }),
  )
  fc.assert(
    fc.property(fc.array(step, { maxLength: 20 }), (steps) => {
      const fifo = new Fifo<number>()
      let model: number[] = []
      let next = 0
      for (const { kind, count } of steps) {
        if (kind === 'push') for (let n = 0; n < count; n++) model.push((fifo.push(next), next++))
        if (kind === 'shift') for (let n = 0; n < count; n++) expect(fifo.shift()).toBe(model.shift())
        if (kind === 'prepend') {
          const items = Array.from({ length: count }, () => next++)
          fifo.prepend(items)
          model.unshift(...items)
        }
        if (kind === 'remove') {
          expect(fifo.removeWhere((item) => item % count === 0)).toEqual(model.filter((item) => item % count === 0))
          model = model.filter((item) => item % count !== 0)
        }
        expect(fifo.length).toBe(model.length)
      }
    }),
    { numRuns: 50 },
  )
})
