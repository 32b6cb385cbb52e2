import { describe, expect, test } from 'vitest'
import { z } from 'zod'
import type { MemoryTransaction } from '../../src/adapters/memory/index.ts'
import { type Unit, category, event, fact, project, projection } from '../../src/index.ts'
import { rejection } from '../bus/bus-rig.ts'
import { StoreRig } from '../outbox/store-rig.ts'

const Moved = event('bank.money-moved', { schema: z.object({ cents: z.int() }) })
const Noted = event('bank.note-taken', { schema: z.object({}) })

function sums(version: number, live: number[] = []): ReturnType<typeof projection<typeof Moved, Unit<MemoryTransaction>>> {
  return projection<typeof Moved, Unit<MemoryTransaction>>({
    name: 'sums', version, contracts: [Moved], from: category('account'), onLive: (one) => void live.push(one),
    apply: (happened, { tx, version: table }) => {
      const rows = tx.table<number>(`sums_v${table}`)
      rows.set(happened.stream, (rows.get(happened.stream) ?? 0) + happened.data.cents)
    },
  })
}

describe('a projection', () => {
  test('is built from the first event on, and a new version beside the old one', async () => {
    await using rig = new StoreRig()
    const [old, fresh] = [rig.store(), rig.store()]
    for (const store of [old, fresh]) {
      await store.open({ service: 'bank', clock: rig.clock })
      rig.closing(() => store.close())
    }
    const live: number[] = []
    await old.events.append('account-1', 'noStream', [1, 2, 3].map((cents) => fact(Moved, { cents })))
    await old.events.append('other-1', 'noStream', [fact(Moved, { cents: 100 })])
    project(old.events, sums(1, live))
    await rig.clock.advance(1_000)
    expect([...rig.database.rows('sums_v1')]).toEqual([['account-1', 6]])
    project(fresh.events, sums(2, live))
    await old.events.append('account-1', 2n, [fact(Moved, { cents: 4 })])
    await rig.clock.advance(1_000)
    expect([...rig.database.rows('sums_v1')]).toEqual([['account-1', 10]])
    expect([...rig.database.rows('sums_v2')]).toEqual([['account-1', 10]])
    expect(live).toEqual([1, 2])
  })

  test('inline is part of the transaction that appends', async () => {
    await using rig = new StoreRig()
    const store = rig.store({ inline: [sums(1)] })
    await store.open({ service: 'bank', clock: rig.clock })
    rig.closing(() => store.close())
    await store.events.append('account-1', 'noStream', [fact(Moved, { cents: 1 }), fact(Noted, {}), fact(Moved, { cents: 2 })])
    expect([...rig.database.rows('sums_v1')]).toEqual([['account-1', 3]])
    await rejection(store.transaction(async (unit) => {
      await unit.append('account-1', 2n, [fact(Moved, { cents: 5 })])
      throw new TypeError('no')
    }))
    expect([...rig.database.rows('sums_v1')]).toEqual([['account-1', 3]])
  })

  test.each([0, 1.5, -1, Number.NaN])('cannot have version %d', (version) => {
    expect(() => sums(version)).toThrow(expect.objectContaining({ code: 'core.option_invalid' }))
  })
})
