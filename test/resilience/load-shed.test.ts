import { expect, test } from 'vitest'
import { loadShed } from '../../src/index.ts'
import { sleep } from '../../src/core/clock.ts'
import { PolicyRig, Watched } from './policy-rig.ts'

test('under an overload what is done waited a short time only, and the rest is refused soon', async () => {
  const rig = new PolicyRig()
  const policy = loadShed({ inFlightMax: 1, targetDelayMs: 20, intervalMs: 100 })
  const waits: number[] = []
  const calls: Watched[] = []
  // Ten times as much as can be done, for two seconds: a call takes 10 ms and one comes each millisecond.
  for (let at = 0; at < 2_000; at++) {
    const sinceMs = rig.clock.monotonicMs()
    calls.push(new Watched(policy.run(async () => {
      waits.push(rig.clock.monotonicMs() - sinceMs)
      await sleep(rig.clock, 10)
      return 'done'
    }, { host: rig.host })))
    await rig.clock.advance(1)
  }
  await rig.clock.advance(1_000)
  const count = (outcome: string): number => calls.filter((call) => call.outcome === outcome).length
  expect(count('done') + count('resilience.shed')).toBe(2_000)
  expect(count('done')).toBeGreaterThan(190)
  expect(Math.max(...waits.slice(20))).toBeLessThanOrEqual(20)
  expect(rig.events.map((event) => (event.kind === 'load-changed' ? event.state : event.kind))).toEqual(['shedding', 'normal'])
  expect(rig.clock.timerCount).toBe(0)
})

test('what is given up leaves the queue, and a queue without room refuses at once', async () => {
  const rig = new PolicyRig()
  const policy = loadShed({ inFlightMax: 1, waitingMax: 1 })
  void policy.run(() => new Promise(() => {}), { host: rig.host })
  const caller = new AbortController()
  const given = new Watched(policy.run(() => 1, { host: rig.host, signal: caller.signal }))
  const refused = new Watched(policy.run(() => 2, { host: rig.host }))
  caller.abort()
  const waiting = new Watched(policy.run(() => 3, { host: rig.host }))
  await rig.clock.settle()
  expect([given.outcome, refused.outcome, waiting.outcome]).toEqual(['resilience.cancelled', 'resilience.shed', 'pending'])
})

test.each([{ targetDelayMs: 300 }, { inFlightMax: 0 }, { waitingMax: -1 }])('%o is refused', (options) => {
  expect(() => loadShed(options)).toThrow(expect.objectContaining({ code: 'core.option_invalid' }))
})
