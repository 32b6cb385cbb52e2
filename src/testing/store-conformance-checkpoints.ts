import { deepEqual, equal } from 'node:assert/strict'
import type { StoreBackend } from '../outbox/port.ts'
import type { Lease, Snapshot } from '../store/port.ts'
import { range, refusal } from './conformance-stage.ts'
import { type StoreCase, storeCasesOf } from './store-conformance-case.ts'
import { type StoreStage, giveUp, newEvents, numbersOf, oneOf, readStream } from './store-conformance-stage.ts'

const LONG_MS = 3_600_000
const SHORT_MS = 60

/** Where readers are, and what they have folded. */
export const checkpointCases: readonly StoreCase[] = storeCasesOf('checkpoints', [
  {
    name: 'keeps the cursor of each reader, however large, until it is removed',
    async run(stage) {
      const [one, other] = [await stage.open(), await stage.open()]
      equal(await one.checkpoints.load('reader-1'), undefined)
      for (const cursor of [0n, 1n, 2n ** 53n + 1n, 2n ** 62n]) {
        await one.transact((tx) => tx.saveCheckpoint('reader-1', cursor, undefined))
        equal(await other.checkpoints.load('reader-1'), cursor)
      }
      await one.transact((tx) => tx.saveCheckpoint("reader-'2' ü", 7n, undefined))
      await one.checkpoints.remove('reader-1')
      await one.checkpoints.remove('reader-0')
      deepEqual([await other.checkpoints.load('reader-1'), await other.checkpoints.load("reader-'2' ü")], [undefined, 7n])
    },
  },
  {
    name: 'moves a checkpoint with the effects of the work, or not at all',
    async run(stage) {
      const backend = await stage.open()
      await backend.transact((tx) => tx.saveCheckpoint('reader-1', 5n, undefined))
      const failing = backend.transact(async (tx) => {
        await tx.append('order-1', 'noStream', newEvents([1]))
        await tx.saveCheckpoint('reader-1', 6n, undefined)
        throw giveUp()
      })
      await refusal(() => failing, 'bus.rejected')
      equal(await backend.checkpoints.load('reader-1'), 5n)
    },
  },
  {
    name: 'refuses a checkpoint, and the whole unit, of who has lost the lease of its name to a later holder',
    uses: ['leases'],
    async run(stage) {
      const [late, early] = [await stage.open(), await stage.open()]
      const lost = await heldShortly(stage, late, 'late')
      await late.transact((tx) => tx.saveCheckpoint('reader-1', 1n, lost.epoch))
      const taken = await takenOver(stage, early, 'early')
      const failing = late.transact(async (tx) => {
        await tx.append('order-1', 'noStream', newEvents([1]))
        await tx.saveCheckpoint('reader-1', 2n, lost.epoch)
      })
      await refusal(() => failing, 'store.lease_lost')
      await early.transact((tx) => tx.saveCheckpoint('reader-1', 3n, taken.epoch))
      await refusal(() => late.transact((tx) => tx.saveCheckpoint('reader-1', 4n, lost.epoch)), 'store.lease_lost')
      equal(await early.checkpoints.load('reader-1'), 3n)
      deepEqual(await readStream(early.log, 'order-1'), [])
    },
  },
  {
    name: 'shows a later holder what an earlier one commits, or lets the earlier one commit nothing more',
    uses: ['leases'],
    async run(stage) {
      const [late, early] = [await stage.open(), await stage.open()]
      const lost = await heldShortly(stage, late, 'late')
      const saved = stage.gate()
      const working = late.transact(async (tx) => {
        await tx.append('order-1', 'noStream', newEvents([1]))
        await tx.saveCheckpoint('reader-1', 1n, lost.epoch)
        saved.open()
        await stage.pause(2 * SHORT_MS)
      })
      const takingOver = saved.opened.then(async () => {
        await takenOver(stage, early, 'early')
        return await early.checkpoints.load('reader-1')
      })
      const [worked, seen] = await Promise.allSettled([working, takingOver])
      const seenByLater: unknown = seen.status === 'fulfilled' ? seen.value : seen.reason
      if (worked.status === 'fulfilled') deepEqual(seenByLater, 1n)
      else await refusal(() => working, 'store.lease_lost')
      deepEqual(numbersOf(await readStream(early.log, 'order-1')), worked.status === 'fulfilled' ? [1] : [])
    },
  },
  {
    name: 'keeps the newest snapshot of a stream, byte by byte, for the shape that folded it alone',
    async run(stage) {
      const [one, other] = [await stage.open(), await stage.open()]
      const snapshot = (revision: bigint, shape = 'order:1'): Snapshot => ({ stream: 'order-1', shape, revision, state: Buffer.from(`{"at":"${revision}","x":"\\ud800"}`) })
      for (const revision of [3n, 2n ** 60n, 10n]) await one.transact((tx) => tx.saveSnapshot(snapshot(revision)))
      const stored = await other.checkpoints.loadSnapshot('order-1', 'order:1')
      deepEqual([stored?.stream, stored?.shape, stored?.revision], ['order-1', 'order:1', 2n ** 60n])
      equal(Buffer.compare(stored?.state ?? Buffer.alloc(0), snapshot(2n ** 60n).state), 0)
      equal(await other.checkpoints.loadSnapshot('order-1', 'order:2'), undefined)
      equal(await other.checkpoints.loadSnapshot('order-2', 'order:1'), undefined)
      await one.transact((tx) => tx.saveSnapshot(snapshot(2n ** 61n, 'order:2')))
      equal((await other.checkpoints.loadSnapshot('order-1', 'order:2'))?.revision, 2n ** 61n)
    },
  },
])

/** Takes the lease of the reader. */
async function held(backend: StoreBackend<unknown>, owner: string, ttlMs: number): Promise<Lease> {
  const [lease] = await backend.leases.hold(['reader-1'], owner, ttlMs, 1)
  return lease ?? { name: '', epoch: 0n }
}

/** Takes the lease of the reader for a moment; for a longer one where the machine is so slow that it has ended with the answer. */
async function heldShortly(stage: StoreStage, backend: StoreBackend<unknown>, owner: string): Promise<Lease> {
  let lease = await held(backend, owner, SHORT_MS)
  for (let ttlMs = 2 * SHORT_MS; lease.name === '' && ttlMs < LONG_MS; ttlMs *= 2) {
    await stage.pause(ttlMs)
    lease = await held(backend, owner, ttlMs)
  }
  return lease
}

/** Takes the lease of the reader as soon as it has ended. */
async function takenOver(stage: StoreStage, backend: StoreBackend<unknown>, owner: string): Promise<Lease> {
  let lease = await held(backend, owner, LONG_MS)
  await stage.until('the lease has ended and is taken', async () => {
    if (lease.name === '') lease = await held(backend, owner, LONG_MS)
    return lease.name !== ''
  })
  return lease
}

/** Leases: who may do what alone. */
export const leaseCases: readonly StoreCase[] = storeCasesOf('leases', [
  {
    name: 'gives a lease to one owner, keeps it and its epoch for as long as it is renewed',
    async run(stage) {
      const [one, other] = [await stage.open(), await stage.open()]
      const [lease] = await one.leases.hold(['a'], 'one', 200, 1)
      equal(lease?.name, 'a')
      deepEqual(await other.leases.hold(['a'], 'other', 200, 1), [])
      deepEqual(await one.leases.hold(['a'], 'one', LONG_MS, 1), [lease])
      await stage.pause(300)
      deepEqual(await other.leases.hold(['a'], 'other', 200, 1), [])
      deepEqual(await one.leases.hold(['a'], 'one', LONG_MS, 1), [lease])
    },
  },
  {
    name: 'gives what has ended to the next owner, under a higher epoch',
    async run(stage) {
      const [one, other] = [await stage.open(), await stage.open()]
      const [first] = await one.leases.hold(['a'], 'one', SHORT_MS, 1)
      const later: Lease[] = []
      await stage.until('it has ended', async () => {
        later.push(...(await other.leases.hold(['a'], 'other', LONG_MS, 1)))
        return later.length > 0
      })
      equal((later[0]?.epoch ?? 0n) > (first?.epoch ?? 0n), true)
      deepEqual(await one.leases.hold(['a'], 'one', LONG_MS, 1), [])
    },
  },
  {
    name: 'gives what was released at once to others, and lets nobody release what is not theirs',
    async run(stage) {
      const [one, other] = [await stage.open(), await stage.open()]
      const epochs: bigint[] = []
      for (const turn of range(1, 6)) {
        const [mine, theirs] = turn % 2 === 0 ? ([one, other] as const) : ([other, one] as const)
        const owner = turn % 2 === 0 ? 'one' : 'other'
        epochs.push(...(await mine.leases.hold(['a'], owner, LONG_MS, 1)).map(({ epoch }) => epoch))
        await theirs.leases.release(['a', 'b'], owner === 'one' ? 'other' : 'one')
        deepEqual(await theirs.leases.hold(['a'], owner === 'one' ? 'other' : 'one', LONG_MS, 1), [])
        await mine.leases.release(['a'], owner)
      }
      equal(epochs.length, 6)
      for (const [at, epoch] of epochs.entries()) equal(at === 0 || epoch > (epochs[at - 1] ?? 0n), true, `epochs ${epochs.join(' ')}`)
    },
  },
  {
    name: 'gives an owner no more than it asks for, its own first, and the rest to others',
    async run(stage) {
      const [one, other] = [await stage.open(), await stage.open()]
      const names = ['a', 'b', 'c', 'd', 'e']
      const mine = await one.leases.hold(names, 'one', LONG_MS, 2)
      equal(mine.length, 2)
      deepEqual(byName(await one.leases.hold(names.toReversed(), 'one', LONG_MS, 2)), byName(mine))
      const theirs = await other.leases.hold(names, 'other', LONG_MS, 10)
      equal(theirs.length, 3)
      deepEqual([...byName(mine), ...byName(theirs)].map(({ name }) => name).toSorted((left, right) => (left < right ? -1 : 1)), names)
      equal((await one.leases.hold(names, 'one', LONG_MS, 10)).length, 2)
      equal((await one.leases.hold(names, 'one', LONG_MS, 1)).length, 1)
      deepEqual(await one.leases.hold(names, 'one', LONG_MS, 0), [])
      deepEqual(await one.leases.hold([], 'one', LONG_MS, 5), [])
    },
  },
  {
    name: 'gives each lease to one of many who ask at the same time',
    async run(stage) {
      const backends = [await stage.open(), await stage.open()]
      const names = range(1, 24).map((n) => `shard-${n}`)
      const shuffled = (owner: number): readonly string[] => [...names.slice(owner), ...names.slice(0, owner)]
      const held = await Promise.all(range(0, 7).map((owner) => oneOf(backends, owner).leases.hold(shuffled(owner * 3), `owner-${owner}`, LONG_MS, 4)))
      const given = held.flat().map(({ name }) => name)
      equal(new Set(given).size, given.length, 'no lease is given twice')
      equal(held.every((leases) => leases.length <= 4), true)
    },
  },
])

function byName(leases: readonly Lease[]): readonly Lease[] {
  return leases.toSorted((left, right) => (left.name < right.name ? -1 : 1))
}
