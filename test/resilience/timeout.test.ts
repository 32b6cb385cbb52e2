import { expect, test } from 'vitest'
import { timeout } from '../../src/index.ts'
import { OpenCall, PolicyRig, Watched } from './policy-rig.ts'

test('a time limit tells the work until when somebody waits, and leaves no timer and no listener behind', async () => {
  const rig = new PolicyRig()
  const caller = new AbortController()
  const seen: number[] = []
  const done = timeout(50).run((_signal, { expiresAtMs }) => seen.push(expiresAtMs), { host: rig.host, signal: caller.signal, expiresAtMs: 30 })
  await expect(done).resolves.toBe(1)
  await timeout(20).run((_signal, { expiresAtMs }) => seen.push(expiresAtMs), { host: rig.host, expiresAtMs: 30 })
  expect([seen, rig.clock.timerCount]).toEqual([[30, 20], 0])
})

test('the work hears of a caller who gives up, and what fails after its time disturbs nobody', async () => {
  const rig = new PolicyRig()
  const caller = new AbortController()
  const [one, late] = [new OpenCall(), new OpenCall()]
  void timeout(50).run(one.work, { host: rig.host, signal: caller.signal }).catch(() => {})
  caller.abort('enough')
  expect(one.signal?.reason).toBe('enough')
  const seen = new Watched(timeout(50).run(late.work, { host: rig.host }))
  await rig.clock.advance(50)
  late.reject(new Error('late'))
  await rig.clock.settle()
  expect(seen.outcome).toBe('resilience.timeout')
  one.reject(new Error('given up'))
})

test.each([0, Number.NaN, 1e12])('a limit of %d ms is refused', (timeoutMs) => {
  expect(() => timeout(timeoutMs)).toThrow(expect.objectContaining({ code: 'core.option_invalid' }))
})
