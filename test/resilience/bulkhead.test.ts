import { expect, test } from 'vitest'
import { bulkhead } from '../../src/index.ts'
import { OpenCall, PolicyRig, Watched } from './policy-rig.ts'

test('a call that is given up leaves the line, and its place goes to the next one', async () => {
  const rig = new PolicyRig()
  const policy = bulkhead({ inFlightMax: 1, waitingMax: 1 })
  const running = new OpenCall()
  void policy.run(running.work, { host: rig.host })
  const caller = new AbortController()
  const given = new Watched(policy.run(() => 'given', { host: rig.host, signal: caller.signal }))
  const refused = new Watched(policy.run(() => 'refused', { host: rig.host }))
  await rig.clock.settle()
  expect(refused.outcome).toBe('resilience.bulkhead_full')
  caller.abort()
  const next = new Watched(policy.run(() => 'next', { host: rig.host }))
  running.resolve(undefined)
  await rig.clock.settle()
  expect([given.outcome, next.outcome, policy.inFlight, policy.waiting]).toEqual(['resilience.cancelled', 'next', 0, 0])
})
