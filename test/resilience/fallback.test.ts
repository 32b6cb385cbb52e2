import { expect, test } from 'vitest'
import { TrunklineError, fallback } from '../../src/index.ts'
import { PolicyRig, broken } from './policy-rig.ts'

test('a fallback leaves answers as they are, and what its caller gave up', async () => {
  const rig = new PolicyRig()
  const policy = fallback({ value: undefined })
  const declared = new TrunklineError('contract.declared_error', { type: 'a.b', name: 'x', data: {} })
  await expect(policy.run(() => Promise.reject(declared), { host: rig.host })).rejects.toBe(declared)
  await expect(policy.run(() => Promise.reject(broken()), { host: rig.host })).resolves.toBeUndefined()
  await expect(policy.run(() => Promise.reject(broken()), { host: rig.host, signal: AbortSignal.abort() })).rejects.toMatchObject({ code: 'bus.no_responder' })
})

test.each([{}, { value: 1, use: () => 1 }, { use: 5 }, 5])('%o is refused', (options) => {
  // As a caller without types gives them.
  expect(() => fallback(options as never)).toThrow(expect.objectContaining({ code: 'core.option_invalid' }))
})
