import { deepEqual, equal } from 'node:assert/strict'
import type { EventLog, Selection, StreamMetadata } from '../store/port.ts'
import { range } from './conformance-stage.ts'
import { type StoreCase, storeCasesOf } from './store-conformance-case.ts'
import { newEvents, numbersOf, readAll, readStream } from './store-conformance-stage.ts'

const STREAM: Selection = { kind: 'stream', stream: 'order-1' }

async function tenEvents(log: EventLog, metadata?: StreamMetadata): Promise<void> {
  await log.append('order-1', 'noStream', newEvents(range(0, 9)))
  if (metadata !== undefined) await log.setMetadata('order-1', metadata)
}

/** Settings of streams, and what they end. */
export const metadataCases: readonly StoreCase[] = storeCasesOf('metadata', [
  {
    name: 'keeps the settings of a stream, replaces them whole, and knows none of another one',
    async run(stage) {
      const [{ log }, { log: other }] = [await stage.open(), await stage.open()]
      deepEqual({ ...(await log.metadata('order-1')) }, {})
      await log.append('order-1', 'noStream', newEvents([1]))
      const metadata: StreamMetadata = { truncateBefore: 2n ** 60n, countMax: 1_000, ageMaxMs: 86_400_000, custom: { owner: 'ü', nested: { list: [1, null] } } }
      await log.setMetadata('order-1', metadata)
      deepEqual({ ...(await other.metadata('order-1')) }, metadata)
      await log.setMetadata('order-1', { countMax: 5 })
      deepEqual({ ...(await other.metadata('order-1')) }, { countMax: 5 })
      deepEqual({ ...(await other.metadata('order-2')) }, {})
    },
  },
  {
    name: 'hides what is before the truncation, and goes on counting revisions',
    async run(stage) {
      const { log } = await stage.open()
      await tenEvents(log, { truncateBefore: 6n })
      deepEqual((await readStream(log, 'order-1')).map(({ revision }) => revision), [6n, 7n, 8n, 9n])
      const backwards = await log.read({ selection: STREAM, direction: 'backwards', after: undefined, limit: 100 })
      deepEqual([numbersOf(backwards.events), backwards.isEnd], [[9, 8, 7, 6], true])
      deepEqual(numbersOf(await readAll(log, STREAM, 2, 2n)), range(6, 9))
      equal((await log.append('order-1', 9n, newEvents([10]))).revision, 10n)
      await log.setMetadata('order-1', { truncateBefore: 100n })
      deepEqual(await readStream(log, 'order-1'), [])
      equal((await log.append('order-1', 10n, newEvents([11]))).revision, 11n)
    },
  },
  {
    name: 'hides what is beyond the greatest count, oldest first',
    async run(stage) {
      const { log } = await stage.open()
      await tenEvents(log, { countMax: 3 })
      deepEqual(numbersOf(await readStream(log, 'order-1')), [7, 8, 9])
      await log.append('order-1', 9n, newEvents([10, 11]))
      deepEqual(numbersOf(await readStream(log, 'order-1')), [9, 10, 11])
    },
  },
  {
    name: 'hides what is older than the greatest age',
    async run(stage) {
      const { log } = await stage.open()
      await tenEvents(log, { ageMaxMs: 3_600_000 })
      equal((await readStream(log, 'order-1')).length, 10)
      await log.setMetadata('order-1', { ageMaxMs: 1_000 })
      await stage.until('they are too old', async () => (await readStream(log, 'order-1')).length === 0)
      await log.append('order-1', 9n, newEvents([10]))
      deepEqual((await readStream(log, 'order-1')).filter(({ revision }) => revision < 10n), [])
    },
  },
  {
    name: 'hides it from the whole log, from categories and from those who follow as well',
    uses: ['truncation everywhere'],
    async run(stage) {
      const { log } = await stage.open()
      await tenEvents(log, { truncateBefore: 5n, countMax: 3 })
      await log.append('order-2', 'noStream', newEvents([20]))
      const follower = stage.follow(log, { kind: 'category', category: 'order' })
      await stage.until('it has caught up', () => follower.endings >= 1)
      const expected = [7, 8, 9, 20]
      deepEqual(follower.numbers, expected)
      for (const selection of [{ kind: 'all' }, { kind: 'category', category: 'order' }] as const) {
        deepEqual(numbersOf(await readAll(log, selection, 2)), expected)
        const backwards = await log.read({ selection, direction: 'backwards', after: undefined, limit: 100 })
        deepEqual(numbersOf(backwards.events), expected.toReversed())
      }
    },
  },
])
