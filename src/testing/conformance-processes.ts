import { deepEqual, equal, ok } from 'node:assert/strict'
import { type ConformanceCase, casesOf } from './conformance-case.ts'
import { Moved, Ticked } from './conformance-contracts.ts'
import { KeyLog, isInOrder } from './conformance-order.ts'
import { type Stage, range, sorted } from './conformance-stage.ts'
import type { WorkerProcess } from './conformance-subject.ts'
import type { WorkerLine, WorkerSettings } from './conformance-worker.ts'

/** A process is started, its broker noticed that another one died, and the message came again. */
const RECOVERY_MS_MAX = 45_000

/** What is left of a service whose process was killed. */
export const processCases: readonly ConformanceCase[] = casesOf('processes', ['canStore'], [
  {
    name: 'delivers again what a killed process had not finished',
    uses: 'workers',
    async run(stage) {
      await declareGroup(stage, 'handler')
      const first = stage.worker({ role: 'handler', endlessN: 1 })
      await stage.until('the worker is ready', () => said(first, 'ready').length === 1, RECOVERY_MS_MAX)
      const publisher = await stage.publisher()
      await publisher.publish(Ticked, { n: 1 })
      await stage.until('its handler runs', () => said(first, 'begun').length === 1)
      await first.kill()
      equal(first.isAlive, false)
      const second = stage.worker({ role: 'handler' })
      await stage.until('another process has it', () => said(second, 'handled').length === 1, RECOVERY_MS_MAX)
      deepEqual(said(second, 'handled').map(({ n }) => n), [1])
    },
  },
  {
    name: 'gives up a message that kills its process as often as attempts are allowed, and handles its neighbours',
    needs: ['canManageDeadLetters'],
    uses: 'workers',
    run: killsItsProcess,
  },
  {
    name: 'loses nothing when processes are killed under load',
    uses: 'workers',
    async run(stage) {
      await declareGroup(stage, 'handler')
      const count = 300
      const settings: WorkerSettings = { role: 'handler', workMs: 2, inFlightMax: 8 }
      const workers = [stage.worker(settings), stage.worker(settings)]
      await stage.until('the workers are ready', () => workers.every((worker) => said(worker, 'ready').length === 1), RECOVERY_MS_MAX)
      const publisher = await stage.publisher()
      const publishing = Promise.all(range(1, count).map((n) => publisher.publish(Ticked, { n })))
      for (const victim of [0, 1]) {
        const worker = workers[victim]
        await stage.until('work is under way', () => worker !== undefined && said(worker, 'handled').length >= 20, RECOVERY_MS_MAX)
        await worker?.kill()
        workers.push(stage.worker(settings))
      }
      await publishing
      const done = (): Set<number> => new Set(workers.flatMap((worker) => said(worker, 'handled').map(({ n }) => n)))
      await stage.until('all is handled', () => done().size === count, RECOVERY_MS_MAX)
      const all = workers.flatMap((worker) => said(worker, 'handled'))
      // What was in flight, or handled and not yet confirmed, may come twice; the rest does not.
      ok(all.length - count <= 2 * 100, `${all.length - count} of ${count} were handled twice`)
    },
  },
  {
    name: 'keeps everything that a killed publisher was told is stored',
    uses: 'workers',
    async run(stage) {
      const seen = new Set<number>()
      const bus = stage.bus().on(Ticked, { group: 'work' }, ({ data }) => seen.add(data.n))
      await bus.start()
      const worker = stage.worker({ role: 'publisher', count: 1_000, deadlyN: 60 })
      await stage.until('the publisher has died', () => !worker.isAlive, RECOVERY_MS_MAX)
      const accepted = said(worker, 'accepted').map(({ n }) => n)
      deepEqual(accepted, range(1, 60))
      await stage.until('all of it is handled', () => accepted.every((n) => seen.has(n)))
    },
  },
  {
    name: 'keeps the order of every key when one of two processes is killed',
    needs: ['canOrderByKey'],
    uses: 'workers',
    async run(stage) {
      await declareGroup(stage, 'ordered')
      const settings: WorkerSettings = { role: 'ordered', workMs: 3, inFlightMax: 8 }
      const workers = [stage.worker(settings), stage.worker(settings)]
      await stage.until('the workers are ready', () => workers.every((worker) => said(worker, 'ready').length === 1), RECOVERY_MS_MAX)
      const publisher = await stage.publisher()
      const keys = range(1, 24).map((n) => `key-${n}`)
      // For as long as one of them has not got keys of its own yet: a group need not share them out before there is work.
      let isOn = true
      let perKey = 0
      const publishing = (async (): Promise<void> => {
        while (isOn) {
          perKey++
          await Promise.all(keys.map((key) => publisher.publish(Moved, { key, n: perKey })))
          // Where a message is stored at once, nothing else would get a turn.
          await stage.pause(5)
        }
      })()
      await stage.until('both are at work', () => workers.every((worker) => said(worker, 'handled').length >= 10), RECOVERY_MS_MAX)
      await workers[0]?.kill()
      isOn = false
      await publishing
      const handled = (): readonly WorkerLine[] => workers.flatMap((worker) => said(worker, 'handled')).toSorted((left, right) => left.atMs - right.atMs)
      await stage.until('all is handled', () => new Set(handled().map(({ key, n }) => `${key} ${n}`)).size === keys.length * perKey, RECOVERY_MS_MAX)
      const log = new KeyLog()
      for (const { key, n } of handled()) log.add(key, n)
      for (const key of keys) isInOrder(key, log.of(key), perKey)
    },
  },
])

/** Makes the workers' group before the first of them starts; what cannot be done is refused here and not in a child. */
async function declareGroup(stage: Stage, role: 'handler' | 'ordered'): Promise<void> {
  const bus = stage.bus('worker')
  if (role === 'handler') bus.on(Ticked, { group: 'work' }, () => {})
  else bus.on(Moved, { group: 'ordered', order: 'key' }, () => {})
  await bus.start()
  await bus.stop()
}

async function killsItsProcess(stage: Stage): Promise<void> {
  const attemptsMax = 5
  const settings: WorkerSettings = { role: 'handler', deadlyN: 13, attemptsMax, inFlightMax: 4 }
  await declareGroup(stage, 'handler')
  const publisher = await stage.publisher()
  for (const n of range(1, 25)) await publisher.publish(Ticked, { n })
  const workers: WorkerProcess[] = [stage.worker(settings)]
  await stage.until('it is given up', async () => {
    if (workers.at(-1)?.isAlive === false) workers.push(stage.worker(settings))
    return (await publisher.deadLetters.list({ reason: 'bus.attempts_exhausted' })).items.length === 1
  }, 2 * RECOVERY_MS_MAX)
  const all = (what: WorkerLine['what']): readonly WorkerLine[] => workers.flatMap((worker) => said(worker, what))
  await stage.until('its neighbours are handled', () => new Set(all('handled').map(({ n }) => n)).size === 24, RECOVERY_MS_MAX)
  deepEqual(sorted(new Set(all('handled').map(({ n }) => n))), range(1, 25).filter((n) => n !== 13))
  equal(all('begun').filter(({ n }) => n === 13).length, attemptsMax)
  const [letter] = (await publisher.deadLetters.list()).items
  equal(letter?.record.attempts, attemptsMax)
  equal((await publisher.deadLetters.list()).items.length, 1)
}

function said(worker: WorkerProcess, what: WorkerLine['what']): readonly WorkerLine[] {
  return worker.lines.filter((line) => line.what === what)
}
