import { expect, test } from 'vitest'
import { TrunklineError, lastAnswer } from '../../src/index.ts'
import { PolicyRig, broken } from './policy-rig.ts'

test('the last answer to the same call stands in while it is not too old, and answers are bounded', async () => {
  const rig = new PolicyRig()
  const policy = lastAnswer({ ageMaxMs: 1_000, entriesMax: 2 })
  const call = (key: string) => ({ host: rig.host, key: () => key })
  const fails = (key: string): Promise<unknown> => policy.run(() => Promise.reject(broken()), call(key)).catch(({ code }: TrunklineError) => code)
  await policy.run(() => 'A', call('a'))
  await policy.run(() => 'B', call('b'))
  await rig.clock.advance(1_000)
  expect(await fails('a')).toBe('A')
  await policy.run(() => 'C', call('c'))
  // The one used longest ago has made room.
  expect([await fails('a'), await fails('b'), await fails('c')]).toEqual(['A', 'bus.no_responder', 'C'])
  await rig.clock.advance(1)
  expect(await fails('a')).toBe('bus.no_responder')
})

test('what was answered passes through, and a call without a key is refused', async () => {
  const rig = new PolicyRig()
  const policy = lastAnswer()
  const call = { host: rig.host, key: () => 'a' }
  await policy.run(() => 'A', call)
  const declared = new TrunklineError('contract.declared_error', { type: 'a.b', name: 'x', data: {} })
  await expect(policy.run(() => Promise.reject(declared), call)).rejects.toBe(declared)
  await expect(policy.run(() => 'A')).rejects.toMatchObject({ code: 'core.option_invalid' })
})
