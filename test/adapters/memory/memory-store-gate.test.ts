import { expect, test } from 'vitest'
import { MemoryGate } from '../../../src/adapters/memory/memory-store-gate.ts'
import { virtualClock } from '../../../src/testing/index.ts'

const wait = { clock: virtualClock(), timeoutMs: 1_000, signal: undefined } as const

test('lets one in at a time, in the order in which they came', async () => {
  const gate = new MemoryGate()
  const entered: number[] = []
  for (const n of [1, 2, 3, 4]) void gate.enter(wait).then(() => entered.push(n))
  await Promise.resolve()
  for (const upTo of [1, 2, 3, 4]) {
    await new Promise(setImmediate)
    expect(entered).toEqual([1, 2, 3, 4].slice(0, upTo))
    gate.leave()
  }
  await gate.enter(wait)
})

test('gives up who waits too long, and goes on with the next one', async () => {
  const [gate, clock] = [new MemoryGate(), virtualClock()]
  await gate.enter({ ...wait, clock })
  const late = Promise.allSettled([gate.enter({ clock, timeoutMs: 500, signal: undefined })])
  const patient = gate.enter({ clock, timeoutMs: 5_000, signal: undefined })
  await clock.advance(600)
  expect(await late).toMatchObject([{ status: 'rejected', reason: { code: 'store.conflict' } }])
  gate.leave()
  await patient
  expect(clock.timerCount).toBe(0)
})

test('gives up who does not want to wait any more, with the reason', async () => {
  const [gate, controller] = [new MemoryGate(), new AbortController()]
  await gate.enter(wait)
  const waiting = gate.enter({ ...wait, signal: controller.signal })
  controller.abort('enough')
  await expect(waiting).rejects.toBe('enough')
  await expect(gate.enter({ ...wait, signal: controller.signal })).rejects.toBe('enough')
  gate.leave()
  await gate.enter(wait)
})
