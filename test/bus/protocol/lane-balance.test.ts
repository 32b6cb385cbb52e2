import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { laneMoves } from '../../../src/bus/protocol/lane-balance.ts'

const ALL = [0, 1, 2, 3, 4, 5, 6, 7]

describe('an instance', () => {
  test('takes all lanes when it is alone', () => {
    expect(laneMoves({ lanes: 8, owned: [], free: ALL, members: 1 })).toEqual({ acquire: ALL, release: [] })
  })

  test('takes its share, rounded up', () => {
    expect(laneMoves({ lanes: 8, owned: [2], free: [5, 3, 7], members: 3 })).toEqual({ acquire: [5, 3], release: [] })
  })

  test('gives up the lane that came last, one at a time', () => {
    expect(laneMoves({ lanes: 8, owned: [7, 1, 4, 0, 2, 3, 5, 6], free: [], members: 2 })).toEqual({ acquire: [], release: [6] })
  })

  test('does nothing when it has its share', () => {
    expect(laneMoves({ lanes: 8, owned: [0, 1, 2, 3], free: [4], members: 2 })).toEqual({ acquire: [], release: [] })
  })

  test('counts at least itself as a member', () => {
    expect(laneMoves({ lanes: 2, owned: [0], free: [1], members: 0 })).toEqual({ acquire: [1], release: [] })
  })

  test('takes no lane that it owns or that the group does not have', () => {
    expect(laneMoves({ lanes: 4, owned: [0], free: [0, -1, 4, 2], members: 1 })).toEqual({ acquire: [2], release: [] })
  })
})

test('a group that acts in turn comes to rest with every lane owned and nobody above its share', () => {
  fc.assert(
    fc.property(fc.integer({ min: 1, max: 64 }), fc.integer({ min: 1, max: 12 }), fc.array(fc.nat({ max: 11 }), { minLength: 64, maxLength: 64 }), (lanes, members, start) => {
      const owned = Array.from({ length: members }, (): number[] => [])
      for (let lane = 0; lane < lanes; lane++) owned[(start[lane] ?? 0) % members]?.push(lane)
      for (let round = 0; round < 2 * lanes; round++) {
        for (const mine of owned) {
          const taken = new Set(owned.flat())
          const free = Array.from({ length: lanes }, (_, lane) => lane).filter((lane) => !taken.has(lane))
          const { acquire, release } = laneMoves({ lanes, owned: mine, free, members })
          mine.push(...acquire)
          for (const lane of release) mine.splice(mine.indexOf(lane), 1)
        }
      }
      expect(owned.flat().toSorted((one, other) => one - other)).toEqual(Array.from({ length: lanes }, (_, lane) => lane))
      expect(Math.max(...owned.map((mine) => mine.length))).toBeLessThanOrEqual(Math.ceil(lanes / members))
    }),
  )
})
