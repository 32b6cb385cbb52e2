import { deepEqual, equal, ok } from 'node:assert/strict'
import { type ConformanceCase, casesOf } from './conformance-case.ts'
import { Ticked } from './conformance-contracts.ts'
import { range, sorted, userError } from './conformance-stage.ts'

/** Handlers of many messages at once. */
export const batchCases: readonly ConformanceCase[] = casesOf('batches', ['canStore'], [
  {
    name: 'hands many messages to a batch handler at once, each one time',
    async run(stage) {
      const sizes: number[] = []
      const seen: number[] = []
      const bus = stage.bus().on(Ticked, { group: 'work', batch: { sizeMax: 10, waitMs: 20 } }, (messages) => {
        sizes.push(messages.length)
        seen.push(...messages.map(({ data }) => data.n))
      })
      await bus.start()
      await Promise.all(range(1, 95).map((n) => bus.publish(Ticked, { n })))
      await stage.until('all is handled', () => seen.length >= 95)
      deepEqual(sorted(seen), range(1, 95))
      ok(Math.max(...sizes) > 1 && Math.max(...sizes) <= 10, `the batches had sizes ${sizes.join(', ')}`)
    },
  },
  {
    name: 'gives up the poison of a batch and handles its neighbours',
    needs: ['canManageDeadLetters'],
    async run(stage) {
      const done: number[] = []
      const poisonRuns: number[] = []
      const bus = stage.bus().on(Ticked, { group: 'work', batch: { sizeMax: 10, waitMs: 20 }, retry: { attemptsMax: 3 } }, (messages, { attempt }) => {
        const numbers = messages.map(({ data }) => data.n)
        if (numbers.includes(7)) {
          if (numbers.length === 1) poisonRuns.push(attempt)
          throw userError('seven')
        }
        done.push(...numbers)
      })
      await bus.start()
      await Promise.all(range(1, 30).map((n) => bus.publish(Ticked, { n })))
      await stage.until('the poison is given up', async () => (await bus.deadLetters.list()).items.length === 1)
      await stage.until('the neighbours are handled', () => new Set(done).size === 29)
      deepEqual(sorted(done), range(1, 30).filter((n) => n !== 7))
      deepEqual(poisonRuns, [1, 2, 3])
      const [letter] = (await bus.deadLetters.list()).items
      equal(letter?.record.attempts, 3)
    },
  },
])
