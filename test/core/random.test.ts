import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { type Random, derivedId, seededRandom, systemRandom } from '../../src/core/random.ts'

const UUID_V7 = /^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/

describe.each<[string, () => Random]>([
  ['systemRandom', () => systemRandom],
  ['seededRandom', () => seededRandom(7)],
])('%s', (_name, make) => {
  test('draws numbers from 0 up to but not 1', () => {
    const random = make()
    for (let count = 0; count < 2_000; count++) {
      const value = random.next()
      expect(value >= 0 && value < 1).toBe(true)
    }
  })

  test('makes UUIDv7 texts, each once, in rising order, whatever the clock does', () => {
    fc.assert(
      fc.property(fc.array(fc.integer({ min: -5, max: 5 }), { minLength: 1, maxLength: 200 }), (steps) => {
        const random = seededRandom(steps.length)
        let nowMs = 1_700_000_000_000
        let last = ''
        for (const step of steps) {
          nowMs += step
          const id = random.id(nowMs)
          expect(id).toMatch(UUID_V7)
          expect(id > last).toBe(true)
          last = id
        }
      }),
    )
  })

  test('keeps the order when the clock falls far back', () => {
    const random = make()
    const before = random.id(8_000_000_000_000)
    const after = random.id(1_000)
    expect(after > before).toBe(true)
  })
})

describe('ids', () => {
  test('hold the wall-clock time in their first 48 bits', () => {
    const id = seededRandom(1).id(1_700_000_000_000)
    expect(Number.parseInt(id.replace('-', '').slice(0, 12), 16)).toBe(1_700_000_000_000)
  })

  test('stay in order and differ beyond what one millisecond can count', () => {
    const random = seededRandom(3)
    const ids = Array.from({ length: 20_000 }, () => random.id(5_000))
    expect(new Set(ids).size).toBe(ids.length)
    expect(ids).toEqual(ids.toSorted())
    expect(ids.every((id) => UUID_V7.test(id))).toBe(true)
  })

  test('of two seeds differ, of one seed repeat', () => {
    const draw = (seed: number): string[] => {
      const random = seededRandom(seed)
      return [random.id(1), `${random.next()}`, random.id(2)]
    }
    expect(draw(42)).toEqual(draw(42))
    expect(draw(42)).not.toEqual(draw(43))
  })

  test('of a seed are the same on every machine', () => {
    const random = seededRandom(42)
    expect([random.next(), random.next()]).toEqual([0.6011037519201636, 0.44829055899754167])
    expect(random.id(1_700_000_000_000)).toBe(SEEDED_ID)
  })
})

describe('derivedId', () => {
  test('is the same for the same parts on every machine, and shaped as a UUIDv5', () => {
    expect(derivedId('a', 'b')).toBe(DERIVED_ID)
    expect(derivedId('a', 'b')).toMatch(/^[0-9a-f]{8}-[0-9a-f]{4}-5[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/)
  })

  test('tells apart where one part ends and the next begins', () => {
    const ids = [derivedId(), derivedId(''), derivedId('', ''), derivedId('ab'), derivedId('a', 'b'), derivedId('b', 'a'), derivedId('a","b')]
    expect(new Set(ids).size).toBe(ids.length)
  })
})

const SEEDED_ID = '018bcfe5-6800-72ab-ac86-459fdd783fe1'
const DERIVED_ID = '0473ef2d-c0d3-54ab-a59d-3580c1134e9d'
