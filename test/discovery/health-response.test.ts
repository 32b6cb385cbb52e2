import { expect, test } from 'vitest'
import { healthResponse } from '../../src/discovery/index.ts'
import { BusRig, Gate, Placed } from '../bus/bus-rig.ts'

const get = (path: string, method = 'GET'): Request => new Request(`http://127.0.0.1:8080${path}`, { method })

test('a bus is alive from the start, ready while it runs, and not ready from the moment it begins to drain', async () => {
  await using rig = new BusRig()
  const gate = new Gate()
  const bus = rig.bus().on(Placed, { group: 'work' }, () => gate.opened)
  const statuses = (): readonly (number | undefined)[] => ['/livez', '/readyz', '/healthz'].map((path) => healthResponse(bus, get(path))?.status)
  expect(statuses()).toEqual([200, 503, 503])
  await bus.start()
  expect(statuses()).toEqual([200, 200, 200])
  await bus.publish(Placed, { orderId: '1' })
  await rig.clock.settle()
  const stopping = bus.stop()
  await rig.clock.settle()
  expect(statuses()).toEqual([200, 503, 503])
  gate.open()
  await rig.clock.advance(1_000)
  await stopping
  expect(statuses()).toEqual([503, 503, 503])
})

test('tells everything as JSON, under any prefix, and nothing to HEAD', async () => {
  await using rig = new BusRig()
  const bus = rig.bus({ extensions: [{ name: 'cache', health: () => ({ state: 'degraded', reasons: ['it is cold'] }) }] })
  await bus.start()
  const response = healthResponse(bus, get('/internal/healthz?verbose'))
  expect(response?.headers.get('content-type')).toBe('application/json')
  expect(response?.headers.get('cache-control')).toBe('no-store')
  expect(await response?.json()).toEqual({
    status: 'degraded', reasons: ['cache: it is cold'],
    parts: [{ name: 'bus', state: 'up', reasons: [] }, { name: 'memory', state: 'up', reasons: [] }, { name: 'cache', state: 'degraded', reasons: ['cache: it is cold'] }],
  })
  // Degraded still takes work; that is the difference.
  expect(healthResponse(bus, get('/readyz'))?.status).toBe(200)
  expect(await healthResponse(bus, get('/healthz', 'HEAD'))?.text()).toBe('')
})

test('leaves every other request alone', async () => {
  await using rig = new BusRig()
  const bus = rig.bus()
  for (const path of ['/', '/orders', '/livez/more', '/xlivez']) expect(healthResponse(bus, get(path))).toBeUndefined()
  expect(healthResponse(bus, get('/livez', 'POST'))).toBeUndefined()
})
