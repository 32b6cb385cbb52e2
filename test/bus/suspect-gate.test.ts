import { expect, test } from 'vitest'
import { SuspectGate } from '../../src/bus/suspect-gate.ts'

test('lets one through at a time, in the order they came', async () => {
  const gate = new SuspectGate()
  const seen: string[] = []
  const pass = async (name: string): Promise<void> => {
    await gate.enter()
    seen.push(`${name} in`)
    await Promise.resolve()
    seen.push(`${name} out`)
    gate.leave()
  }
  await Promise.all([pass('a'), pass('b'), pass('c')])
  expect(seen).toEqual(['a in', 'a out', 'b in', 'b out', 'c in', 'c out'])
  await pass('d')
  expect(seen).toHaveLength(8)
})
