import { describe, expect, test } from 'vitest'
import { z } from 'zod'
import { discovery } from '../../src/discovery/index.ts'
import { TrunklineError, command, event, query } from '../../src/index.ts'
import { type GatewayOptions, gateway, route } from '../../src/gateway/index.ts'
import { CancelOrder, GatewayRig, PlaceOrder, QuotePrice, requestTo } from './gateway-rig.ts'

describe('a query', () => {
  test('is asked with the parameters of the query string, as the types that its schema wants', async () => {
    await using rig = await new GatewayRig().started()
    const { fetch } = rig.gateway()
    const response = await fetch(requestTo('/pricing/quote-price?sku=007&pieces=3&gift=true&tags=a&tags=b&utm_source=mail'))
    expect([response.status, response.headers.get('content-type'), await response.json()]).toEqual([200, 'application/json', { cents: 300, gift: true, tags: ['a', 'b'] }])
    expect(rig.seen[0]?.data).toEqual({ sku: '007', pieces: 3, gift: true, tags: ['a', 'b'] })
  })

  test.each([
    ['a number that is none', '?sku=a&pieces=three', 422, 'contract.payload_invalid'],
    ['a number in another writing', '?sku=a&pieces=0x10', 422, 'contract.payload_invalid'],
    ['a boolean that is none', '?sku=a&gift=yes', 422, 'contract.payload_invalid'],
    ['nothing that it needs', '', 422, 'contract.payload_invalid'],
    ['a single value twice', '?sku=a&sku=b', 400, 'gateway.request_malformed'],
  ])('with %s is refused', async (_what, search, status, code) => {
    await using rig = await new GatewayRig().started()
    const response = await rig.gateway().fetch(requestTo(`/pricing/quote-price${search}`))
    expect([response.status, response.headers.get('content-type'), (await response.json() as { readonly code: string }).code]).toEqual([status, 'application/problem+json', code])
    expect(rig.seen).toEqual([])
  })

  test('answers HEAD without a body', async () => {
    await using rig = await new GatewayRig().started()
    const response = await rig.gateway().fetch(requestTo('/pricing/quote-price?sku=a', { method: 'HEAD' }))
    expect([response.status, response.headers.get('content-type'), await response.text()]).toEqual([200, 'application/json', ''])
  })

  test('with a request that is no flat object is asked with POST', async () => {
    await using rig = await new GatewayRig().started()
    const Nested = query('pricing.quote-basket', { request: z.object({ lines: z.array(z.object({ sku: z.string() })) }), response: z.object({ count: z.int() }) })
    const answering = rig.bus()
    answering.answer(Nested, ({ data }) => ({ count: data.lines.length }))
    await answering.start()
    const { fetch } = rig.gateway({ routes: [Nested] })
    expect(await (await fetch(requestTo('/pricing/quote-basket', { body: { lines: [{ sku: 'a' }, { sku: 'b' }] } }))).json()).toEqual({ count: 2 })
    expect((await fetch(requestTo('/pricing/quote-basket'))).status).toBe(405)
  })
})

describe('a command', () => {
  test('with an answer is asked, with fields of its path and its body', async () => {
    await using rig = await new GatewayRig().started()
    const { fetch } = rig.gateway()
    const response = await fetch(requestTo('/orders/o%2F1', { method: 'PUT', body: { lines: [{ sku: 'a', pieces: 2 }] } }))
    expect([response.status, await response.json()]).toEqual([200, { revision: 1 }])
    expect(rig.seen[0]?.data).toEqual({ orderId: 'o/1', lines: [{ sku: 'a', pieces: 2 }] })
    expect((await fetch(requestTo('/orders/o-2', { method: 'PUT' }))).status).toBe(200)
  })

  test('without an answer is sent, and told by its id', async () => {
    await using rig = await new GatewayRig().started()
    const response = await rig.gateway().fetch(requestTo('/orders/o-1', { method: 'DELETE', headers: { 'if-match': '"7"' } }))
    const { id } = await response.json() as { readonly id: string }
    expect(response.status).toBe(202)
    await rig.settled()
    expect(rig.seen).toMatchObject([{ id, data: { orderId: 'o-1', revision: 7 } }])
  })

  test('that is to be waited for without an answer says nothing', async () => {
    await using rig = await new GatewayRig().started()
    const { fetch } = rig.gateway({ routes: [route(CancelOrder, { answer: 'reply' })] })
    const response = await fetch(requestTo('/sales/cancel-order', { body: { orderId: 'o-1', revision: 1 } }))
    expect([response.status, await response.text(), rig.seen.length]).toEqual([204, '', 1])
  })

  test('with a field in the body that contradicts the path is refused', async () => {
    await using rig = await new GatewayRig().started()
    const { fetch } = rig.gateway()
    expect((await fetch(requestTo('/orders/o-1', { method: 'PUT', body: { orderId: 'o-2' } }))).status).toBe(400)
    expect((await fetch(requestTo('/orders/o-1', { method: 'PUT', body: { orderId: 'o-1' } }))).status).toBe(200)
    expect((await fetch(requestTo('/orders/o-1', { method: 'PUT', body: ['o-1'] }))).status).toBe(400)
  })

  test('whose version has to match is refused without If-Match', async () => {
    await using rig = await new GatewayRig().started()
    const { fetch } = rig.gateway()
    const statuses = []
    for (const header of [undefined, '*', 'W/"7"', '"7", "8"', '"seven"']) {
      statuses.push((await fetch(requestTo('/orders/o-1', { method: 'DELETE', headers: header === undefined ? {} : { 'if-match': header } }))).status)
    }
    expect([statuses, rig.seen]).toEqual([[428, 400, 400, 400, 422], []])
  })
})

describe('a body', () => {
  test.each([
    ['that is no JSON', '{"orderId":', {}, 400, 'contract.body_malformed'],
    ['that can change prototypes', '{"orderId":"o","__proto__":{"admin":true}}', {}, 400, 'contract.body_malformed'],
    ['nested beyond reason', `{"orderId":"o","lines":${'['.repeat(100)}${']'.repeat(100)}}`, {}, 400, 'contract.body_malformed'],
    ['of another type', 'orderId=o', { 'content-type': 'application/x-www-form-urlencoded' }, 415, 'gateway.media_type_refused'],
    ['of no type', '{}', { 'content-type': '' }, 415, 'gateway.media_type_refused'],
    ['in another encoding', '{}', { 'content-type': 'application/json; charset=utf-16' }, 415, 'gateway.media_type_refused'],
    ['that is compressed', '{}', { 'content-encoding': 'gzip' }, 415, 'gateway.media_type_refused'],
    ['that is too large', JSON.stringify({ orderId: 'o'.repeat(300) }), {}, 413, 'contract.payload_too_large'],
  ])('%s is refused', async (_what, body, headers, status, code) => {
    await using rig = await new GatewayRig().started()
    const { fetch } = rig.gateway({ routes: [PlaceOrder], limits: { bodyBytesMax: 256 } })
    const response = await fetch(requestTo('/sales/place-order', { body, headers }))
    expect([response.status, await response.json()]).toMatchObject([status, { code, status }])
    expect(rig.seen).toEqual([])
  })

  test('of JSON with a suffix or a charset is taken', async () => {
    await using rig = await new GatewayRig().started()
    const { fetch } = rig.gateway({ routes: [PlaceOrder] })
    for (const type of ['application/json; charset=UTF-8', 'application/vnd.shop+json']) {
      expect((await fetch(requestTo('/sales/place-order', { body: { orderId: 'o' }, headers: { 'content-type': type } }))).status).toBe(200)
    }
  })
})

describe('an error', () => {
  test('that the contract declares is a problem of its own with its data', async () => {
    await using rig = await new GatewayRig().started()
    const response = await rig.gateway().fetch(requestTo('/pricing/quote-price?sku=unicorn', { headers: { 'x-correlation-id': 'c-1' } }))
    expect([response.status, await response.json()]).toEqual([404, {
      type: 'urn:trunkline:problem:pricing.quote-price:unknownSku', title: 'Unknown sku', status: 404, detail: 'pricing.quote-price was refused: unknown sku.',
      code: 'contract.declared_error', correlationId: 'c-1', contract: 'pricing.quote-price', name: 'unknownSku', data: { sku: 'unicorn' },
    }])
    expect(rig.lines).toEqual([])
  })

  test('of a handler shows nothing of itself, and is logged with the correlation id', async () => {
    await using rig = await new GatewayRig().started()
    const response = await rig.gateway().fetch(requestTo('/pricing/quote-price?sku=broken', { headers: { 'x-correlation-id': 'c-1' } }))
    const text = await response.text()
    expect(response.status).toBe(500)
    expect(JSON.parse(text)).toMatchObject({ code: 'bus.answer_failed', title: 'Answer failed', correlationId: 'c-1' })
    expect(text).not.toMatch(/hunter2|internal|stack|\.ts/)
    expect(rig.lines).toMatchObject([{ fields: { correlationId: 'c-1', status: 500, route: '/pricing/quote-price' } }])
  })

  test('of the answer is that of the service', async () => {
    await using rig = await new GatewayRig().started()
    expect((await rig.gateway().fetch(requestTo('/pricing/quote-price?sku=bad-answer'))).status).toBe(502)
  })

  test('of time is told when the time is over', async () => {
    await using rig = await new GatewayRig().started()
    const { fetch } = rig.gateway()
    const asked = fetch(requestTo('/pricing/slow-quote', { headers: { 'request-timeout-ms': '700' } }))
    await rig.settled()
    await rig.clock.advance(699)
    expect(rig.front.stats().asked).toBe(1)
    await rig.clock.advance(1)
    const response = await asked
    expect([response.status, response.headers.get('request-timeout-ms'), await response.json()]).toMatchObject([504, '700', { code: 'bus.ask_timeout' }])
  })

  test('of a service that is not there can be repeated', async () => {
    await using rig = new GatewayRig()
    await rig.front.start()
    const response = await rig.gateway().fetch(requestTo('/pricing/quote-price?sku=a'))
    expect([response.status, response.headers.get('retry-after'), await response.json()]).toMatchObject([503, '1', { code: 'bus.no_responder' }])
  })

  test('of the path or the method says what there is', async () => {
    await using rig = await new GatewayRig().started()
    const { fetch } = rig.gateway()
    expect((await fetch(requestTo('/orders'))).status).toBe(404)
    expect((await fetch(requestTo('/orders/%ff', { method: 'PUT' }))).status).toBe(400)
    const refused = await fetch(requestTo('/orders/o-1', { body: {} }))
    expect([refused.status, refused.headers.get('allow')]).toEqual([405, 'DELETE, PUT'])
  })

  test('has types under the base that is given', async () => {
    await using rig = await new GatewayRig().started()
    const response = await rig.gateway({ problemBase: 'https://api.example.com/problems/' }).fetch(requestTo('/nowhere'))
    expect(await response.json()).toMatchObject({ type: 'https://api.example.com/problems/gateway.route_missing' })
  })
})

describe('what goes along', () => {
  test('is the correlation id, the trace and the deadline, in and out', async () => {
    await using rig = await new GatewayRig().started()
    const traceparent = '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01'
    const response = await rig.gateway().fetch(requestTo('/pricing/quote-price?sku=a', { headers: { 'x-correlation-id': 'c-1', traceparent, 'request-timeout-ms': '1500' } }))
    expect(rig.seen).toMatchObject([{ correlationId: 'c-1', deadlineInMs: 1_500 }])
    expect(['x-correlation-id', 'traceparent', 'request-timeout-ms'].map((name) => response.headers.get(name))).toEqual(['c-1', traceparent, '1500'])
  })

  test('is no longer than the gateway allows, and nothing that cannot be read', async () => {
    await using rig = await new GatewayRig().started()
    const { fetch } = rig.gateway({ limits: { timeoutMs: 2_000 } })
    const response = await fetch(requestTo('/pricing/quote-price?sku=a', { headers: { traceparent: '00-0-0-01', 'request-timeout-ms': '999999999', 'x-correlation-id': 'with a space' } }))
    expect(rig.seen[0]?.deadlineInMs).toBe(2_000)
    expect([response.headers.get('traceparent'), response.headers.get('x-correlation-id')]).toEqual([null, rig.seen[0]?.correlationId])
    expect(rig.seen[0]?.correlationId).toMatch(/^[0-9a-f-]{36}$/)
    expect((await fetch(requestTo('/pricing/quote-price?sku=a', { headers: { 'request-timeout-ms': '-1' } }))).status).toBe(400)
  })

  test('is a trace that reaches the bus', async () => {
    await using rig = new GatewayRig()
    const traces: (string | undefined)[] = []
    rig.front.use({ name: 'trace', publish: async ({ message }, next) => { traces.push(message.traceparent); await next(message) } })
    await rig.started()
    const traceparent = '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01'
    await rig.gateway().fetch(requestTo('/pricing/quote-price?sku=a', { headers: { traceparent } }))
    expect(traces).toEqual([traceparent])
  })
})

describe('a caller', () => {
  const authenticate: GatewayOptions['authenticate'] = (request) => {
    const token = request.headers.get('authorization')
    if (token === 'Bearer bad-hook') throw new RangeError('key store on db.internal is down')
    if (token === 'Bearer barred') throw new TrunklineError('gateway.forbidden', { problem: 'the account is closed' })
    return token === null ? undefined : { id: token.slice('Bearer '.length), tenant: 'acme', scopes: ['read'] }
  }

  test('who is known goes into the envelope', async () => {
    await using rig = await new GatewayRig().started()
    const { fetch } = rig.gateway({ authenticate })
    expect((await fetch(requestTo('/orders/o-1', { method: 'PUT', body: {}, headers: { authorization: 'Bearer ann' } }))).status).toBe(200)
    expect(rig.seen).toMatchObject([{ principal: 'ann', tenant: 'acme' }])
  })

  test('who is not known is asked for credentials before anything is read', async () => {
    await using rig = await new GatewayRig().started()
    const response = await rig.gateway({ authenticate, challenge: 'Bearer realm="shop"' }).fetch(requestTo('/orders/o-1', { method: 'PUT', body: '{' }))
    expect([response.status, response.headers.get('www-authenticate')]).toEqual([401, 'Bearer realm="shop"'])
  })

  test('is let through where the route is public', async () => {
    await using rig = await new GatewayRig().started()
    const { fetch } = rig.gateway({ authenticate, routes: [route(QuotePrice, { isPublic: true })] })
    expect((await fetch(requestTo('/pricing/quote-price?sku=a'))).status).toBe(200)
    expect(rig.seen).toMatchObject([{ principal: undefined }])
  })

  test('who may not do it is refused', async () => {
    await using rig = await new GatewayRig().started()
    const { fetch } = rig.gateway({ authenticate, routes: [route(PlaceOrder, { authorize: (principal, data) => principal?.scopes?.includes('write') === true && data !== undefined })] })
    const statuses = []
    for (const name of ['ann', 'barred', 'bad-hook', 'with space']) statuses.push((await fetch(requestTo('/sales/place-order', { body: { orderId: 'o' }, headers: { authorization: `Bearer ${name}` } }))).status)
    expect([statuses, rig.seen]).toEqual([[403, 403, 500, 403], []])
  })

  test('whose hook fails learns nothing of it', async () => {
    await using rig = await new GatewayRig().started()
    const text = await (await rig.gateway({ authenticate }).fetch(requestTo('/pricing/quote-price?sku=a', { headers: { authorization: 'Bearer bad-hook' } }))).text()
    expect(text).not.toMatch(/db\.internal|RangeError/)
  })
})

describe('a limit', () => {
  test('of the head is kept', async () => {
    await using rig = await new GatewayRig().started()
    const { fetch } = rig.gateway({ limits: { urlBytesMax: 100, headerBytesMax: 300 } })
    expect((await fetch(requestTo(`/pricing/quote-price?sku=${'a'.repeat(100)}`))).status).toBe(431)
    expect((await fetch(requestTo('/pricing/quote-price?sku=a', { headers: { cookie: 'x'.repeat(300) } }))).status).toBe(431)
    expect((await fetch(requestTo('/pricing/quote-price?sku=a'))).status).toBe(200)
  })

  test('of requests refuses what is too much, and counts those that ended', async () => {
    await using rig = await new GatewayRig().started()
    const api = rig.gateway({ limits: { requestsMax: 2 } })
    const waiting = [api.fetch(requestTo('/pricing/slow-quote')), api.fetch(requestTo('/pricing/slow-quote'))]
    await rig.settled()
    expect(api.inFlight).toBe(2)
    expect(await (await api.fetch(requestTo('/pricing/quote-price?sku=a'))).json()).toMatchObject({ status: 503, code: 'bus.overloaded' })
    await rig.clock.advance(5_000)
    await Promise.all(waiting)
    expect([api.inFlight, (await api.fetch(requestTo('/pricing/quote-price?sku=a'))).status]).toEqual([0, 200])
  })
})

test('a caller who leaves ends the ask', async () => {
  await using rig = await new GatewayRig().started()
  const leaving = new AbortController()
  const asked = rig.gateway().fetch(requestTo('/pricing/slow-quote', { signal: leaving.signal }))
  await rig.settled()
  leaving.abort()
  expect(await (await asked).json()).toMatchObject({ code: 'bus.ask_cancelled' })
})

describe('an answer with an ETag', () => {
  test('is not sent again to who has it', async () => {
    await using rig = await new GatewayRig().started()
    const { fetch } = rig.gateway({ routes: [route(QuotePrice, { etag: 'hash' })] })
    const first = await fetch(requestTo('/pricing/quote-price?sku=a'))
    const tag = first.headers.get('etag') ?? ''
    expect([tag, first.headers.get('cache-control')]).toEqual([expect.stringMatching(/^"[\w-]{27}"$/), 'private, no-cache'])
    for (const known of [tag, `W/${tag}`, `"x", ${tag}`, '*']) {
      const again = await fetch(requestTo('/pricing/quote-price?sku=a', { headers: { 'if-none-match': known } }))
      expect([again.status, again.headers.get('etag'), await again.text()]).toEqual([304, tag, ''])
    }
    expect((await fetch(requestTo('/pricing/quote-price?sku=a&pieces=2', { headers: { 'if-none-match': tag } }))).status).toBe(200)
  })

  test('has the version that the answer tells', async () => {
    await using rig = await new GatewayRig().started()
    const { fetch } = rig.gateway({ routes: [route(PlaceOrder, { etag: ({ revision }) => revision })] })
    expect((await fetch(requestTo('/sales/place-order', { body: { orderId: 'o', lines: [] } }))).headers.get('etag')).toBe('"0"')
  })
})

describe('two versions of a contract', () => {
  const Old = command('sales.ship-order', { schema: z.object({ orderId: z.string(), weight: z.int() }), response: z.object({ ok: z.boolean() }) })
  const New = command('sales.ship-order', {
    version: 2,
    schema: z.object({ orderId: z.string(), grams: z.int().positive() }),
    response: z.object({ parcel: z.string() }),
    errors: { tooHeavy: z.object({ grams: z.int() }) },
    upcast: { 1: (old: { orderId: string; weight: number }) => ({ orderId: old.orderId, grams: old.weight * 1_000 }) },
  })

  test('are served side by side, the older one lifted on the way in', async () => {
    await using rig = new GatewayRig()
    rig.service.handle(New, (message, { deadlineAtMs }) => {
      rig.note(message, deadlineAtMs)
      if (message.data.grams > 30_000) throw New.error('tooHeavy', { grams: message.data.grams })
      return { parcel: `p-${message.data.orderId}` }
    })
    await rig.started()
    const { fetch } = rig.gateway({
      routes: [
        route(New, { path: '/v2/orders/{orderId}/parcel', errors: { tooHeavy: 409 } }),
        route(Old, { path: '/v1/orders/{orderId}/parcel', as: New, downgrade: ({ parcel }) => ({ ok: parcel !== '' }), errors: { tooHeavy: 409 } }),
      ],
    })
    expect(await (await fetch(requestTo('/v2/orders/o-1/parcel', { body: { grams: 500 } }))).json()).toEqual({ parcel: 'p-o-1' })
    expect(await (await fetch(requestTo('/v1/orders/o-1/parcel', { body: { weight: 2 } }))).json()).toEqual({ ok: true })
    expect(rig.seen.map(({ data }) => data)).toEqual([{ orderId: 'o-1', grams: 500 }, { orderId: 'o-1', grams: 2_000 }])
    expect((await fetch(requestTo('/v1/orders/o-1/parcel', { body: { weight: 99 } }))).status).toBe(409)
    expect(await (await fetch(requestTo('/v1/orders/o-1/parcel', { body: { grams: 2 } }))).json()).toMatchObject({ status: 422, issues: [{ path: 'weight' }] })
    expect((await fetch(requestTo('/v1/orders/o-1/parcel', { body: { weight: 0 } }))).status).toBe(422)
  })
})

describe('a gateway that cannot be', () => {
  const Event = event('sales.order-placed', { schema: z.object({}) })
  const Twice = query('pricing.quote-again', { request: z.object({ sku: z.string() }), response: z.object({}) })
  const cases: readonly (readonly [string, () => unknown, string])[] = [
    ['serves an event', () => route(Event as never), 'a route serves a query or a command'],
    ['has two routes for one request', () => [route(QuotePrice, { path: '/p/{sku}' }), route(Twice, { path: '/p/{sku}' })], 'takes the same requests'],
    ['has a parameter that is no field', () => [route(QuotePrice, { path: '/p/{skew}' })], 'the data has no field "skew"'],
    ['has a parameter that is no text', () => [route(PlaceOrder, { path: '/p/{lines}' })], 'is not a text'],
    ['has a parameter twice', () => [route(QuotePrice, { path: '/p/{sku}/{sku}' })], 'has a parameter twice'],
    ['has a path without a slash', () => [route(QuotePrice, { path: 'prices' })], 'does not begin with a slash'],
    ['has a path with something else', () => [route(QuotePrice, { path: '/a/{sku}.json' })], 'neither letters'],
    ['changes something with GET', () => [route(PlaceOrder, { method: 'GET' })], 'GET must not do'],
    ['asks with DELETE', () => [route(QuotePrice, { method: 'DELETE' })], 'GET or POST'],
    ['asks with GET what is too deep', () => [route(query('a.b', { request: z.object({ x: z.object({}) }), response: z.object({}) }), { method: 'GET' })], 'do not fit into a query string'],
    ['names an error that is not declared', () => [route(QuotePrice, { errors: { other: 404 } as never })], 'declares no error "other"'],
    ['has a status of no error', () => [route(QuotePrice, { errors: { unknownSku: 200 } })], 'none from 400 to 599'],
    ['has a status of no success', () => [route(QuotePrice, { successStatus: 404 })], 'no status of success'],
    ['is another contract', () => [route(QuotePrice, { as: Twice as never })], 'another contract'],
    ['lifts downwards', () => [route(QuotePrice, { as: QuotePrice }), route(QuotePrice, { path: '/x', as: query('pricing.quote-price', { request: z.object({}), response: z.object({}) }) as never })], 'cannot be lifted'],
    ['accepts a query', () => [route(QuotePrice, { answer: 'accepted' })], 'always answered'],
    ['has an ETag of nothing', () => [route(CancelOrder, { etag: 'hash' })], 'needs an answer'],
    ['has an option that means nothing', () => [route(QuotePrice, { methode: 'GET' } as never)], 'did you mean "method"'],
  ]

  test.each(cases)('%s', (_what, routes, says) => {
    const rig = new GatewayRig()
    expect(() => rig.gateway({ routes: routes() as never })).toThrow(says)
  })

  test.each([
    [{ routes: undefined }, 'routes'], [{ basePath: '/api/' }, 'basePath'], [{ limits: { bodyBytesMax: 0 } }, 'bodyBytesMax'], [{ limits: { bytesMax: 1 } }, 'bodyBytesMax'],
    [{ challenge: 'a\nb' }, 'challenge'], [{ bases: 1 }, 'basePath'],
  ])('has %j', (wrong, says) => {
    const rig = new GatewayRig()
    expect(() => gateway({ bus: rig.front, routes: [], ...wrong } as never)).toThrow(says)
  })
})

test('a gateway is mounted below a path', async () => {
  await using rig = await new GatewayRig().started()
  const { fetch } = rig.gateway({ basePath: '/api' })
  expect([(await fetch(requestTo('/api/pricing/quote-price?sku=a'))).status, (await fetch(requestTo('/pricing/quote-price?sku=a'))).status]).toEqual([200, 404])
})

test('literal paths win over parameters, in whichever order they are given', async () => {
  await using rig = await new GatewayRig().started()
  const Newest = query('sales.newest-order', { request: z.object({}), response: z.object({ orderId: z.string() }) })
  const Show = query('sales.show-order', { request: z.object({ orderId: z.string() }), response: z.object({ orderId: z.string() }) })
  const answering = rig.bus()
  answering.answer(Newest, () => ({ orderId: 'newest' })).answer(Show, ({ data }) => ({ orderId: `shown ${data.orderId}` }))
  await answering.start()
  const { fetch } = rig.gateway({ routes: [route(Show, { path: '/orders/{orderId}' }), route(Newest, { path: '/orders/newest' })] })
  expect(await (await fetch(requestTo('/orders/newest'))).json()).toEqual({ orderId: 'newest' })
  expect(await (await fetch(requestTo('/orders/other'))).json()).toEqual({ orderId: 'shown other' })
})

test('a route that balances asks an instance of the directory, and says 503 and when to come again where nobody is up', async () => {
  await using rig = new GatewayRig()
  const front = rig.bus({ service: { name: 'edge' }, discovery: discovery() })
  const pricing = rig.bus({ service: { name: 'pricing' }, discovery: discovery({ instance: 'pricing-1' }) })
  pricing.answer(QuotePrice, ({ data }) => ({ cents: data.pieces, gift: false, tags: [] }))
  const effects: string[] = []
  pricing.handle(PlaceOrder, ({ id }) => ({ revision: effects.push(id) }))
  const { fetch } = rig.gateway({ bus: front, routes: [route(QuotePrice, { balance: 'least-pending' }), route(PlaceOrder, { balance: 'least-pending' })] })
  await front.start()
  const nobody = await fetch(requestTo('/pricing/quote-price?sku=a'))
  expect([nobody.status, nobody.headers.get('retry-after'), await nobody.json()]).toMatchObject([503, '1', { code: 'discovery.no_instance' }])
  await pricing.start()
  await rig.clock.advance(100)
  await rig.settled()
  expect(await (await fetch(requestTo('/pricing/quote-price?sku=a&pieces=3'))).json()).toMatchObject({ cents: 3 })
  const placed = await fetch(requestTo('/sales/place-order', { body: { orderId: 'o-1' }, headers: { 'idempotency-key': 'k-1' } }))
  expect([placed.status, await placed.json(), effects.length]).toEqual([200, { revision: 1 }, 1])
  expect(() => rig.gateway({ bus: front, routes: [route(CancelOrder, { balance: 'least-pending' })] })).toThrow(expect.objectContaining({ code: 'gateway.route_invalid' }))
})
