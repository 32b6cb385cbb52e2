import { deepEqual, equal, ok } from 'node:assert/strict'
import { range } from './conformance-stage.ts'
import { type StoreCase, storeCasesOf } from './store-conformance-case.ts'
import { newEvents, numbersOf, readAll } from './store-conformance-stage.ts'

/** Readers that stay. */
export const followCases: readonly StoreCase[] = storeCasesOf('follow', [
  {
    name: 'catches up, says so, and goes on with what comes',
    async run(stage) {
      const { log } = await stage.open()
      await log.append('order-1', 'noStream', newEvents(range(1, 30)))
      const follower = stage.follow(log, { kind: 'all' }, undefined, 10)
      await stage.until('it has caught up', () => follower.endings >= 1)
      deepEqual(follower.numbers, range(1, 30))
      ok(follower.pages.every(({ events }) => events.length <= 10), 'no page is larger than asked for')
      for (const n of range(31, 40)) await log.append('order-1', BigInt(n - 2), newEvents([n]))
      await stage.until('the new ones came', () => follower.events.length >= 40)
      await stage.until('it says that it has caught up again', () => follower.pages.at(-1)?.isEnd === true)
      deepEqual(follower.numbers, range(1, 40))
    },
  },
  {
    name: 'says of an empty log that it has caught up, and waits',
    async run(stage) {
      const { log } = await stage.open()
      const follower = stage.follow(log, { kind: 'category', category: 'order' })
      await stage.until('it has caught up', () => follower.endings >= 1)
      deepEqual(follower.events, [])
      await log.append('item-1', 'noStream', newEvents([1]))
      await log.append('order-1', 'noStream', newEvents([2]))
      await stage.until('what is selected comes', () => follower.events.length >= 1)
      deepEqual(follower.numbers, [2])
    },
  },
  {
    name: 'follows one stream, a category and the whole log, each from an exclusive cursor',
    async run(stage) {
      const { log } = await stage.open()
      for (const n of range(1, 12)) await log.append(`${n % 2 === 0 ? 'order' : 'item'}-${n % 3}`, 'any', newEvents([n]))
      const all = await readAll(log, { kind: 'all' })
      const from = all[5]?.position
      const followers = [
        stage.follow(log, { kind: 'stream', stream: 'order-0' }, 0n), stage.follow(log, { kind: 'category', category: 'order' }, from), stage.follow(log, { kind: 'all' }, from),
      ]
      await stage.until('they have caught up', () => followers.every(({ endings }) => endings >= 1))
      deepEqual(followers.map(({ numbers }) => numbers), [[12], [8, 10, 12], range(7, 12)])
      await log.append('order-0', 'any', newEvents([13]))
      await stage.until('all of them hear of it', () => followers.every(({ numbers }) => numbers.at(-1) === 13))
      deepEqual(followers.map(({ numbers }) => numbers), [[12, 13], [8, 10, 12, 13], range(7, 13)])
    },
  },
  {
    name: 'goes on from the last cursor and gives nothing twice',
    async run(stage) {
      const { log } = await stage.open()
      await log.append('order-1', 'noStream', newEvents(range(1, 50)))
      const controller = stage.abort()
      let cursor: bigint | undefined
      const seen: number[] = []
      const read = async (): Promise<void> => {
        for await (const page of log.follow({ kind: 'all' }, undefined, { pageMax: 8, signal: controller.signal })) {
          seen.push(...numbersOf(page.events))
          cursor = page.cursor
          if (seen.length >= 16) break
        }
      }
      await stage.inTime('the first ones are read', read())
      await log.append('order-1', 49n, newEvents([51]))
      const follower = stage.follow(log, { kind: 'all' }, cursor, 8)
      await stage.until('the rest came', () => seen.length + follower.events.length >= 51)
      deepEqual([...seen, ...follower.numbers], range(1, 51))
    },
  },
  {
    name: 'waits for a slow reader and loses nothing meanwhile',
    async run(stage) {
      const { log } = await stage.open()
      await log.append('order-1', 'noStream', newEvents(range(1, 20)))
      const seen: number[] = []
      let n = 20
      const read = async (): Promise<void> => {
        for await (const page of log.follow({ kind: 'all' }, undefined, { pageMax: 5, signal: stage.abort().signal })) {
          ok(page.events.length <= 5)
          seen.push(...numbersOf(page.events))
          // What is appended while a page is being handled comes with a later one.
          if (n < 40) await log.append('order-1', BigInt(n - 1), newEvents([++n]))
          if (page.isEnd && seen.length >= 40) break
        }
      }
      await stage.inTime('everything is read', read())
      deepEqual(seen, range(1, 40))
    },
  },
  {
    name: 'hears what other processes append',
    async run(stage) {
      const [reader, writer] = [await stage.open(), await stage.open()]
      const follower = stage.follow(reader.log, { kind: 'all' })
      await stage.until('it has caught up', () => follower.endings >= 1)
      for (const n of range(1, 5)) {
        await writer.log.append('order-1', 'any', newEvents([n]))
        await stage.until('it hears of it', () => follower.events.length >= n)
      }
      deepEqual(follower.numbers, range(1, 5))
    },
  },
  {
    name: 'ends when its signal aborts, while it waits and before it began',
    async run(stage) {
      const { log } = await stage.open()
      await log.append('order-1', 'noStream', newEvents([1]))
      const controller = stage.abort()
      let pages = 0
      const read = async (): Promise<void> => {
        for await (const page of log.follow({ kind: 'all' }, undefined, { pageMax: 10, signal: controller.signal })) pages += page.events.length
      }
      const reading = read()
      await stage.until('it has read', () => pages >= 1)
      controller.abort()
      await stage.inTime('it ends', reading)
      await stage.inTime('another one ends', read())
      equal(pages, 1)
    },
  },
])
