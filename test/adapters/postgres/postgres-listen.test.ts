import { expect, test } from 'vitest'
import { PgSignals } from '../../../src/adapters/postgres/postgres-listen.ts'
import { silentLogger } from '../../../src/core/logger.ts'
import { seededRandom } from '../../../src/core/random.ts'
import { virtualClock } from '../../../src/testing/virtual-clock.ts'

test('a process that commits all the time sends a notification every 20 ms at most, with all that it has to tell', async () => {
  const clock = virtualClock()
  const sent: { readonly atMs: number; readonly topics: readonly string[] }[] = []
  const signals = new PgSignals({
    clock, random: seededRandom(1), logger: silentLogger, instance: 'i', channel: 'c', connect: undefined,
    send: (_channel, payload) => {
      const [, ...topics]: readonly string[] = JSON.parse(payload)
      sent.push({ atMs: clock.monotonicMs(), topics })
      return Promise.resolve()
    },
  })
  for (let ms = 0; ms < 1_000; ms++) {
    signals.announce(ms % 2 === 0 ? 'log' : 'outbox')
    await clock.advance(1)
  }
  await clock.advance(100)
  expect(sent.length).toBeLessThanOrEqual(52)
  expect(sent.length).toBeGreaterThan(20)
  for (const [index, { atMs }] of sent.entries()) if (index > 0) expect(atMs - (sent[index - 1]?.atMs ?? 0)).toBeGreaterThanOrEqual(20)
  // The first tells at once; nothing that came meanwhile is forgotten.
  expect(sent[0]).toEqual({ atMs: 0, topics: ['log'] })
  expect(sent.at(-1)?.atMs).toBeGreaterThanOrEqual(999)
  await signals.close()
})
