import { Validator } from '@seriousme/openapi-schema-validator'
import { describe, expect, test } from 'vitest'
import { z } from 'zod'
import { command, query } from '../../src/index.ts'
import { type GatewayOptions, route } from '../../src/gateway/index.ts'
import { CancelOrder, GatewayRig, PlaceOrder, QuotePrice, requestTo } from './gateway-rig.ts'

type Json = { readonly [name: string]: Json } & { readonly $ref?: string; readonly length?: number }

interface Tree { readonly name: string; readonly children: readonly Tree[] }
const tree: z.ZodType<Tree> = z.object({ name: z.string(), get children() { return z.array(tree) } })
const Plant = command('garden.plant-tree', { schema: z.object({ tree }), response: z.object({ planted: tree }), errors: { dry: z.object({ tree }) } })
const Money = z.object({ cents: z.int() }).meta({ id: 'Money' })
const Find = query('garden.find-trees', { request: z.object({ min: z.int().nullable().default(null), kind: z.enum(['oak', 'ash']).optional(), from: z.union([z.int(), z.literal('start')]).optional() }), response: z.array(z.object({ price: Money })) })
const Old = command('sales.ship-order', { schema: z.object({ orderId: z.string() }), response: z.object({ ok: z.boolean() }) })
const New = command('sales.ship-order', { version: 2, schema: z.object({ orderId: z.string(), grams: z.int() }), response: z.object({ ok: z.boolean() }), upcast: { 1: (old: { orderId: string }) => ({ ...old, grams: 1 }) } })

const routes: GatewayOptions['routes'] = [
  route(QuotePrice, { errors: { unknownSku: 404 }, etag: 'hash', summary: 'Quote a price', isPublic: true }),
  route(QuotePrice, { path: '/prices/{sku}' }),
  route(PlaceOrder, { method: 'PUT', path: '/orders/{orderId}', errors: { closed: 409 }, idempotencyKey: 'required' }),
  route(CancelOrder, { method: 'DELETE', path: '/orders/{orderId}', ifMatch: 'revision' }),
  Plant, Find,
  route(Old, { path: '/v1/ship', as: New }), route(New, { path: '/v2/ship' }),
]
const document = { title: 'Shop', version: '1.2.3', description: 'All of it.', servers: ['https://api.example.com'] }

/** The document as JSON, which is what callers get. */
function documentOf(options: Partial<GatewayOptions> = {}): Json {
  return JSON.parse(JSON.stringify(new GatewayRig().gateway({ routes, document, ...options }).openApi()))
}

/** References of a document that lead nowhere. */
function lost(root: Json): readonly string[] {
  const references = [...JSON.stringify(root).matchAll(/"\$ref":"([^"]+)"/g)].map((match) => match[1] ?? '')
  return references.filter((reference) => reference.slice(2).split('/').reduce<Json | undefined>((at, part) => at?.[part.replaceAll('~1', '/').replaceAll('~0', '~')], root) === undefined)
}

describe('the document', () => {
  test.each<readonly [string, Partial<GatewayOptions>]>([
    ['as it is', {}], ['of callers who have to be known', { authenticate: () => ({ id: 'a' }) }], ['with another scheme', { authenticate: () => undefined, challenge: 'Basic realm="x"' }],
    ['below a path', { basePath: '/api' }], ['without routes', { routes: [] }], ['with problems of its own', { problemBase: 'https://example.com/p/' }],
  ])('%s is accepted by a validator, and all its references lead somewhere', async (_what, options) => {
    const root = documentOf(options)
    expect(await new Validator().validate(JSON.parse(JSON.stringify(root)))).toMatchObject({ valid: true })
    expect(lost(root)).toEqual([])
  })

  test('is refused by the validator when it is bent, which so looks at it', async () => {
    const bent = { ...documentOf(), paths: { '/x': { get: { responses: { 200: {} } } } } }
    expect(await new Validator().validate(bent)).toMatchObject({ valid: false })
    expect(lost(JSON.parse('{"a":{"$ref":"#/components/schemas/x"}}'))).toEqual(['#/components/schemas/x'])
  })

  test('tells parameters with their types, and what a body has left', () => {
    const { paths } = documentOf() as unknown as { readonly paths: Record<string, Record<string, { readonly operationId: string; readonly parameters: readonly { readonly name: string; readonly in: string; readonly required: boolean; readonly schema: object }[]; readonly requestBody?: { readonly required: boolean } }>> }
    const get = paths['/pricing/quote-price']?.['get']
    expect(get?.parameters.filter((one) => one.in === 'query')).toMatchObject([
      { name: 'sku', required: true, schema: { type: 'string', minLength: 1 } }, { name: 'pieces', required: false, schema: { type: 'integer' } },
      { name: 'gift', schema: { type: 'boolean' } }, { name: 'tags', schema: { type: 'array', items: { type: 'string' } } },
    ])
    expect(paths['/prices/{sku}']?.['get']?.parameters.filter((one) => one.in === 'path')).toMatchObject([{ name: 'sku', required: true }])
    expect([get?.operationId, paths['/prices/{sku}']?.['get']?.operationId]).toEqual(['pricing.quote-price.v1', 'pricing.quote-price.v1.2'])
    expect(paths['/orders/{orderId}']?.['put']?.parameters.find((one) => one.name === 'Idempotency-Key')?.required).toBe(true)
    expect(paths['/orders/{orderId}']?.['delete']).toMatchObject({ parameters: expect.arrayContaining([expect.objectContaining({ name: 'If-Match', required: true })]) })
    expect(paths['/orders/{orderId}']?.['delete']?.requestBody).toBeUndefined()
  })

  test('tells declared errors as problems of their own, with their statuses', () => {
    const root = documentOf()
    const answers = root['paths']?.['/pricing/quote-price']?.['get']?.['responses']
    expect(answers?.['404']).toMatchObject({ content: { 'application/problem+json': { schema: { $ref: '#/components/schemas/pricing.quote-price.v1.unknownSku' } } } })
    expect(root['components']?.['schemas']?.['pricing.quote-price.v1.unknownSku']).toMatchObject({
      allOf: [{ $ref: '#/components/schemas/problem' }, { properties: { type: { const: 'urn:trunkline:problem:pricing.quote-price:unknownSku' }, name: { const: 'unknownSku' } } }],
    })
    expect(answers?.['default']).toMatchObject({ content: { 'application/problem+json': { schema: { $ref: '#/components/schemas/problem' } } } })
  })
})

test('the document is served where it is wanted, with an ETag, and to everybody', async () => {
  await using rig = new GatewayRig()
  const { fetch } = rig.gateway({ routes, document, authenticate: () => undefined })
  const first = await fetch(requestTo('/openapi.json'))
  expect([first.status, first.headers.get('content-type'), await first.json()]).toMatchObject([200, 'application/json', { openapi: '3.1.0', info: { title: 'Shop', version: '1.2.3' } }])
  expect((await fetch(requestTo('/openapi.json', { headers: { 'if-none-match': first.headers.get('etag') ?? '' } }))).status).toBe(304)
  expect((await rig.gateway({ routes }).fetch(requestTo('/openapi.json'))).status).toBe(404)
  expect((await rig.gateway({ routes, document: { ...document, path: '/docs/api.json' } }).fetch(requestTo('/docs/api.json'))).status).toBe(200)
})

test('every answer that the services give fits what the document says of it', async () => {
  await using rig = await new GatewayRig().started()
  const { fetch } = rig.gateway({ routes, document })
  const declared = await fetch(requestTo('/pricing/quote-price?sku=unicorn'))
  const told = documentOf()['paths']?.['/pricing/quote-price']?.['get']?.['responses']
  for (const response of [declared, await fetch(requestTo('/pricing/quote-price?sku=a')), await fetch(requestTo('/pricing/quote-price'))]) {
    const media = response.headers.get('content-type') ?? ''
    expect(told?.[`${response.status}`]?.['content']?.[media]).toBeDefined()
  }
})
