import { expect, test } from 'vitest'
import { MIX, randomOf, targetsOf } from './strikes.ts'

function count(targets: readonly string[]): Record<string, number> {
  return Object.fromEntries(['service', 'relay', 'server'].map((name) => [name, targets.filter((target) => target === name).length]))
}

test('six of ten kills end services, two relays, two brokers or databases, in an order that the seed repeats', () => {
  const targets = targetsOf(200, MIX, true, randomOf(7))
  expect(count(targets)).toEqual({ service: 120, relay: 40, server: 40 })
  expect(targetsOf(200, MIX, true, randomOf(7))).toEqual(targets)
  expect(targetsOf(200, MIX, true, randomOf(8))).not.toEqual(targets)
  expect(new Set(targets.slice(0, 20)).size).toBe(3)
})

test('where there is no server, its share goes to services and relays', () => {
  expect(count(targetsOf(200, MIX, false, randomOf(1)))).toEqual({ service: 150, relay: 50, server: 0 })
})

test('a mix of one kind is that kind', () => {
  expect(count(targetsOf(12, { service: 0, relay: 100, server: 0 }, true, randomOf(1)))).toEqual({ service: 0, relay: 12, server: 0 })
})
