import { expect, test } from 'vitest'
import { shutDown } from '../../src/gateway/index.ts'
import { virtualClock } from '../../src/testing/index.ts'

test('readiness goes down first, then the server takes no more, and the bus stops last', async () => {
  const clock = virtualClock()
  const done: string[] = []
  const stopping = shutDown({
    clock, noticeMs: 3_000, graceMs: 7_000,
    gateway: { drain: () => { done.push('readiness') } },
    server: { close: (options) => { done.push(`server within ${options?.graceMs}`); return Promise.resolve(true) } },
    bus: { stop: () => { done.push('bus'); return Promise.resolve() } },
  })
  expect(done).toEqual(['readiness'])
  await clock.advance(2_999)
  expect(done).toEqual(['readiness'])
  await clock.advance(1)
  await stopping
  expect(done).toEqual(['readiness', 'server within 7000', 'bus'])
})

test('the bus stops also where the server could not be closed', async () => {
  const done: string[] = []
  const stopping = shutDown({ server: { close: () => Promise.reject(new RangeError('x')) }, bus: { stop: () => { done.push('bus'); return Promise.resolve() } } })
  await expect(stopping).rejects.toThrow('x')
  expect(done).toEqual(['bus'])
})
