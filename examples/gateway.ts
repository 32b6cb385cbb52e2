// HTTP in front of the bus: contracts become routes, declared errors become problems, and events a stream that can be resumed.
//
// `api.fetch` takes a web Request, so that every framework can mount it; here a server of Node's own serves it on this machine.

import { command, createBus, event, fact, query } from 'trunkline'
import { gateway, route, serve, storedKeys, stream } from 'trunkline/gateway'
import { memory, memoryStore } from 'trunkline/memory'
import { z } from 'zod'

const QuotePrice = query('pricing.quote-price', {
  request: z.object({ sku: z.string(), pieces: z.int().positive().default(1) }),
  response: z.object({ cents: z.int() }),
  errors: { unknownSku: z.object({ sku: z.string() }) },
})
const PlaceOrder = command('sales.place-order', { schema: z.object({ orderId: z.string(), sku: z.string() }), response: z.object({ number: z.int() }) })
const OrderPlaced = event('sales.order-placed', { visibility: 'public', schema: z.object({ orderId: z.string() }) })

const store = memoryStore()
const bus = createBus({ service: { name: 'shop' }, transport: memory(), outbox: store.outbox })
bus.answer(QuotePrice, ({ data }) => {
  if (data.sku !== 'lantern') throw QuotePrice.error('unknownSku', { sku: data.sku })
  return { cents: 339 * data.pieces }
})
let orders = 0
bus.handle(PlaceOrder, async ({ data }) => {
  await store.events.append(`order-${data.orderId}`, 'noStream', [fact(OrderPlaced, { orderId: data.orderId })])
  return { number: ++orders }
})

const api = gateway({
  bus,
  routes: [
    route(QuotePrice, { path: '/prices/{sku}', errors: { unknownSku: 404 }, etag: 'hash' }),
    route(PlaceOrder, { method: 'PUT', path: '/orders/{orderId}' }),
    stream(OrderPlaced, { path: '/orders/events', from: store.events, start: 'beginning' }),
  ],
  idempotency: storedKeys(store.events),
  document: { title: 'Shop', version: '1.0.0' },
})
await bus.start()
const server = await serve(api, { port: 0 })

const price = await fetch(`${server.url}/prices/lantern?pieces=3`)
console.log(price.status, await price.json())

const unknown = await fetch(`${server.url}/prices/unicorn`)
const problem = await unknown.json() as { readonly title: string; readonly data: object }
console.log(unknown.status, unknown.headers.get('content-type'), problem.title, problem.data)

for (const attempt of ['first', 'repeated']) {
  // The same key and the same body: it is done once, and answered the same way.
  const placed = await fetch(`${server.url}/orders/o-1`, {
    method: 'PUT', body: JSON.stringify({ sku: 'lantern' }), headers: { 'content-type': 'application/json', 'idempotency-key': '"a7c1"' },
  })
  console.log(attempt, placed.status, await placed.json(), placed.headers.get('idempotency-replayed'))
}

const leaving = new AbortController()
const events = await fetch(`${server.url}/orders/events`, { signal: leaving.signal })
for await (const part of events.body?.pipeThrough(new TextDecoderStream()) ?? []) {
  const data = /^data: (.*)$/m.exec(part)?.[1]
  if (data === undefined) continue
  console.log('event', JSON.parse(data).type, JSON.parse(data).data)
  break
}
leaving.abort()

const document = await (await fetch(`${server.url}/openapi.json`)).json() as { readonly openapi: string; readonly paths: object }
console.log('OpenAPI', document.openapi, Object.keys(document.paths).join(' '))

api.drain()
await server.close()
await bus.stop()
