import { deepEqual, equal } from 'node:assert/strict'
import type { StoreBackend } from '../outbox/port.ts'
import type { StoredEvent } from '../store/port.ts'
import { range, sorted } from './conformance-stage.ts'
import { type StoreCase, storeCasesOf } from './store-conformance-case.ts'
import { inPositionOrder } from './store-conformance-log.ts'
import { type StoreStage, giveUp, newEvents, numbersOf, oneOf, readAll } from './store-conformance-stage.ts'

const WRITERS = 16
const UNITS = 12
const STREAMS = 6

/** Many writers at the same time, and what readers see of them (P-01, P-03). */
export const writerCases: readonly StoreCase[] = storeCasesOf('writers', [
  {
    name: 'gives a reader every append of many writers exactly once and in order',
    async run(stage) {
      const backends = [await stage.open(), await stage.open()]
      const reader = await stage.open()
      const follower = stage.follow(reader.log, { kind: 'all' }, undefined, 50)
      const write = async (writer: number): Promise<void> => {
        const { log } = oneOf(backends, writer)
        for (const at of range(1, UNITS)) await log.append(`order-${(writer + at) % STREAMS}`, 'any', newEvents(range(1, 3).map((n) => numberOf(writer, at, n))))
      }
      await Promise.all(range(1, WRITERS).map(write))
      const expected = range(1, WRITERS).flatMap((writer) => range(1, UNITS).flatMap((at) => range(1, 3).map((n) => numberOf(writer, at, n))))
      await seenOnce(stage, follower.events, expected)
      areTogether(follower.events)
      deepEqual(numbersOf(await readAll(reader.log, { kind: 'all' }, 37)), numbersOf(follower.events))
    },
  },
  {
    name: 'gives a reader every committed event of slow units exactly once, in the order of each stream, and none of those rolled back',
    needs: ['canCommitStreams'],
    uses: ['units'],
    async run(stage) {
      const backends = [await stage.open(), await stage.open()]
      const reader = await stage.open()
      const readers = [stage.follow(reader.log, { kind: 'all' }, undefined, 7), stage.follow(reader.log, { kind: 'category', category: 'order' }, undefined, 1_000)]
      const committed: number[] = []
      await Promise.all(range(1, WRITERS).map((writer) => writeUnits(stage, oneOf(backends, writer), writer, committed)))
      for (const { events } of readers) await seenOnce(stage, events, committed)
      deepEqual(numbersOf(await readAll(reader.log, { kind: 'all' })), readers[0]?.numbers)
    },
  },
  {
    name: 'lets no unit that stays open hide what others commit for ever, and gives its events when it ends',
    uses: ['units'],
    async run(stage) {
      const [slow, quick] = [await stage.open(), await stage.open()]
      const follower = stage.follow(quick.log, { kind: 'all' })
      await stage.until('it has caught up', () => follower.endings >= 1)
      const begun = stage.gate()
      const slowly = slow.transact(async (tx) => {
        await tx.append('order-1', 'noStream', newEvents([1]))
        begun.open()
        await stage.pause(100)
        await tx.append('order-1', 0n, newEvents([2]))
      })
      await begun.opened
      await Promise.all([slowly, ...range(3, 12).map((n) => quick.log.append(`item-${n}`, 'noStream', newEvents([n])))])
      await seenOnce(stage, follower.events, range(1, 12))
    },
  },
])

function numberOf(writer: number, at: number, n: number): number {
  return writer * 10_000 + at * 10 + n
}

/** The three events of one append follow each other in their stream. */
function areTogether(events: readonly StoredEvent[]): void {
  const revisions = new Map(events.map((event) => [numbersOf([event])[0] ?? 0, event.revision]))
  for (const [n, revision] of revisions) if (n % 10 === 1) deepEqual([revisions.get(n + 1), revisions.get(n + 2)], [revision + 1n, revision + 2n])
}

/** Units that append to two streams, some slowly, some rolled back. The streams are taken in one order, so that they cannot wait for each other in a circle. */
async function writeUnits(stage: StoreStage, backend: StoreBackend<unknown>, writer: number, committed: number[]): Promise<void> {
  for (const at of range(1, UNITS)) {
    const numbers = [numberOf(writer, at, 1), numberOf(writer, at, 2), numberOf(writer, at, 3)]
    const [first, second] = sorted([(writer + at) % STREAMS, (writer * 7 + at * 3) % STREAMS])
    const [isRolledBack, isSlow] = [stage.random.next() < 0.2, stage.random.next() < 0.3]
    const events = newEvents(numbers)
    const unit = stage.unit(backend, async (tx) => {
      await tx.append(`order-${first}`, 'any', events.slice(0, 2))
      if (isSlow) await stage.pause(stage.random.next() * 8)
      await tx.append(`order-${second}`, 'any', events.slice(2))
      if (isSlow) await stage.pause(stage.random.next() * 8)
      if (isRolledBack) throw giveUp()
    })
    if (isRolledBack) equal((await Promise.allSettled([unit]))[0].status, 'rejected')
    else {
      await unit
      committed.push(...numbers)
    }
  }
}

/** Waits for as many as there must be, then looks at what came: each once, positions in order, each stream without a gap. */
async function seenOnce(stage: StoreStage, events: readonly StoredEvent[], expected: readonly number[]): Promise<void> {
  await stage.until(`${expected.length} events are seen`, () => events.length >= expected.length)
  deepEqual(sorted(numbersOf(events)), sorted(expected))
  inPositionOrder(events)
  for (const stream of new Set(events.map((event) => event.stream))) {
    const revisions = events.filter((event) => event.stream === stream).map(({ revision }) => Number(revision))
    deepEqual(revisions, range(0, revisions.length - 1), `revisions of ${stream}`)
  }
}
