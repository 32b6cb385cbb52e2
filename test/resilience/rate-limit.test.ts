import { expect, test } from 'vitest'
import { rateLimit } from '../../src/index.ts'
import { PolicyRig, Watched } from './policy-rig.ts'

test('a call waits for its permit as long as it may, and is refused with the time where it may not', async () => {
  const rig = new PolicyRig()
  const policy = rateLimit({ permitsPerSecond: 10, burstMax: 1, waitMaxMs: 150 })
  const run = (more: object = {}): Watched => new Watched(policy.run((_signal, { host }) => host.clock.monotonicMs(), { host: rig.host, ...more }))
  const [first, second, third] = [run(), run(), run()]
  await rig.clock.settle()
  expect([first.outcome, second.outcome, third.outcome]).toEqual([0, 'pending', 'resilience.rate_limited'])
  await rig.clock.advance(100)
  expect(second.outcome).toBe(100)
  // Nobody waits that long for it.
  const hurried = run({ expiresAtMs: 150 })
  await rig.clock.settle()
  expect(hurried.outcome).toBe('resilience.rate_limited')
})

test('a call that is given up while it waits puts its permit back', async () => {
  const rig = new PolicyRig()
  const policy = rateLimit({ permitsPerSecond: 10, burstMax: 1, waitMaxMs: 100 })
  await policy.run(() => 1, { host: rig.host })
  const caller = new AbortController()
  const given = new Watched(policy.run(() => 2, { host: rig.host, signal: caller.signal }))
  caller.abort()
  await rig.clock.settle()
  const next = new Watched(policy.run(() => 3, { host: rig.host }))
  await rig.clock.advance(100)
  expect([given.outcome, next.outcome]).toEqual(['resilience.cancelled', 3])
})

test.each([[{}, 'core.option_invalid'], [{ permitsPerSecond: 0 }, 'core.option_invalid'], [{ permitsPerSecond: 1, burst: 3 }, 'core.option_unknown'], [{ permitsPerSecond: 1, burstMax: 0.5 }, 'core.option_invalid']])('%o is refused', (options, code) => {
  // As a caller without types gives them.
  expect(() => rateLimit(options as never)).toThrow(expect.objectContaining({ code }))
})
