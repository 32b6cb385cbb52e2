import { expect, test } from 'vitest'
import { virtualClock } from '../../src/testing/virtual-clock.ts'
import { PeerLoads } from '../../src/resilience/peer-loads.ts'

test('an announced overload holds until it is taken back, or its announcer has been silent for a minute', async () => {
  const clock = virtualClock()
  const loads = new PeerLoads()
  const say = (instance: string, state: 'normal' | 'shedding'): void => loads.heard({ service: 'pricing', instance, name: 'pricing.quote', state, reason: '' }, clock)
  say('i-1', 'shedding')
  say('i-2', 'shedding')
  say('i-2', 'shedding')
  expect([loads.sheddingInstances('pricing.quote'), loads.isShedding('pricing.other')]).toEqual([2, false])
  say('i-1', 'normal')
  expect(loads.sheddingInstances('pricing.quote')).toBe(1)
  await clock.advance(60_000)
  expect(loads.isShedding('pricing.quote')).toBe(false)
})
