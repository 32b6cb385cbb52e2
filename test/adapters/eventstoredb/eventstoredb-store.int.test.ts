import { status } from '@grpc/grpc-js'
import { describe, expect, test } from 'vitest'
import { z } from 'zod'
import { eventStoreDb, eventStoreDbBackend, type EsdbBackend } from '../../../src/adapters/eventstoredb/index.ts'
import { systemClock } from '../../../src/core/clock.ts'
import { silentLogger } from '../../../src/core/logger.ts'
import { systemRandom } from '../../../src/core/random.ts'
import { createBus, event } from '../../../src/index.ts'
import type { InboxEntry, UnitTransaction } from '../../../src/outbox/port.ts'
import { newEvents, newRows, numbersOf } from '../../../src/testing/store-conformance-stage.ts'
import { esdbDouble, type EsdbDouble } from '../../esdb-double/esdb-double.ts'
import { until } from '../../servers/until.ts'

const ENTRY: InboxEntry = { group: 'shop.stock', source: '/test', id: 'message-1', digest: Buffer.alloc(32, 1) }
const ALL = { limit: 100, after: undefined, withoutKeys: [] }

async function openBackend(double: EsdbDouble): Promise<EsdbBackend> {
  const backend = eventStoreDbBackend({ hosts: `127.0.0.1:${double.port}`, tls: false, callTimeoutMs: 300, leaseMs: 600 })
  await backend.open({
    clock: systemClock, random: systemRandom, logger: silentLogger, service: 'test', instance: systemRandom.id(systemClock.nowMs()), isOwnTransport: false, report: () => {},
  })
  return backend
}

/** A unit that is committed with its events, by a process that dies before the desk knows. */
async function diesAfterCommit(double: EsdbDouble, work: (tx: UnitTransaction<undefined>, backend: EsdbBackend) => Promise<unknown> = (tx) => tx.enter(ENTRY)): Promise<void> {
  const backend = await openBackend(double)
  const down = { kind: 'status', code: status.UNAVAILABLE } as const
  await backend.transact(async (tx) => {
    await work(tx, backend)
    await tx.append('order-1', 'noStream', newEvents([1]))
    await tx.write(newRows([1], 'a'))
    // The append to the stream succeeds; everything after that is refused.
    const stop = double.log.onAppended(() => {
      stop()
      double.faults.plan('append', ...Array.from({ length: 50 }, () => down))
    })
  })
  await backend.close()
  double.faults.clear()
}

/** As a follower does that has handled everything up to a cursor. */
function holdingAndSaving(cursor: bigint): (tx: UnitTransaction<undefined>, backend: EsdbBackend) => Promise<void> {
  return async (tx, backend) => {
    const [lease] = await backend.leases.hold(['tally'], 'one', 500, 1)
    await tx.saveCheckpoint('tally', cursor, lease?.epoch)
  }
}

/** Nobody follows the log until the faults are cleared, so that the courier is not there first. */
function withoutCourier(double: EsdbDouble): void {
  double.faults.plan('subscribe', ...Array.from({ length: 200 }, () => ({ kind: 'stall' }) as const))
}

describe('a unit whose process died right after its events were appended', () => {
  test('is recognised by its mark in the stream when its message comes again, and brought to the desk', async () => {
    await using double = await esdbDouble()
    await diesAfterCommit(double)
    expect(double.log.eventsOf('order-1')).toHaveLength(1)
    withoutCourier(double)
    const backend = await openBackend(double)
    const repeat = async (): Promise<string> => {
      return await backend.transact(async (tx) => {
        const { kind } = await tx.enter(ENTRY)
        if (kind === 'new') await tx.append('order-1', 'any', newEvents([1]))
        return kind
      })
    }
    await expect(repeat()).rejects.toMatchObject({ code: 'store.conflict' })
    expect(await repeat()).toBe('seen')
    expect(double.log.eventsOf('order-1')).toHaveLength(1)
    expect(numbersOf(await backend.outbox.read(0, ALL))).toEqual([1])
    await backend.close()
  })

  test('has published before the next unit of its stream does', async () => {
    await using double = await esdbDouble()
    await diesAfterCommit(double, () => Promise.resolve())
    withoutCourier(double)
    const backend = await openBackend(double)
    await backend.transact(async (tx) => {
      await tx.append('order-1', 'any', newEvents([2]))
      await tx.write(newRows([2], 'a'))
    })
    expect(numbersOf(await backend.outbox.read(0, ALL))).toEqual([1, 2])
    await backend.close()
  })

  test('has moved the checkpoint of a follower, who learns that before it does the same again', async () => {
    await using double = await esdbDouble()
    await diesAfterCommit(double, holdingAndSaving(5n))
    withoutCourier(double)
    const backend = await openBackend(double)
    expect(await backend.checkpoints.load('tally')).toBeUndefined()
    const epoch = await until(async () => (await backend.leases.hold(['tally'], 'another', 10_000, 1))[0]?.epoch)
    const again = backend.transact(async (tx) => {
      await tx.append('order-1', 'any', newEvents([1]))
      await tx.saveCheckpoint('tally', 5n, epoch)
    })
    await expect(again).rejects.toMatchObject({ code: 'store.lease_lost' })
    expect(await backend.checkpoints.load('tally')).toBe(5n)
    expect(double.log.eventsOf('order-1')).toHaveLength(1)
    await backend.transact(async (tx) => {
      await tx.append('order-1', 'any', newEvents([2]))
      await tx.saveCheckpoint('tally', 6n, epoch)
    })
    expect(await backend.checkpoints.load('tally')).toBe(6n)
    // Also where somebody else was there first to bring it.
    const late = backend.transact(async (tx) => {
      await tx.append('order-2', 'any', newEvents([2]))
      await tx.saveCheckpoint('tally', 6n, epoch)
    })
    await expect(late).rejects.toMatchObject({ code: 'store.lease_lost' })
    expect(double.log.eventsOf('order-2')).toHaveLength(0)
    await backend.close()
  })

  test('does not move a checkpoint back that is further by then', async () => {
    await using double = await esdbDouble()
    await diesAfterCommit(double, holdingAndSaving(5n))
    withoutCourier(double)
    const backend = await openBackend(double)
    const epoch = await until(async () => (await backend.leases.hold(['tally'], 'another', 10_000, 1))[0]?.epoch)
    await backend.transact((tx) => tx.saveCheckpoint('tally', 9n, epoch))
    double.faults.clear()
    await until(async () => (await backend.outbox.read(0, ALL)).length > 0, { deadlineMs: 20_000 })
    expect(await backend.checkpoints.load('tally')).toBe(9n)
    await backend.close()
  }, 60_000)

  test('is brought to the desk by the courier of another process, once', async () => {
    await using double = await esdbDouble()
    await diesAfterCommit(double)
    const [one, other] = [await openBackend(double), await openBackend(double)]
    await until(async () => (await one.outbox.read(0, ALL)).length > 0, { deadlineMs: 20_000 })
    expect(numbersOf(await other.outbox.read(0, ALL))).toEqual([1])
    await Promise.all([one.close(), other.close()])
  }, 60_000)
})

test('a second stream in one unit is refused, and nothing of the unit is there', async () => {
  await using double = await esdbDouble()
  const backend = await openBackend(double)
  const unit = backend.transact(async (tx) => {
    await tx.append('order-1', 'noStream', newEvents([1]))
    await tx.append('item-1', 'noStream', newEvents([2]))
  })
  await expect(unit).rejects.toMatchObject({ code: 'bus.unsupported', details: { capability: 'canCommitStreams' } })
  expect(double.log.eventsOf('order-1')).toHaveLength(0)
  await backend.close()
})

test('one value is the store and the transport of a bus: what is written to the outbox arrives', async () => {
  await using double = await esdbDouble()
  const Placed = event('sales.order-placed', { schema: z.object({ n: z.int() }) })
  const store = eventStoreDb({ hosts: `127.0.0.1:${double.port}`, tls: false })
  const bus = createBus({ service: { name: 'shop' }, transport: store.transport, outbox: store.outbox, logger: silentLogger })
  const seen: number[] = []
  bus.on(Placed, { group: 'audit' }, ({ data }) => seen.push(data.n))
  await bus.start()
  await store.transaction((unit) => unit.publish(Placed, { n: 7 }))
  await until(() => seen.length === 1)
  expect(seen).toEqual([7])
  await bus.stop()
})
