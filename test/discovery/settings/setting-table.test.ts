import { z } from 'zod'
import fc from 'fast-check'
import { expect, test } from 'vitest'
import { setting } from '../../../src/discovery/index.ts'
import { SettingTable } from '../../../src/discovery/settings/setting-table.ts'

const Number_ = setting('a.number', { schema: z.number(), default: -1 })
const reader = { service: 'shop', version: '1.0.0', zone: 'eu', instance: 'i-1' }

test('changes come out the same in whatever order and however often they come', () => {
  const scope = fc.record({ service: fc.constantFrom('shop', 'other'), zone: fc.constantFrom('eu', 'us'), instance: fc.constantFrom('i-1', 'i-2') }, { requiredKeys: [] })
  const changes = fc.array(fc.record({ scope, isCleared: fc.boolean() }), { minLength: 1, maxLength: 12 }).map((list) =>
    list.map((one, revision) => ({ ...one, name: Number_.name, value: revision, by: '', reason: '', revision })),
  )
  fc.assert(
    fc.property(changes.chain((list) => fc.tuple(fc.constant(list), fc.shuffledSubarray([...list, ...list], { minLength: list.length * 2 }))), ([inOrder, shuffled]) => {
      const [one, other] = [new SettingTable(reader), new SettingTable(reader)]
      for (const change of inOrder) one.apply(change)
      for (const change of shuffled) other.apply(change)
      expect(other.resolve(Number_)).toEqual(one.resolve(Number_))
      expect(new Set(other.all())).toEqual(new Set(one.all()))
    }),
  )
})

test('a value that the schema refuses is told, and a less exact one is there for who has nothing better', () => {
  const table = new SettingTable(reader)
  table.apply({ name: Number_.name, scope: {}, value: 3, isCleared: false, by: '', reason: '', revision: 0 })
  table.apply({ name: Number_.name, scope: { service: 'shop' }, value: 'three', isCleared: false, by: '', reason: '', revision: 1 })
  expect(table.resolve(Number_)).toMatchObject({ value: 3, problem: expect.stringContaining('a.number') })
})
