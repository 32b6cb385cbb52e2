import { describe, expect, test } from 'vitest'
import { silentLogger } from '../../src/core/logger.ts'
import { seededRandom } from '../../src/core/random.ts'
import { LeaseKeeper } from '../../src/outbox/lease-keeper.ts'
import type { Lease } from '../../src/store/port.ts'
import { virtualClock } from '../../src/testing/virtual-clock.ts'

const NAMES = Array.from({ length: 16 }, (_, shard) => `outbox/${shard}`)
const TTL_MS = 10_000

/** Keepers that share the leases of one database, whose clock is the one that counts. */
class KeeperRig {
  readonly clock = virtualClock()
  readonly asked: { readonly owner: string; readonly atMs: number }[] = []
  readonly #leases = new Map<string, { owner: string; epoch: bigint; untilMs: number }>()
  /** The databases answers nobody while this is set. */
  isDown = false

  keeper(owner: string, seed: number): LeaseKeeper {
    return new LeaseKeeper({
      clock: this.clock, random: seededRandom(seed), logger: silentLogger, owner, names: NAMES, ttlMs: TTL_MS, onChange: () => undefined,
      table: {
        hold: (names, asking, ttlMs) => {
          this.asked.push({ owner: asking, atMs: this.clock.monotonicMs() })
          return this.isDown ? Promise.reject(new Error('gone')) : Promise.resolve(this.#hold(names, asking, ttlMs))
        },
        release: (names, asking) => {
          for (const name of names) if (this.#leases.get(name)?.owner === asking) this.#leases.delete(name)
          return Promise.resolve()
        },
      },
    })
  }

  #hold(names: readonly string[], owner: string, ttlMs: number): readonly Lease[] {
    const nowMs = this.clock.monotonicMs()
    return names.flatMap((name) => {
      const lease = this.#leases.get(name)
      if (lease !== undefined && lease.owner !== owner && lease.untilMs > nowMs) return []
      const epoch = lease === undefined ? 1n : lease.owner === owner ? lease.epoch : lease.epoch + 1n
      this.#leases.set(name, { owner, epoch, untilMs: nowMs + ttlMs })
      return [{ name, epoch }]
    })
  }
}

function heldBy(keeper: LeaseKeeper): number {
  return NAMES.filter((name) => keeper.get(name) !== undefined).length
}

describe('leases', () => {
  test('stay where they are: thirty processes that stand by take none away, and ask rarely and not together', async () => {
    const rig = new KeeperRig()
    const holder = rig.keeper('holder', 1)
    await holder.start()
    const others = Array.from({ length: 30 }, (_, index) => rig.keeper(`other-${index}`, index + 2))
    for (const other of others) await other.start()
    rig.asked.length = 0
    for (let second = 0; second < 100; second++) {
      await rig.clock.advance(1_000)
      expect(heldBy(holder)).toBe(16)
    }
    expect(others.map(heldBy)).toEqual(others.map(() => 0))
    const askedByOthers = rig.asked.filter(({ owner }) => owner !== 'holder')
    // Once per lease time each, spread out although all have started in the same moment.
    expect(askedByOthers.length).toBeLessThanOrEqual(30 * 13)
    const perInstant = new Map<number, number>()
    for (const { atMs } of askedByOthers) perInstant.set(Math.floor(atMs), (perInstant.get(Math.floor(atMs)) ?? 0) + 1)
    expect(Math.max(...perInstant.values())).toBeLessThan(5)
    await Promise.all([holder, ...others].map((keeper) => keeper.stop()))
  })

  test('of a process that ends are taken by one other, each lease by one', async () => {
    const rig = new KeeperRig()
    const keepers = Array.from({ length: 5 }, (_, index) => rig.keeper(`k-${index}`, index + 1))
    for (const keeper of keepers) await keeper.start()
    await keepers[0]?.stop()
    await rig.clock.advance(15_000)
    expect(keepers.map(heldBy).toSorted((left, right) => left - right)).toEqual([0, 0, 0, 0, 16])
    await Promise.all(keepers.map((keeper) => keeper.stop()))
  })

  test('end for their holder by its own clock before another can have them, where the database does not answer', async () => {
    const rig = new KeeperRig()
    const holder = rig.keeper('holder', 1)
    await holder.start()
    rig.isDown = true
    await rig.clock.advance(TTL_MS - 1)
    expect(heldBy(holder)).toBe(16)
    await rig.clock.advance(1)
    expect(heldBy(holder)).toBe(0)
    await holder.stop()
  })
})
