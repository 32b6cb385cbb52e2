import { deepEqual, equal, ok } from 'node:assert/strict'
import type { StoreBackend } from '../outbox/port.ts'
import type { NewTimer, StoredTimer } from '../store/port.ts'
import { range, sorted, wireMessage } from './conformance-stage.ts'
import { type StoreCase, storeCasesOf } from './store-conformance-case.ts'
import { giveUp, numberIn, numbersOf, oneOf, sameMessage } from './store-conformance-stage.ts'

const LONG_MS = 3_600_000
/** Clocks of a database and of this process may differ in how finely they count. */
const GRAIN_MS = 5

function timer(id: string, due: NewTimer['due'], n = 0): NewTimer {
  return { id, due, kind: 'event', message: wireMessage({ type: 'conformance.rang' }, { n }), recurrence: undefined }
}

async function put(backend: StoreBackend<unknown>, ...timers: readonly NewTimer[]): Promise<void> {
  await backend.transact(async (tx) => {
    for (const one of timers) await tx.putTimer(one)
  })
}

function take(backend: StoreBackend<unknown>, limit = 100): Promise<readonly StoredTimer[]> {
  return backend.transact((tx) => tx.takeDue(limit))
}

/** Alarms by the database's clock. */
export const timerCases: readonly StoreCase[] = storeCasesOf('timers', [
  {
    name: 'keeps an alarm with everything that it carries, and lists alarms page by page',
    async run(stage) {
      const [one, other] = [await stage.open(), await stage.open()]
      const message = wireMessage({ type: 'conformance.rang', key: 'ü', headers: { 'x-a': 'b' }, body: Buffer.from([0, 255]), deadline: '2026-01-02T03:05:05.678Z' })
      const farMs = 253_402_300_000_000
      await put(one, { id: "t-2 '", due: { atMs: farMs }, kind: 'command', message, recurrence: { cron: '0 3 * * *', timeZone: 'Europe/Berlin' } }, timer('t-1', { afterMs: LONG_MS }), timer('t-3', { afterMs: LONG_MS }))
      const stored = await other.timers.read("t-2 '")
      deepEqual([stored?.dueAtMs, stored?.kind, { ...stored?.recurrence }], [farMs, 'command', { cron: '0 3 * * *', timeZone: 'Europe/Berlin' }])
      sameMessage(stored?.message, message)
      equal((await other.timers.read('t-1'))?.recurrence, undefined)
      equal(await other.timers.read('t-0'), undefined)
      const first = await other.timers.list(2, undefined)
      const rest = await other.timers.list(2, first.at(-1)?.id)
      deepEqual([...first, ...rest].map(({ id }) => id), ['t-1', "t-2 '", 't-3'])
      deepEqual(await take(other), [])
    },
  },
  {
    name: 'never fires early',
    async run(stage) {
      const backend = await stage.open()
      equal(await backend.timers.nextInMs(), undefined)
      const beganMs = stage.elapsedMs
      await put(backend, timer('soon', { afterMs: 150 }), timer('later', { afterMs: LONG_MS }))
      const nextInMs = await backend.timers.nextInMs()
      ok(nextInMs !== undefined && nextInMs <= 150, `the next one is in ${nextInMs} ms`)
      const taken: StoredTimer[] = []
      await stage.until('it is due', async () => {
        taken.push(...(await take(backend)))
        return taken.length > 0
      })
      const tookMs = stage.elapsedMs - beganMs
      ok(tookMs >= 150 - GRAIN_MS, `it fired after ${tookMs} ms`)
      deepEqual(taken.map(({ id }) => id), ['soon'])
      const restMs = (await backend.timers.nextInMs()) ?? 0
      ok(restMs > LONG_MS / 2 && restMs <= LONG_MS, `the next one is in ${restMs} ms`)
    },
  },
  {
    name: 'gives what is due in the order of its instants, no more than asked for, and takes it out',
    async run(stage) {
      const backend = await stage.open()
      await put(backend, timer('c', { atMs: 3_000 }, 3), timer('a', { atMs: 1_000 }, 1), timer('d', { atMs: 4_000 }, 4), timer('b', { atMs: 2_000 }, 2), timer('later', { afterMs: LONG_MS }))
      equal(await backend.timers.nextInMs(), 0)
      deepEqual(numbersOf(await take(backend, 3)), [1, 2, 3])
      deepEqual(numbersOf(await take(backend, 3)), [4])
      deepEqual(await take(backend, 3), [])
      deepEqual((await backend.timers.list(10, undefined)).map(({ id }) => id), ['later'])
    },
  },
  {
    name: 'gives each alarm to one of those who take at the same time',
    async run(stage) {
      const backends = [await stage.open(), await stage.open()]
      await put(oneOf(backends, 0), ...range(1, 60).map((n) => timer(`t-${n}`, { atMs: n }, n)))
      const taken: number[] = []
      const taker = async (backend: StoreBackend<unknown>): Promise<void> => {
        while (taken.length < 60) {
          const due = await stage.unit(backend, async (tx) => {
            const found = await tx.takeDue(4)
            await stage.pause(stage.random.next() * 2)
            return found
          })
          taken.push(...due.map(({ message }) => numberIn(message)))
          if (due.length === 0) await stage.pause(2)
        }
      }
      await Promise.all(backends.flatMap((backend) => [taker(backend), taker(backend), taker(backend)]))
      deepEqual(sorted(taken), range(1, 60))
    },
  },
  {
    name: 'keeps an alarm whose taker rolls back, and gives it again',
    async run(stage) {
      const backend = await stage.open()
      await put(backend, timer('a', { atMs: 1 }, 1))
      await backend.transact((tx) => tx.takeDue(10).then(() => Promise.reject(giveUp()))).catch(() => undefined)
      deepEqual(numbersOf(await take(backend)), [1])
    },
  },
  {
    name: 'cancels an alarm, says where there was none, and forgets what was rolled back',
    async run(stage) {
      const backend = await stage.open()
      await put(backend, timer('a', { atMs: 1 }), timer('b', { atMs: 1 }))
      deepEqual([await backend.transact((tx) => tx.cancelTimer('a')), await backend.transact((tx) => tx.cancelTimer('a'))], [true, false])
      await backend.transact((tx) => tx.cancelTimer('b').then(() => Promise.reject(giveUp()))).catch(() => undefined)
      await backend.transact((tx) => tx.putTimer(timer('c', { atMs: 1 })).then(() => Promise.reject(giveUp()))).catch(() => undefined)
      deepEqual((await take(backend)).map(({ id }) => id), ['b'])
    },
  },
  {
    name: 'replaces the alarm with the same id, also while it is being taken',
    async run(stage) {
      const backend = await stage.open()
      await put(backend, timer('a', { atMs: 1 }, 1))
      await put(backend, timer('a', { afterMs: LONG_MS }, 2))
      deepEqual(await take(backend), [])
      await put(backend, timer('a', { atMs: 1 }, 3))
      const taken = await backend.transact(async (tx) => {
        const due = await tx.takeDue(10)
        await tx.putTimer({ ...timer('a', { atMs: 2 }, 4), recurrence: { cron: '* * * * *', timeZone: 'UTC' } })
        return due
      })
      deepEqual(numbersOf(taken), [3])
      deepEqual(numbersOf(await take(backend)), [4])
      deepEqual(await backend.timers.list(10, undefined), [])
    },
  },
])
