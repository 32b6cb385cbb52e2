import { describe, expect, test } from 'vitest'
import { DeadlineSweep, type Expiring } from '../../src/bus/deadline-sweep.ts'
import { type VirtualClock, virtualClock } from '../../src/testing/virtual-clock.ts'

class Entry implements Expiring {
  readonly expiresAtMs: number
  expiredAtMs: number | undefined
  readonly #clock: VirtualClock

  constructor(clock: VirtualClock, expiresAtMs: number) {
    this.#clock = clock
    this.expiresAtMs = expiresAtMs
  }

  expire(): void {
    expect(this.expiredAtMs).toBeUndefined()
    this.expiredAtMs = this.#clock.monotonicMs()
  }
}

function made(...instants: readonly number[]): { clock: VirtualClock; sweep: DeadlineSweep; entries: Entry[] } {
  const clock = virtualClock()
  const sweep = new DeadlineSweep(clock)
  const entries = instants.map((atMs) => new Entry(clock, atMs))
  for (const entry of entries) sweep.add(entry)
  return { clock, sweep, entries }
}

describe('DeadlineSweep', () => {
  test('expires every entry once, never early and at most 10 ms late, in any order of adding', async () => {
    const instants = [100, 5, 300, 101, 109, 110, 5.5, 0, -1]
    const { clock, sweep, entries } = made(...instants)
    await clock.advance(1_000)
    for (const entry of entries) {
      expect(entry.expiredAtMs).toBeGreaterThanOrEqual(Math.max(0, entry.expiresAtMs))
      expect(entry.expiredAtMs).toBeLessThanOrEqual(Math.max(0, entry.expiresAtMs) + 10)
    }
    expect([sweep.size, clock.timerCount]).toEqual([0, 0])
  })

  test('holds one timer for many entries', async () => {
    const { clock } = made(...Array.from({ length: 1_000 }, (_, index) => 50 + index))
    expect(clock.timerCount).toBe(1)
    await clock.advance(500)
    expect(clock.timerCount).toBe(1)
  })

  test('leaves removed entries alone and says whether they still waited', async () => {
    const { clock, sweep, entries } = made(10, 20)
    const [first, second] = entries
    if (first === undefined || second === undefined) throw new TypeError('two were made')
    expect([sweep.remove(first), sweep.remove(first)]).toEqual([true, false])
    await clock.advance(100)
    expect([first.expiredAtMs, second.expiredAtMs]).toEqual([undefined, 20])
    expect(sweep.remove(second)).toBe(false)
  })

  test('takes entries that are added and removed while others expire', async () => {
    const { clock, sweep } = made()
    const victim = new Entry(clock, 10)
    const later = new Entry(clock, 12)
    sweep.add({
      expiresAtMs: 10,
      expire: () => {
        sweep.remove(victim)
        sweep.add(later)
      },
    })
    sweep.add(victim)
    await clock.advance(100)
    expect(victim.expiredAtMs).toBeUndefined()
    expect(later.expiredAtMs).toBeLessThanOrEqual(22)
  })

  test('expires everything at once when it is told to, and can go on afterwards', async () => {
    const { clock, sweep, entries } = made(10, 10_000)
    sweep.expireAll()
    expect(entries.map(({ expiredAtMs }) => expiredAtMs)).toEqual([0, 0])
    expect([sweep.size, clock.timerCount]).toEqual([0, 0])
    const again = new Entry(clock, 5)
    sweep.add(again)
    await clock.advance(5)
    expect(again.expiredAtMs).toBe(5)
  })

  test('stops its timer when it is closed', () => {
    const { clock, sweep } = made(10)
    sweep.close()
    expect([clock.timerCount, sweep.size]).toEqual([0, 1])
  })
})
