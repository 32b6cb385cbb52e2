import { deepEqual, equal, ok } from 'node:assert/strict'
import type { DeadLetterRecord, Delivery } from '../bus/port.ts'
import type { OutboxReadOptions, OutboxRow, StoreBackend } from '../outbox/port.ts'
import { shardLease } from '../outbox/protocol/lease-names.ts'
import { range, refusal, wireMessage } from './conformance-stage.ts'
import { type StoreCase, storeCasesOf } from './store-conformance-case.ts'
import { type StoreStage, giveUp, newRows, numberIn, numbersOf, oneOf, sameMessage } from './store-conformance-stage.ts'

const ALL: OutboxReadOptions = { limit: 10_000, after: undefined, withoutKeys: [] }
const LONG_MS = 3_600_000

const RECORD: DeadLetterRecord = {
  reason: 'contract.payload_too_large', errors: [{ name: 'TrunklineError', message: 'zu groß "1"', code: 'contract.payload_too_large' }, { name: 'Error', message: 'why', stack: 'at x' }],
  attempts: 3, handler: 'relay', service: 'shop', instance: 'i-1', at: '2026-01-02T03:04:05.678Z',
}

/** Takes the lease of a shard and gives its epoch. */
async function holdShard(backend: StoreBackend<unknown>, shard = 0, owner = 'relay', ttlMs = LONG_MS): Promise<bigint> {
  const [lease] = await backend.leases.hold([shardLease(shard)], owner, ttlMs, 1)
  return lease?.epoch ?? -1n
}

function idsOf(rows: readonly OutboxRow[]): readonly bigint[] {
  return rows.map(({ id }) => id)
}

/** Messages on their way out. */
export const outboxCases: readonly StoreCase[] = storeCasesOf('outbox', [
  {
    name: 'shows committed rows shard by shard, in the order written, with everything that they carry',
    async run(stage) {
      const [one, other] = [await stage.open(), await stage.open()]
      ok(one.outbox.shards >= 1)
      const message = wireMessage({
        type: 'conformance.happened', key: 'größe "1"', correlationId: 'c', causationId: 'd', tenant: 'one', hops: 2, headers: { 'x-wide': 'Straße 🚂' }, body: Buffer.from([0, 255, 0x7b]),
      })
      await one.transact((tx) => tx.write([...newRows([1, 2], 'key-1'), { kind: 'command', message, shard: 0 }, ...newRows([3], 'key-1')]))
      const rows = await other.outbox.read(0, ALL)
      deepEqual(rows.map(({ kind, shard }) => [kind, shard]), [['event', 0], ['event', 0], ['command', 0], ['event', 0]])
      sameMessage(rows[2]?.message, message)
      deepEqual(numbersOf([rows[0], rows[1], rows[3]].flatMap((row) => row ?? [])), [1, 2, 3])
      grow(idsOf(rows))
      const last = other.outbox.shards - 1
      if (last > 0) {
        await one.transact((tx) => tx.write(newRows([9], 'key-2', last)))
        deepEqual(numbersOf(await other.outbox.read(last, ALL)), [9])
      }
      equal((await other.outbox.read(0, ALL)).length, 4)
    },
  },
  {
    name: 'reads no more than asked for, beyond a row, and without the keys that wait',
    async run(stage) {
      const { outbox, transact } = bound(await stage.open())
      await transact((tx) => tx.write([...newRows([1, 2, 3], 'a'), ...newRows([4, 5]), ...newRows([6, 7], 'b'), ...newRows([8], 'a')]))
      const rows = await outbox.read(0, ALL)
      deepEqual(numbersOf(rows), range(1, 8))
      deepEqual(numbersOf(await outbox.read(0, { ...ALL, limit: 3 })), [1, 2, 3])
      deepEqual(numbersOf(await outbox.read(0, { ...ALL, after: rows[4]?.id })), [6, 7, 8])
      deepEqual(numbersOf(await outbox.read(0, { ...ALL, withoutKeys: ['a'] })), [4, 5, 6, 7])
      deepEqual(numbersOf(await outbox.read(0, { limit: 2, after: rows[1]?.id, withoutKeys: ['a', 'none', "'"] })), [4, 5])
      deepEqual(numbersOf(await outbox.read(0, { ...ALL, withoutKeys: ['a', 'b'] })), [4, 5])
    },
  },
  {
    name: 'shows nothing of a unit before its commit, and nothing of one that was rolled back',
    async run(stage) {
      const [one, other] = [await stage.open(), await stage.open()]
      await one.transact(async (tx) => {
        await tx.write(newRows([1], 'a'))
        deepEqual(await other.outbox.read(0, ALL), [])
      })
      await one.transact((tx) => tx.write(newRows([2], 'a')).then(() => Promise.reject(giveUp()))).catch(() => undefined)
      deepEqual(numbersOf(await other.outbox.read(0, ALL)), [1])
    },
  },
  {
    name: 'writes many rows at once',
    async run(stage) {
      const { outbox, transact } = bound(await stage.open())
      await transact((tx) => tx.write(range(1, 1_000).flatMap((n) => newRows([n], `key-${n % 7}`))))
      const seen: number[] = []
      let after: bigint | undefined
      for (;;) {
        const rows = await outbox.read(0, { limit: 300, after, withoutKeys: [] })
        if (rows.length === 0) break
        seen.push(...numbersOf(rows))
        after = rows.at(-1)?.id
      }
      deepEqual(seen, range(1, 1_000))
      await transact((tx) => tx.write([]))
    },
  },
  {
    name: 'keeps the rows of a key in commit order under many writers, so that none appears before one that was seen',
    async run(stage) {
      const backends = [await stage.open(), await stage.open()]
      const { outbox } = await stage.open()
      const keys = ['a', 'b', 'c']
      const write = async (writer: number): Promise<void> => {
        for (const at of range(1, 10)) {
          const [first, second] = [keys[(writer + at) % 3], keys[(writer * 2 + at) % 3]]
          const [isRolledBack, waitMs] = [stage.random.next() < 0.2, stage.random.next() < 0.4 ? stage.random.next() * 6 : 0]
          const unit = stage.unit(oneOf(backends, writer), async (tx) => {
            await tx.write([...newRows([writer * 1_000 + at * 10], first), ...newRows([writer * 1_000 + at * 10 + 1], second)])
            if (waitMs > 0) await stage.pause(waitMs)
            if (isRolledBack) throw giveUp()
          })
          await (isRolledBack ? unit.catch(() => undefined) : unit)
        }
      }
      let isWriting = true
      const writing = Promise.all(range(1, 12).map(write)).finally(() => {
        isWriting = false
      })
      const [seen] = await Promise.all([watchOrder(stage, () => outbox.read(0, ALL), () => isWriting), writing])
      const numbers = seen.map(numberIn)
      for (const key of keys) {
        for (const writer of range(1, 12)) {
          const own = numbers.filter((n, at) => Math.floor(n / 1_000) === writer && seen[at]?.key === key)
          deepEqual(own, own.toSorted((left, right) => left - right), `rows of writer ${writer} for ${key}`)
        }
      }
    },
  },
  {
    name: 'removes what was published and nothing else, for the holder of the shard',
    uses: ['leases'],
    async run(stage) {
      const { outbox, transact, backend } = bound(await stage.open())
      await transact((tx) => tx.write(newRows([1, 2, 3, 4], 'a')))
      const epoch = await holdShard(backend)
      const rows = await outbox.read(0, ALL)
      await outbox.settle(0, epoch, { published: [rows[0]?.id ?? 0n, rows[2]?.id ?? 0n], dead: [] })
      deepEqual(numbersOf(await outbox.read(0, ALL)), [2, 4])
      await outbox.settle(0, epoch, { published: [rows[0]?.id ?? 0n, 2n ** 60n], dead: [{ id: rows[2]?.id ?? 0n, record: RECORD }] })
      await outbox.settle(0, epoch, { published: [], dead: [] })
      deepEqual([numbersOf(await outbox.read(0, ALL)), (await outbox.stats()).dead], [[2, 4], 0])
      await transact((tx) => tx.write(newRows([5], 'a')))
      const later = await outbox.read(0, ALL)
      deepEqual(numbersOf(later), [2, 4, 5])
      grow([...idsOf(rows), later.at(-1)?.id ?? 0n])
    },
  },
  {
    name: 'changes nothing for who has lost the shard to a later holder',
    uses: ['leases'],
    async run(stage) {
      const [late, early] = [await stage.open(), await stage.open()]
      await late.transact((tx) => tx.write(newRows([1, 2], 'a')))
      const rows = await late.outbox.read(0, ALL)
      const lost = await holdShard(late, 0, 'late')
      await late.leases.release([shardLease(0)], 'late')
      const epoch = await holdShard(early, 0, 'early')
      const outcome = { published: [rows[0]?.id ?? 0n], dead: [{ id: rows[1]?.id ?? 0n, record: RECORD }] }
      await refusal(() => late.outbox.settle(0, lost, outcome), 'store.lease_lost')
      deepEqual([numbersOf(await early.outbox.read(0, ALL)), (await early.outbox.stats()).dead], [[1, 2], 0])
      await early.outbox.settle(0, epoch, outcome)
      deepEqual([await early.outbox.read(0, ALL), (await early.outbox.stats()).dead], [[], 1])
    },
  },
  {
    name: 'keeps what was given up with its record, page by page, until it is redriven or removed',
    uses: ['leases'],
    async run(stage) {
      const { outbox, transact, backend } = bound(await stage.open())
      await transact((tx) => tx.write(newRows(range(1, 7), 'a')))
      const rows = await outbox.read(0, ALL)
      const epoch = await holdShard(backend)
      await outbox.settle(0, epoch, { published: [], dead: rows.slice(0, 5).map(({ id }) => ({ id, record: { ...RECORD, attempts: Number(id) } })) })
      deepEqual(numbersOf(await outbox.read(0, ALL)), [6, 7])
      const first = await outbox.dead(2, undefined)
      const second = await outbox.dead(10, first[1]?.id)
      const dead = [...first, ...second]
      deepEqual([first.length, ...numbersOf(dead)], [2, 1, 2, 3, 4, 5])
      deepEqual({ ...dead[0]?.record }, { ...RECORD, attempts: Number(rows[0]?.id) })
      sameMessage(dead[0]?.message, rows[0]?.message ?? wireMessage({ type: 'none.none' }))
      const [one, two] = dead
      deepEqual([await outbox.redrive(one?.id ?? 0n), await outbox.redrive(one?.id ?? 0n)], [true, false])
      deepEqual([await outbox.removeDead(two?.id ?? 0n), await outbox.removeDead(two?.id ?? 0n)], [true, false])
      deepEqual([await outbox.redrive(2n ** 60n), await outbox.removeDead(2n ** 60n)], [false, false])
      deepEqual([numbersOf(await outbox.read(0, ALL)), numbersOf(await outbox.dead(10, undefined))], [[6, 7, 1], [3, 4, 5]])
    },
  },
  {
    name: 'says what waits, how many and for how long',
    uses: ['leases'],
    async run(stage) {
      const { outbox, transact, backend } = bound(await stage.open())
      const shards = range(0, outbox.shards - 1)
      deepEqual([await outbox.waiting(shards), { ...(await outbox.stats()) }], [[], { waiting: 0, oldestAgeMs: 0, dead: 0 }])
      await transact((tx) => tx.write([...newRows([1], 'a'), ...newRows([2, 3], 'b', outbox.shards - 1)]))
      const expected = [...new Set([0, outbox.shards - 1])]
      deepEqual((await outbox.waiting(shards)).toSorted((left, right) => left - right), expected)
      deepEqual(await outbox.waiting([0]), [0])
      deepEqual(await outbox.waiting([]), [])
      await stage.until('they grow old', async () => (await outbox.stats()).oldestAgeMs >= 20)
      equal((await outbox.stats()).waiting, 3)
      const epoch = await holdShard(backend)
      await outbox.settle(0, epoch, { published: [], dead: [{ id: (await outbox.read(0, ALL))[0]?.id ?? 0n, record: RECORD }] })
      const { waiting, dead } = await outbox.stats()
      deepEqual([waiting, dead], [2, 1])
    },
  },
  {
    name: 'tells other processes of what was committed, where it hears of them',
    async run(stage) {
      const [one, other] = [await stage.open(), await stage.open()]
      let count = 0
      const stop = other.onCommitted(() => count++)
      if (!other.hearsOthers) return
      await one.transact((tx) => tx.write(newRows([1], 'a')))
      await stage.until('it hears of the row', () => count >= 1)
      stop()
      stop()
    },
  },
  {
    name: "hands messages to the store's own transport with the commit, and never those of a unit that was rolled back",
    uses: ['own transport'],
    async run(stage) {
      const backend = await stage.open({ isOwnTransport: true })
      const { transport } = backend
      ok(transport !== undefined, 'the store is a transport too')
      await transport.open(stage.transportHost)
      stage.atEnd(() => transport.close())
      const deliveries: Delivery[] = []
      const subscription = { group: 'shop.group', kind: 'event', types: ['conformance.happened'], order: 'key', from: 'new', inFlightMax: 100, handlerTimeoutMs: 30_000 } as const
      await transport.subscribe(subscription, (delivery) => {
        deliveries.push(delivery)
        void delivery.ack()
      })
      await backend.transact((tx) => tx.write(newRows([1], 'a')).then(() => Promise.reject(giveUp()))).catch(() => undefined)
      await backend.transact((tx) => tx.write(newRows([2, 3, 4], 'a')))
      await backend.transact((tx) => tx.write(newRows([5], 'a')))
      await stage.until('they are delivered', () => deliveries.length >= 4)
      deepEqual(numbersOf(deliveries), [2, 3, 4, 5])
      equal((await backend.outbox.stats()).waiting, 0)
    },
  },
])

interface Bound {
  readonly backend: StoreBackend<unknown>
  readonly outbox: StoreBackend<unknown>['outbox']
  readonly transact: StoreBackend<unknown>['transact']
}

function bound(backend: StoreBackend<unknown>): Bound {
  return { backend, outbox: backend.outbox, transact: (work, options) => backend.transact(work, options) }
}

function grow(ids: readonly bigint[]): void {
  for (const [at, id] of ids.entries()) ok(at === 0 || id > (ids[at - 1] ?? 0n), `ids ${ids.join(' ')}`)
}

/** Looks at the rows again and again: of a key none may come in before one that was there at an earlier look. */
async function watchOrder(stage: StoreStage, look: () => Promise<readonly OutboxRow[]>, isWriting: () => boolean): Promise<readonly OutboxRow['message'][]> {
  const newest = new Map<string, bigint>()
  const known = new Set<bigint>()
  for (;;) {
    const isLast = !isWriting()
    const rows = await look()
    for (const { id, message } of rows) {
      const key = message.key ?? ''
      if (known.has(id)) continue
      ok(id > (newest.get(key) ?? -1n), `row ${id} of ${key} came in after row ${newest.get(key)}`)
      known.add(id)
      newest.set(key, id)
    }
    if (isLast) return rows.map(({ message }) => message)
    await stage.pause(1)
  }
}
