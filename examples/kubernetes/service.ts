// A service as a container runs it: HTTP in front of its own bus, health endpoints, and an end that loses no request.
//
// When the pod is to go, readiness goes down at once and the requests of the notice time are still answered; then the server takes no
// more, those under way end, the bus drains, and the process ends with 0. Everything is set by the environment.

import process from 'node:process'
import { createBus, query } from 'trunkline'
import { gateway, route, serve, shutDownOnSignal } from 'trunkline/gateway'
import { memory } from 'trunkline/memory'
import { nats } from 'trunkline/nats'
import { z } from 'zod'

const settings = z.object({
  HOST: z.string().default('127.0.0.1'),
  PORT: z.coerce.number().int().default(8080),
  NATS_URL: z.string().optional(),
  /** How long one answer takes, to be seen at work. */
  ANSWER_MS: z.coerce.number().int().default(0),
  /** Longer than endpoints and load balancers need to notice that the pod is not ready any more. */
  NOTICE_MS: z.coerce.number().int().default(5_000),
  /** Longer than the longest request. */
  GRACE_MS: z.coerce.number().int().default(10_000),
}).parse(process.env)

const QuoteFreight = query('freight.quote-freight', {
  description: 'What it costs to ship an order.',
  request: z.object({ orderId: z.string(), grams: z.int().positive().default(500) }),
  response: z.object({ cents: z.int() }),
})

const transport = settings.NATS_URL === undefined ? memory() : nats({ servers: settings.NATS_URL })
const bus = createBus({ service: { name: 'freight', version: '1.0.0' }, transport })
bus.answer(QuoteFreight, async ({ data }) => {
  console.log(`quoting ${data.orderId}`)
  await new Promise((resolve) => setTimeout(resolve, settings.ANSWER_MS))
  return { cents: 390 + Math.ceil(data.grams / 10) }
})

const api = gateway({
  bus,
  routes: [route(QuoteFreight, { path: '/orders/{orderId}/freight' })],
  document: { title: 'Freight', version: '1.0.0' },
})
// The server first: a pod whose broker is away answers that it lives, and that it is not ready.
const server = await serve(api, { host: settings.HOST, port: settings.PORT })
shutDownOnSignal({ gateway: api, server, bus, noticeMs: settings.NOTICE_MS, graceMs: settings.GRACE_MS })
await bus.start()
console.log(`listening on ${server.url}`)
