import { expect, test } from 'vitest'
import { replaceable, timeout } from '../../src/index.ts'
import { OpenCall, PolicyRig, Watched } from './policy-rig.ts'

test('a call ends under the policy that it began with', async () => {
  const rig = new PolicyRig()
  const policy = replaceable(timeout(100))
  const [before, after] = [new OpenCall(), new OpenCall()]
  const early = new Watched(policy.run(before.work, { host: rig.host }))
  policy.replace(timeout(10))
  const late = new Watched(policy.run(after.work, { host: rig.host }))
  await rig.clock.advance(10)
  expect([early.outcome, late.outcome]).toEqual(['pending', 'resilience.timeout'])
  await rig.clock.advance(90)
  expect(early.outcome).toBe('resilience.timeout')
})
