import { deepEqual, equal, ok } from 'node:assert/strict'
import type { Bus } from '../bus/bus.ts'
import { reject } from '../bus/retry-policy.ts'
import { type ConformanceCase, casesOf } from './conformance-case.ts'
import { Moved, Reserve, Turned } from './conformance-contracts.ts'
import { type Stage, range, userError } from './conformance-stage.ts'

const NEVER_MS = 600_000

/** What was handled, key by key, and whether two messages of a key ever ran at the same time. */
export class KeyLog {
  readonly byKey: Map<string, number[]> = new Map()
  readonly #running = new Set<string>()
  overlaps = 0
  count = 0

  /** Wraps the work on one message. */
  async run(key: string, n: number, work: () => Promise<void>): Promise<void> {
    if (this.#running.has(key)) this.overlaps++
    this.#running.add(key)
    try {
      await work()
      this.add(key, n)
    } finally {
      this.#running.delete(key)
    }
  }

  add(key: string, n: number): void {
    const line = this.byKey.get(key)
    if (line === undefined) this.byKey.set(key, [n])
    else line.push(n)
    this.count++
  }

  of(key: string): readonly number[] {
    return this.byKey.get(key) ?? []
  }
}

/** Publishes `n` from 1 for every key: in runs of three, so that messages of a key are neighbours and keys are mixed. */
export async function publishMoves(bus: Bus, keys: readonly string[], perKey: number): Promise<void> {
  const publishes: Promise<void>[] = []
  for (let from = 1; from <= perKey; from += 3) {
    for (const key of keys) for (const n of range(from, Math.min(from + 2, perKey))) publishes.push(bus.publish(Moved, { key, n }))
  }
  await Promise.all(publishes)
}

const keysOf = (count: number): string[] => range(1, count).map((n) => `key-${n}`)

/** Order of each key, promise 3. */
export const orderCases: readonly ConformanceCase[] = casesOf('order', ['canStore'], [
  {
    name: 'handles the messages of a key one at a time, in the order accepted',
    needs: ['canOrderByKey'],
    run: (stage) => keepsOrder(stage, 1),
  },
  {
    name: 'keeps the order of a key across two instances',
    needs: ['canOrderByKey'],
    run: (stage) => keepsOrder(stage, 2),
  },
  {
    name: 'lets keys overtake each other',
    needs: ['canOrderByKey'],
    async run(stage) {
      const gate = stage.gate()
      const log = new KeyLog()
      const bus = stage.bus().on(Moved, { group: 'ordered', order: 'key' }, ({ data }) =>
        log.run(data.key, data.n, () => (data.key === 'slow' ? gate.opened : Promise.resolve())),
      )
      await bus.start()
      await publishMoves(bus, ['slow', 'fast'], 30)
      await stage.until('the fast key is done while the slow one waits', () => log.of('fast').length === 30)
      equal(log.of('slow').length, 0)
      gate.open()
      await stage.until('the slow key is done', () => log.of('slow').length === 30)
      deepEqual([log.of('slow'), log.of('fast')], [range(1, 30), range(1, 30)])
    },
  },
  {
    name: 'keeps the order across the types of one group',
    needs: ['canOrderByKey'],
    async run(stage) {
      const log = new KeyLog()
      const work = (): Promise<void> => stage.pause(stage.random.next() * 2)
      const bus = stage.bus().on([Moved, Turned], { group: 'ordered', order: 'key' }, ({ data }) => log.run(data.key, data.n, work))
      await bus.start()
      for (const n of range(1, 20)) for (const key of ['a', 'b']) await bus.publish(n % 3 === 0 ? Turned : Moved, { key, n })
      await stage.until('all is handled', () => log.count >= 40)
      deepEqual([log.of('a'), log.of('b'), log.overlaps], [range(1, 20), range(1, 20), 0])
    },
  },
  {
    name: 'keeps the order of a command that asks for it',
    needs: ['canOrderByKey', 'canDelayRetry'],
    async run(stage) {
      const log = new KeyLog()
      const bus = stage.bus('stock').handle(Reserve, { order: 'key' }, async ({ data }, { attempt }) => {
        if (data.n % 5 === 0 && attempt < 3) throw userError('again')
        await log.run(data.key, data.n, () => stage.pause(1))
        return { left: 0 }
      })
      await bus.start()
      for (const n of range(1, 12)) for (const key of ['a', 'b', 'c']) await bus.send(Reserve, { key, n })
      await stage.until('all is handled', () => log.count >= 36)
      deepEqual([log.of('a'), log.of('b'), log.of('c'), log.overlaps], [range(1, 12), range(1, 12), range(1, 12), 0])
    },
  },
  {
    name: 'repeats a failed message before the later ones of its key',
    needs: ['canOrderByKey', 'canDelayRetry'],
    async run(stage) {
      const runs: string[] = []
      const log = new KeyLog()
      const bus = stage.bus().on(Moved, { group: 'ordered', order: 'key' }, ({ data }, { attempt }) => {
        if (data.key === 'a') runs.push(`${data.n}/${attempt}`)
        if (data.key === 'a' && data.n % 4 === 2 && attempt < 3) throw userError('again')
        log.add(data.key, data.n)
      })
      await bus.start()
      await publishMoves(bus, ['a', 'b', 'c'], 8)
      await stage.until('all is handled', () => log.count >= 24)
      for (const key of ['a', 'b', 'c']) deepEqual(log.of(key), range(1, 8))
      deepEqual(runs, ['1/1', '2/1', '2/2', '2/3', '3/1', '4/1', '5/1', '6/1', '6/2', '6/3', '7/1', '8/1'])
    },
  },
  {
    name: 'holds back the key of a delayed message and no other',
    needs: ['canOrderByKey', 'canDelayRetry'],
    async run(stage) {
      const log = new KeyLog()
      const decide = (): { readonly kind: 'retry'; readonly delayMs: number } => ({ kind: 'retry', delayMs: NEVER_MS })
      const bus = stage.bus().on(Moved, { group: 'ordered', order: 'key', decide }, ({ data }) => {
        if (data.key === 'held' && data.n === 2) throw userError('later')
        log.add(data.key, data.n)
      })
      await bus.start()
      const others = keysOf(20)
      await publishMoves(bus, ['held', ...others], 5)
      await stage.until('every other key is done', () => others.every((key) => log.of(key).length === 5))
      for (const key of others) deepEqual(log.of(key), range(1, 5))
      deepEqual(log.of('held'), [1])
    },
  },
  {
    name: 'holds back the key of a dead letter and no other, however much waits behind it, until it is skipped',
    needs: ['canOrderByKey', 'canManageDeadLetters'],
    async run(stage) {
      const log = new KeyLog()
      const bus = stage.bus().on(Moved, { group: 'ordered', order: 'key', inFlightMax: 4 }, ({ data }) => {
        if (data.key === 'held' && data.n === 1) throw reject('never')
        log.add(data.key, data.n)
      })
      await bus.start()
      await publishMoves(bus, ['held'], 200)
      const others = keysOf(30)
      await publishMoves(bus, others, 3)
      await stage.until('every other key is done', () => others.every((key) => log.of(key).length === 3))
      await stage.until('the dead letter is listed', async () => (await bus.deadLetters.list()).items.length === 1)
      deepEqual(log.of('held'), [])
      const [letter] = (await bus.deadLetters.list()).items
      equal(letter?.holdsKey, true)
      equal(letter?.message.key, 'held')
      await bus.deadLetters.skip(letter?.id ?? '')
      await stage.until('the key goes on', () => log.of('held').length >= 199)
      deepEqual(log.of('held'), range(2, 200))
    },
  },
  {
    name: 'delivers a redriven message before those of its key that waited',
    needs: ['canOrderByKey', 'canManageDeadLetters'],
    async run(stage) {
      let isCured = false
      const seen: string[] = []
      const bus = stage.bus().on(Moved, { group: 'ordered', order: 'key' }, ({ data }, { attempt, isRedriven }) => {
        if (data.n === 1 && !isCured) throw reject('not yet')
        seen.push(`${data.key}${data.n}/${attempt}${isRedriven ? ' redriven' : ''}`)
      })
      await bus.start()
      for (const n of range(1, 4)) await bus.publish(Moved, { key: 'a', n })
      await stage.until('it is dead-lettered', async () => (await bus.deadLetters.list()).items.length === 1)
      // Published while the key is held: they wait as well.
      for (const n of range(5, 8)) await bus.publish(Moved, { key: 'a', n })
      await bus.publish(Moved, { key: 'b', n: 2 })
      await stage.until('another key is handled', () => seen.length === 1)
      isCured = true
      const [letter] = (await bus.deadLetters.list()).items
      await bus.deadLetters.redrive(letter?.id ?? '')
      await stage.until('the key goes on', () => seen.length >= 9)
      deepEqual(seen, ['b2/1', 'a1/1 redriven', ...range(2, 8).map((n) => `a${n}/1`)])
      deepEqual((await bus.deadLetters.list()).items, [])
    },
  },
  {
    name: 'holds nothing back where no order was asked for',
    needs: ['canManageDeadLetters'],
    async run(stage) {
      const seen: number[] = []
      const bus = stage.bus().on(Moved, { group: 'free' }, ({ data }) => {
        if (data.n === 1) throw reject('never')
        seen.push(data.n)
      })
      await bus.start()
      await publishMoves(bus, ['a'], 5)
      await stage.until('the later ones are handled', () => seen.length >= 4)
      await stage.until('the dead letter is listed', async () => (await bus.deadLetters.list()).items.length === 1)
      equal((await bus.deadLetters.list()).items[0]?.holdsKey, false)
    },
  },
  {
    name: 'hands the keys of an instance that stops to the others, in order',
    needs: ['canOrderByKey'],
    async run(stage) {
      const log = new KeyLog()
      const handler = (bus: Bus): Bus =>
        bus.on(Moved, { group: 'ordered', order: 'key', inFlightMax: 4 }, ({ data }) => log.run(data.key, data.n, () => stage.pause(1)))
      const [leaving, staying] = [handler(stage.bus()), handler(stage.bus())]
      await Promise.all([leaving.start(), staying.start()])
      const keys = keysOf(20)
      const publisher = await stage.publisher()
      const publishing = publishMoves(publisher, keys, 20)
      await stage.until('work has begun', () => log.count >= 40)
      await leaving.stop()
      await publishing
      await stage.until('all is handled', () => keys.every((key) => new Set(log.of(key)).size === 20))
      for (const key of keys) isInOrder(key, log.of(key), 20)
      equal(log.overlaps, 0)
    },
  },
])

async function keepsOrder(stage: Stage, instances: number): Promise<void> {
  const log = new KeyLog()
  for (const _instance of range(1, instances)) {
    const bus = stage.bus().on(Moved, { group: 'ordered', order: 'key' }, ({ data }) => log.run(data.key, data.n, () => stage.pause(stage.random.next() * 3)))
    await bus.start()
  }
  const publisher = await stage.publisher()
  const keys = keysOf(40)
  await publishMoves(publisher, keys, 15)
  await stage.until('all is handled', () => log.count >= 600)
  for (const key of keys) deepEqual(log.of(key), range(1, 15))
  equal(log.overlaps, 0)
}

/**
 * In order and complete. Messages may come again, because an acknowledgement can die with a process or a
 * link, but then they are repeated in order too: nothing ever follows that is not the next of what came before it.
 */
export function isInOrder(key: string, numbers: readonly number[], last: number): void {
  deepEqual([...new Set(numbers)], range(1, last), `${key} was handled as ${numbers.join(' ')}`)
  ok(numbers.every((n, at) => n <= (numbers[at - 1] ?? 0) + 1), `${key} was handled as ${numbers.join(' ')}`)
}
