import { expect, test } from 'vitest'
import { healthEndpoints } from '../../src/gateway/index.ts'
import { healthChecks } from '../../src/discovery/index.ts'
import { GatewayRig, requestTo } from './gateway-rig.ts'

async function statuses(fetch: (request: Request) => Promise<Response>): Promise<Readonly<Record<string, unknown>>> {
  const told = []
  for (const path of ['/livez', '/readyz', '/healthz']) {
    const response = await fetch(requestTo(path))
    told.push([path, [response.status, await response.json()]])
  }
  return Object.fromEntries(told)
}

test('readiness follows the bus: not before it runs, and no longer when it begins to stop', async () => {
  await using rig = new GatewayRig()
  const api = rig.gateway()
  expect(await statuses(api.fetch)).toEqual({ '/livez': [200, { state: 'up' }], '/readyz': [503, { state: 'down' }], '/healthz': [503, { state: 'down' }] })
  await rig.front.start()
  expect(await statuses(api.fetch)).toEqual({ '/livez': [200, { state: 'up' }], '/readyz': [200, { state: 'up' }], '/healthz': [200, { state: 'up' }] })
  const stopping = rig.front.stop()
  expect(await statuses(api.fetch)).toMatchObject({ '/livez': [200, {}], '/readyz': [503, { state: 'draining' }] })
  await rig.settled()
  await stopping
  expect(await statuses(api.fetch)).toMatchObject({ '/livez': [503, {}], '/readyz': [503, {}] })
})

test('readiness goes down first: requests are answered while the gateway drains', async () => {
  await using rig = await new GatewayRig().started()
  const api = rig.gateway()
  api.drain()
  expect((await api.fetch(requestTo('/readyz'))).status).toBe(503)
  expect((await api.fetch(requestTo('/livez'))).status).toBe(200)
  expect((await api.fetch(requestTo('/pricing/quote-price?sku=a'))).status).toBe(200)
})

test('reasons are told only where that is wanted, and endpoints are there only where they are wanted', async () => {
  await using rig = new GatewayRig()
  expect(await (await rig.gateway({ health: { reasons: true } }).fetch(requestTo('/healthz'))).json()).toMatchObject({ state: 'down', reasons: ['the bus is idle', 'memory is down: not connected yet'], parts: [{ name: expect.any(String), state: 'down' }, { name: 'memory', state: 'down' }] })
  expect((await rig.gateway({ health: false }).fetch(requestTo('/healthz'))).status).toBe(404)
  expect((await rig.gateway({ basePath: '/api' }).fetch(requestTo('/api/livez'))).status).toBe(200)
})

test('a degraded bus is ready and well; one that is down is neither, and lives', () => {
  const of = (state: 'up' | 'degraded' | 'down') => healthEndpoints({ bus: { state: 'running', health: () => ({ state, reasons: [] }) } })
  const told = (state: 'up' | 'degraded' | 'down'): unknown => ['/livez', '/readyz', '/healthz'].map((path) => of(state)('GET', path)?.status)
  expect([told('up'), told('degraded'), told('down')]).toEqual([[200, 200, 200], [200, 200, 200], [200, 503, 503]])
  expect([of('up')('POST', '/livez'), of('up')('GET', '/other')]).toEqual([undefined, undefined])
})

test('checks that the bus was given decide over readiness, and are told with their reasons', async () => {
  await using rig = new GatewayRig()
  let isPaid = true
  const bus = rig.bus({ service: { name: 'checked' }, health: healthChecks({ checks: { payments: { run: () => Promise.resolve(isPaid ? undefined : { state: 'down', reasons: ['it answers 500'] }), everyMs: 1_000 } } }) })
  const api = rig.gateway({ bus, health: { reasons: true } })
  const starting = bus.start()
  await rig.settled()
  await starting
  await rig.settled()
  expect((await api.fetch(requestTo('/readyz'))).status).toBe(200)
  isPaid = false
  await rig.clock.advance(1_100)
  await rig.settled()
  expect((await api.fetch(requestTo('/readyz'))).status).toBe(503)
  expect((await api.fetch(requestTo('/livez'))).status).toBe(200)
  const healthz = await api.fetch(requestTo('/healthz'))
  expect([healthz.status, await healthz.json()]).toMatchObject([503, { state: 'down', parts: expect.arrayContaining([expect.objectContaining({ name: 'payments', state: 'down', reasons: ['payments: it answers 500'] })]) }])
})
