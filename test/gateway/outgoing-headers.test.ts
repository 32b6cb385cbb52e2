import { expect, test } from 'vitest'
import { outgoingHeaders } from '../../src/gateway/index.ts'
import { GatewayRig, QuotePrice, requestTo } from './gateway-rig.ts'

test('a handler hands on what came over HTTP, with the time that is left', async () => {
  await using rig = new GatewayRig()
  const told: unknown[] = []
  const other = rig.bus({ service: { name: 'other' } })
  other.answer(QuotePrice, async () => {
    const { promise, resolve } = Promise.withResolvers<void>()
    rig.clock.setTimer(400, resolve)
    await promise
    told.push(outgoingHeaders(rig.clock))
    return { cents: 1, gift: false, tags: [] }
  })
  await other.start()
  await rig.front.start()
  const traceparent = '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01'
  const asked = rig.gateway().fetch(requestTo('/pricing/quote-price?sku=a', { headers: { 'x-correlation-id': 'c-1', traceparent, 'request-timeout-ms': '1500' } }))
  await rig.settled()
  await rig.clock.advance(400)
  await rig.settled()
  expect((await asked).status).toBe(200)
  expect(told).toEqual([{ 'x-correlation-id': 'c-1', traceparent, 'request-timeout-ms': '1100' }])
  expect(outgoingHeaders(rig.clock)).toEqual({})
})
