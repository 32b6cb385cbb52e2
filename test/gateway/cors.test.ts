import { expect, test } from 'vitest'
import { GatewayRig, requestTo } from './gateway-rig.ts'

const SHOP = 'https://shop.example.com'
const quote = '/pricing/quote-price?sku=a'

test('without options no header says anything of other origins, and their pages change nothing', async () => {
  await using rig = await new GatewayRig().started()
  const { fetch } = rig.gateway()
  const read = await fetch(requestTo(quote, { headers: { origin: SHOP } }))
  expect([read.status, [...read.headers.keys()].filter((name) => name.startsWith('access-control') || name === 'vary')]).toEqual([200, []])
  const written = await fetch(requestTo('/orders/o-1', { method: 'PUT', body: {}, headers: { origin: SHOP } }))
  expect([written.status, await written.json()]).toMatchObject([403, { code: 'gateway.origin_refused' }])
  const asked = await fetch(requestTo(quote, { method: 'OPTIONS', headers: { origin: SHOP, 'access-control-request-method': 'GET' } }))
  expect([asked.status, asked.headers.get('access-control-allow-origin')]).toEqual([405, null])
  expect(rig.seen).toHaveLength(1)
})

test.each(['null', 'https://shop.test.evil.example', 'https://evil.example/shop.test', 'not an origin'])('a page of %s changes nothing', async (origin) => {
  await using rig = await new GatewayRig().started()
  expect((await rig.gateway({ cors: { origins: [SHOP] } }).fetch(requestTo('/orders/o-1', { method: 'PUT', body: {}, headers: { origin } }))).status).toBe(403)
})

test('a page of the same host may change what it shows, whatever scheme a proxy spoke', async () => {
  await using rig = await new GatewayRig().started()
  const { fetch } = rig.gateway()
  for (const origin of ['http://shop.test', 'https://shop.test']) expect((await fetch(requestTo('/orders/o-1', { method: 'PUT', body: {}, headers: { origin } }))).status).toBe(200)
})

test('an origin that is allowed is told so, and others are not', async () => {
  await using rig = await new GatewayRig().started()
  const { fetch } = rig.gateway({ cors: { origins: [SHOP], credentials: true, headers: ['authorization'] } })
  const asked = await fetch(requestTo('/orders/o-1', { method: 'OPTIONS', headers: { origin: SHOP, 'access-control-request-method': 'PUT' } }))
  expect([asked.status, asked.headers.get('access-control-allow-origin'), asked.headers.get('access-control-allow-methods'), asked.headers.get('access-control-allow-credentials'), asked.headers.get('vary')])
    .toEqual([204, SHOP, 'DELETE, PUT', 'true', 'origin'])
  expect(asked.headers.get('access-control-allow-headers')).toMatch(/idempotency-key.*authorization/)
  const written = await fetch(requestTo('/orders/o-1', { method: 'PUT', body: {}, headers: { origin: SHOP } }))
  expect([written.status, written.headers.get('access-control-allow-origin'), written.headers.get('access-control-expose-headers')]).toEqual([200, SHOP, expect.stringContaining('etag')])
  const other = await fetch(requestTo(quote, { headers: { origin: 'https://evil.example' } }))
  expect([other.headers.get('access-control-allow-origin'), other.headers.get('access-control-allow-credentials'), other.headers.get('vary')]).toEqual([null, null, 'origin'])
  expect((await fetch(requestTo('/nowhere', { headers: { origin: SHOP } }))).headers.get('access-control-allow-origin')).toBe(SHOP)
})

test('all origins may be allowed, without credentials', async () => {
  await using rig = await new GatewayRig().started()
  const read = await rig.gateway({ cors: { origins: '*' } }).fetch(requestTo(quote, { headers: { origin: SHOP } }))
  expect([read.headers.get('access-control-allow-origin'), read.headers.get('access-control-allow-credentials')]).toEqual(['*', null])
})

test.each([[{ origins: '*', credentials: true }, 'credentials'], [{ origins: ['shop.example.com'] }, 'shop.example.com'], [{ origins: [`${SHOP}/`] }, 'origins'], [{ origin: '*' }, 'did you mean "origins"']])('%j is refused', (cors, says) => {
  const rig = new GatewayRig()
  expect(() => rig.gateway({ cors: cors as never })).toThrow(says)
})
