import { expect, test } from 'vitest'
import { type Policy, compose, fallback, retry, timeout } from '../../src/index.ts'
import { PolicyRig } from './policy-rig.ts'

test('the first policy is the outermost: each attempt has its own limit, and the fallback stands in after the last', async () => {
  const rig = new PolicyRig()
  const policy = compose(fallback({ use: () => 'instead' }), retry({ attemptsMax: 3, initialMs: 0 }), timeout(10))
  const begunAtMs: number[] = []
  const done = policy.run(() => {
    begunAtMs.push(rig.clock.monotonicMs())
    return new Promise<never>(() => {})
  }, { host: rig.host })
  await rig.clock.advance(30)
  expect([await done, begunAtMs, policy.name]).toEqual(['instead', [0, 10, 20], 'fallback > retry > timeout'])
})

test('none at all runs the work as it is', async () => {
  await expect(compose().run(() => 3)).resolves.toBe(3)
})

test('what is no policy is refused', () => {
  expect(() => compose(timeout(3), 500 as unknown as Policy)).toThrow(expect.objectContaining({ code: 'core.option_invalid' }))
})
