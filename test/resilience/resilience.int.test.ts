import { expect, test } from 'vitest'
import { nats } from '../../src/adapters/nats/index.ts'
import { systemClock } from '../../src/index.ts'
import { natsServer } from '../servers/nats-server.ts'
import { type Outcomes, noted, trio } from './caller-load.ts'

test('on NATS, one service that asks far more than can be answered does not take it from another', async () => {
  await using server = await natsServer()
  await server.start()
  // 200 answers a second at most: each takes 20 ms, four at a time.
  await using three = await trio({ transport: () => nats({ servers: server.url }), takesMs: 20, inFlightMax: 4, limits: {} })
  const [quiet, noisy] = [{ answeredMs: [], codes: [] }, { answeredMs: [], codes: [] }] as [Outcomes, Outcomes]
  let isOver = false
  // Two hundred that ask again as soon as they have their answer, refusals included.
  const crowd = Array.from({ length: 200 }, async () => {
    while (!isOver) await noted(three.noisy, noisy)
  })
  const untilMs = systemClock.monotonicMs() + 3_000
  while (systemClock.monotonicMs() < untilMs) await noted(three.quiet, quiet)
  isOver = true
  await Promise.all(crowd)
  expect(quiet.codes).toEqual([])
  expect(quiet.answeredMs.length).toBeGreaterThan(20)
  expect(new Set(noisy.codes)).toEqual(new Set(['bus.callee_overloaded']))
  expect(noisy.answeredMs.length).toBeGreaterThan(50)
}, 60_000)
