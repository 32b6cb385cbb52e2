import { describe, expect, test } from 'vitest'
import { z } from 'zod'
import { ContractRegistry } from '../../src/bus/registry.ts'
import { command, event } from '../../src/contract/define.ts'

const schema = z.object({ a: z.string() })

describe('ContractRegistry', () => {
  test('knows what it was given, by type', () => {
    const registry = new ContractRegistry()
    const [second, first] = [event('b.b', { schema }), event('a.a', { schema })]
    registry.add(second)
    registry.add(first)
    expect(registry.get('a.a')).toBe(first)
    expect(registry.get('constructor')).toBeUndefined()
    expect(registry.all()).toEqual([first, second])
  })

  test('takes a second definition that says the same, and refuses one that differs', () => {
    const registry = new ContractRegistry()
    const contract = event('a.b', { schema })
    expect(registry.add(contract)).toBe(contract)
    expect(registry.add(contract)).toBe(contract)
    const twin = event('a.b', { schema: z.object({ a: z.string().describe('same') }) })
    expect(registry.add(twin)).toBe(twin)
    for (const other of [event('a.b', { schema: z.object({ a: z.int() }) }), command('a.b', { schema }), event('a.b', { schema, key: ({ a }) => a })]) {
      expect(() => registry.add(other)).toThrow(expect.objectContaining({ code: 'contract.definition_conflict', details: { type: 'a.b', problem: expect.stringContaining('defined twice') } }))
    }
    expect(registry.get('a.b')).toBe(contract)
  })

  test('refuses what is no contract', () => {
    for (const value of [{ type: 'a.b' }, undefined, null, 'a.b']) {
      const registry = new ContractRegistry()
      expect(() => Reflect.apply(registry.add.bind(registry), undefined, [value])).toThrow(expect.objectContaining({ code: 'core.option_invalid' }))
    }
  })
})
