import { describe, expect, test } from 'vitest'
import { checkedUpcasts, upcasted } from '../../src/contract/upcast.ts'

const add = (name: string) => (old: object): object => ({ ...old, [name]: true })
const invalid = (problem: string): unknown => expect.objectContaining({ code: 'contract.definition_invalid', details: { type: 'a.b', problem: expect.stringContaining(problem) } })

describe('checkedUpcasts', () => {
  test('gives one function per older version, in order', () => {
    const chain = { 2: add('two'), 1: add('one') }
    expect(checkedUpcasts('a.b', 3, chain)).toEqual([chain[1], chain[2]])
    expect(checkedUpcasts('a.b', 1, undefined)).toEqual([])
    expect(checkedUpcasts('a.b', 1, {})).toEqual([])
  })

  test.each<readonly [string, number, unknown, string]>([
    ['none at all', 2, undefined, 'version 2 needs an upcaster from version 1'],
    ['null', 2, null, 'from version 1'],
    ['a gap', 4, { 1: add('a'), 3: add('c') }, 'from version 2'],
    ['what is no function', 2, { 1: 'up' }, 'from version 1'],
    ['one from the version itself', 2, { 1: add('a'), 2: add('b') }, '"2" does not lead'],
    ['one from a later version', 2, { 1: add('a'), 7: add('b') }, '"7" does not lead'],
    ['one from version 0', 2, { 0: add('z'), 1: add('a') }, '"0" does not lead'],
    ['one that is no number', 2, { 1: add('a'), one: add('b') }, '"one" does not lead'],
    ['one between two versions', 3, { 1: add('a'), 2: add('b'), 1.5: add('c') }, '"1.5" does not lead'],
    ['one where there are no older versions', 1, { 1: add('a') }, '"1" does not lead'],
  ])('refuses %s', (_name, version, upcast, problem) => {
    expect(() => checkedUpcasts('a.b', version, upcast)).toThrow(invalid(problem))
  })

  test('does not take inherited names for steps', () => {
    expect(() => checkedUpcasts('a.b', 2, Object.create({ 1: add('a') }))).toThrow(invalid('from version 1'))
  })
})

describe('upcasted', () => {
  const chain = checkedUpcasts('a.b', 3, { 1: add('two'), 2: add('three') })

  test('lifts data through every version between', () => {
    expect(upcasted('a.b', chain, 1, 3, {})).toEqual({ two: true, three: true })
    expect(upcasted('a.b', chain, 2, 3, {})).toEqual({ three: true })
    expect(upcasted('a.b', chain, 3, 3, {})).toEqual({})
  })

  test.each([0, -1, 4, 1.5, Number.NaN, Infinity, 1_000_000])('refuses version %d', (from) => {
    expect(() => upcasted('a.b', chain, from, 3, {})).toThrow(
      expect.objectContaining({ code: 'contract.version_unknown', disposition: 'reject', details: { type: 'a.b', version: `${from}`, versionMax: 3 } }),
    )
  })

  test('says which step failed, and keeps what it threw', () => {
    const cause = new TypeError('no total')
    const broken = checkedUpcasts('a.b', 3, { 1: add('two'), 2: () => { throw cause } })
    expect(() => upcasted('a.b', broken, 1, 3, {})).toThrow(
      expect.objectContaining({ code: 'contract.upcast_failed', disposition: 'reject', cause, details: { type: 'a.b', fromVersion: 2, problem: 'no total' } }),
    )
  })
})
