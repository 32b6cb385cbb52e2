import { AsyncLocalStorage } from 'node:async_hooks'
import { AssertionError, deepEqual, equal, ok, rejects } from 'node:assert/strict'
import { isTrunklineError } from '../core/errors.ts'
import type { InboxEntry, StoreBackend, UnitTransaction } from '../outbox/port.ts'
import { range, refusal, sorted, wireMessage } from './conformance-stage.ts'
import { type StoreCase, storeCasesOf } from './store-conformance-case.ts'
import { type StoreStage, giveUp, newEvents, newRows, numbersOf, readAll, readStream } from './store-conformance-stage.ts'

const ENTRY: InboxEntry = { group: 'shop.stock', source: '/conformance', id: 'message-1', digest: Buffer.alloc(32, 1) }
/** Longer than it takes to see that nobody waits for ever. */
const SHORT_MS = 300

/** Writes one thing of every kind. */
async function writeAll(tx: UnitTransaction<unknown>): Promise<void> {
  equal((await tx.enter(ENTRY)).kind, 'new')
  await tx.append('order-1', 'noStream', newEvents([1, 2]))
  await tx.putTimer({ id: 'timer-1', due: { afterMs: 3_600_000 }, kind: 'event', message: wireMessage({ type: 'conformance.rang' }), recurrence: undefined })
  await tx.saveSnapshot({ stream: 'order-1', shape: 'order:1', revision: 1n, state: Buffer.from('{}') })
  await tx.saveCheckpoint('reader-1', 17n, undefined)
  await tx.write(newRows([1, 2], 'key-1'))
}

/** What of `writeAll` is there, as everybody sees it. Looking leaves a mark, so each case looks once. */
async function writtenOf(stage: StoreStage, backend: StoreBackend<unknown>): Promise<readonly unknown[]> {
  const { checkpoints, log, outbox, timers } = backend
  return [
    ...(await stage.unit(backend, async (tx) => [(await tx.enter(ENTRY)).kind])),
    numbersOf(await readStream(log, 'order-1')),
    (await timers.read('timer-1'))?.id,
    (await timers.nextInMs()) !== undefined,
    (await checkpoints.loadSnapshot('order-1', 'order:1'))?.revision,
    await checkpoints.load('reader-1'),
    numbersOf(await outbox.read(0, { limit: 10, after: undefined, withoutKeys: [] })),
    (await outbox.stats()).waiting,
  ]
}

const ALL = ['seen', [1, 2], 'timer-1', true, 1n, 17n, [1, 2], 2]
const NOTHING = ['new', [], undefined, false, undefined, undefined, [], 0]

/** What a unit rejects with, and not what the suite says of it. */
function isNoAssertion(error: unknown): boolean {
  return !(error instanceof AssertionError)
}

/** Units of work: what commits together. */
export const unitCases: readonly StoreCase[] = storeCasesOf('units', [
  {
    name: 'commits everything that a unit wrote, and gives back what it returned',
    async run(stage) {
      const [one, other] = [await stage.open(), await stage.open()]
      equal(await one.transact((tx) => writeAll(tx).then(() => 'done')), 'done')
      deepEqual(await writtenOf(stage, other), ALL)
    },
  },
  {
    name: 'runs each unit in the asynchronous context of its caller',
    async run(stage) {
      const backend = await stage.open()
      const context = new AsyncLocalStorage<number>()
      const inside = (caller: number): Promise<readonly unknown[]> =>
        context.run(caller, () => backend.transact(async (tx) => {
          const before = context.getStore()
          await tx.write(newRows([caller], 'key-1'))
          return [before, context.getStore()]
        }))
      deepEqual(await Promise.all(range(1, 4).map(inside)), range(1, 4).map((caller) => [caller, caller]))
    },
  },
  {
    name: 'leaves nothing of a unit that throws, and throws the same',
    async run(stage) {
      const backend = await stage.open()
      const thrown = giveUp()
      await rejects(() => backend.transact((tx) => writeAll(tx).then(() => Promise.reject(thrown))), (error) => error === thrown)
      deepEqual(await writtenOf(stage, backend), NOTHING)
      const { events } = await backend.log.read({ selection: { kind: 'all' }, direction: 'forwards', after: undefined, limit: 10 })
      deepEqual(events, [])
    },
  },
  {
    name: 'commits business rows with everything else, or none of them',
    needs: ['canCommitRows'],
    uses: ['business rows'],
    async run(stage) {
      const backend = await stage.open()
      const { rows } = stage
      await backend.transact((tx) => rows.put(tx.handle, 'kept', 1).then(() => writeAll(tx)))
      await rejects(() => backend.transact((tx) => rows.put(tx.handle, 'lost', 2).then(() => Promise.reject(giveUp()))))
      const failing = backend.transact(async (tx) => {
        await rows.put(tx.handle, 'lost', 3)
        await tx.append('order-1', 'noStream', newEvents([9]))
      })
      await refusal(() => failing, 'store.wrong_revision')
      deepEqual([await rows.read('kept'), await rows.read('lost')], [1, undefined])
      deepEqual(await writtenOf(stage, backend), ALL)
    },
  },
  {
    name: 'commits events of several streams together, in one order',
    needs: ['canCommitStreams'],
    async run(stage) {
      const backend = await stage.open()
      await backend.transact(async (tx) => {
        await tx.append('order-1', 'noStream', newEvents([1]))
        await tx.append('item-1', 'noStream', newEvents([2]))
        await tx.append('order-1', 0n, newEvents([3]))
      })
      const failing = backend.transact(async (tx) => {
        await tx.append('order-2', 'noStream', newEvents([4]))
        await tx.append('item-1', 'noStream', newEvents([5]))
      })
      await refusal(() => failing, 'store.wrong_revision')
      deepEqual(numbersOf(await readAll(backend.log, { kind: 'all' })), [1, 2, 3])
    },
  },
  {
    name: 'shows a unit what it appended itself, and others nothing before the commit',
    async run(stage) {
      const [one, other] = [await stage.open(), await stage.open()]
      await one.log.append('order-1', 'noStream', newEvents([1]))
      await one.transact(async (tx) => {
        equal((await tx.append('order-1', 0n, newEvents([2, 3]))).revision, 2n)
        const page = await tx.readStream('order-1', { direction: 'forwards', after: 0n, limit: 10 })
        deepEqual([numbersOf(page.events), page.isEnd], [[2, 3], true])
        const last = await tx.readStream('order-1', { direction: 'backwards', after: undefined, limit: 1 })
        deepEqual([numbersOf(last.events), last.isEnd], [[3], false])
        deepEqual(numbersOf(await readStream(other.log, 'order-1')), [1])
        deepEqual(numbersOf(await readAll(other.log, { kind: 'all' })), [1])
      })
    },
  },
  {
    name: 'commits all or nothing where a unit swallows the error of an append',
    async run(stage) {
      const backend = await stage.open()
      await backend.log.append('order-1', 'noStream', newEvents([1]))
      const settled = await Promise.allSettled([
        backend.transact(async (tx) => {
          await tx.append('order-2', 'noStream', newEvents([2]))
          await tx.append('order-1', 'noStream', newEvents([3])).catch(() => undefined)
          await tx.append('order-3', 'noStream', newEvents([4])).catch(() => undefined)
        }),
      ])
      const isCommitted = settled[0].status === 'fulfilled'
      deepEqual(numbersOf(await readAll(backend.log, { kind: 'all' })), isCommitted ? [1, 2, 4] : [1])
    },
  },
  {
    name: 'recognises a repeated append within a unit',
    async run(stage) {
      const backend = await stage.open()
      const events = newEvents([1, 2])
      await backend.log.append('order-1', 'noStream', events)
      await backend.log.append('order-1', 1n, newEvents([3]))
      const again = await backend.transact((tx) => tx.append('order-1', 'noStream', events))
      deepEqual([again.revision, again.isRepeated], [1n, true])
      deepEqual(numbersOf(await readStream(backend.log, 'order-1')), [1, 2, 3])
    },
  },
  {
    name: 'loses no update of units that load, decide and append at the same time',
    async run(stage) {
      const backends = [await stage.open(), await stage.open()]
      const add = async (backend: StoreBackend<unknown>): Promise<void> => {
        await stage.unit(backend, async (tx) => {
          const { events } = await tx.readStream('sum-1', { direction: 'backwards', after: undefined, limit: 1 })
          const [last] = events
          await stage.pause(stage.random.next() * 3)
          const n = (numbersOf(events)[0] ?? 0) + 1
          await tx.append('sum-1', last?.revision ?? 'noStream', newEvents([n]))
        })
      }
      const addInTheEnd = async (backend: StoreBackend<unknown>): Promise<void> => {
        for (;;) {
          try {
            await add(backend)
            return
          } catch (error) {
            if (!isTrunklineError(error, 'store.wrong_revision')) throw error
          }
        }
      }
      await Promise.all(backends.flatMap((backend) => range(1, 10).map(() => addInTheEnd(backend))))
      const [first] = backends
      ok(first !== undefined)
      deepEqual(numbersOf(await readStream(first.log, 'sum-1')), range(1, 20))
    },
  },
  {
    name: 'refuses what a unit does after its end',
    async run(stage) {
      const backend = await stage.open()
      const tx = await backend.transact((open) => Promise.resolve(open))
      await refusal(() => tx.append('order-1', 'noStream', newEvents([1])), 'outbox.unit_over')
      await refusal(() => tx.write(newRows([1])), 'outbox.unit_over')
      await refusal(() => tx.enter(ENTRY), 'outbox.unit_over')
      const failed: UnitTransaction<unknown>[] = []
      await rejects(() => backend.transact((open) => {
        failed.push(open)
        return Promise.reject(giveUp())
      }))
      await refusal(() => failed[0]?.append('order-1', 'noStream', newEvents([1])), 'outbox.unit_over')
      deepEqual(await readAll(backend.log, { kind: 'all' }), [])
    },
  },
  {
    name: 'gives up a unit that takes too long, and lets the others go on',
    async run(stage) {
      const backend = await stage.open()
      const gate = stage.gate()
      const late = backend.transact((tx) => tx.append('order-1', 'noStream', newEvents([1])).then(() => gate.opened), { timeoutMs: SHORT_MS })
      await rejects(stage.inTime('the unit is given up', late), (error) => isTrunklineError(error))
      await stage.unit(backend, (tx) => tx.append('order-1', 'noStream', newEvents([2])))
      gate.open()
      deepEqual(numbersOf(await readStream(backend.log, 'order-1')), [2])
    },
  },
  {
    name: 'gives up a unit whose signal aborts, and one whose signal has aborted before it began',
    async run(stage) {
      const backend = await stage.open()
      const [gate, controller] = [stage.gate(), stage.abort()]
      const given = backend.transact(
        async (tx) => {
          await tx.append('order-1', 'noStream', newEvents([1]))
          controller.abort()
          await gate.opened
        },
        { signal: controller.signal },
      )
      await rejects(stage.inTime('the unit is given up', given), isNoAssertion)
      let hasBegun = false
      const never = backend.transact((tx) => {
        hasBegun = true
        return tx.append('order-1', 'noStream', newEvents([3]))
      }, { signal: controller.signal })
      await rejects(stage.inTime('the unit is refused', never), isNoAssertion)
      equal(hasBegun, false)
      await stage.unit(backend, (tx) => tx.append('order-1', 'noStream', newEvents([2])))
      deepEqual(numbersOf(await readStream(backend.log, 'order-1')), [2])
    },
  },
  {
    name: 'never waits for ever where a unit starts another one',
    async run(stage) {
      const backend = await stage.open()
      const outer = backend.transact(async (tx) => {
        await tx.append('order-1', 'noStream', newEvents([1]))
        return (await Promise.allSettled([backend.transact((nested) => nested.append('order-2', 'noStream', newEvents([2])), { timeoutMs: SHORT_MS })]))[0]
      })
      const inner = await stage.inTime('both units end', outer)
      if (inner.status === 'rejected') ok(isTrunklineError(inner.reason), String(inner.reason))
      const expected = inner.status === 'fulfilled' ? [1, 2] : [1]
      deepEqual(sorted(numbersOf(await readAll(backend.log, { kind: 'all' }))), expected)
    },
  },
  {
    name: 'refuses handles that it does not know',
    async run(stage) {
      const backend = await stage.open()
      for (const handle of [undefined, 'tx', {}, () => {}, []]) await refusal(() => backend.adopt(handle), 'core.option_invalid', typeof handle)
    },
  },
])
