import { z } from 'zod'
import { type Bus, type BusOptions, type Logger, command, query, seededRandom, silentLogger } from '../../src/index.ts'
import { type Gateway, type GatewayOptions, gateway, route } from '../../src/gateway/index.ts'
import { BusRig } from '../bus/bus-rig.ts'

export const QuotePrice = query('pricing.quote-price', {
  description: 'What a number of pieces costs.',
  request: z.object({ sku: z.string().min(1), pieces: z.int().positive().default(1), gift: z.boolean().optional(), tags: z.array(z.string()).optional() }),
  response: z.object({ cents: z.int(), gift: z.boolean(), tags: z.array(z.string()) }),
  errors: { unknownSku: z.object({ sku: z.string() }) },
})
export const PlaceOrder = command('sales.place-order', {
  schema: z.object({ orderId: z.string(), lines: z.array(z.object({ sku: z.string(), pieces: z.int() })).default([]) }),
  response: z.object({ revision: z.int() }),
  errors: { closed: z.object({ orderId: z.string() }) },
})
export const CancelOrder = command('sales.cancel-order', { schema: z.object({ orderId: z.string(), revision: z.int() }) })
export const Slow = query('pricing.slow-quote', { request: z.object({}), response: z.object({}) })

/** What a handler saw of one message. */
export interface Seen {
  readonly id: string
  readonly correlationId: string
  readonly tenant: string | undefined
  readonly principal: string | undefined
  readonly data: unknown
  readonly deadlineInMs: number | undefined
}

/** A gateway on one bus and the services that answer on another. */
export class GatewayRig extends BusRig {
  readonly seen: Seen[] = []
  readonly service: Bus
  readonly front: Bus
  readonly lines: { readonly fields: object; readonly text: string | undefined }[] = []

  constructor(options: Partial<BusOptions> = {}) {
    super()
    // What is deferred runs by itself, so that a response can be awaited; time still stands.
    this.clock.defer = (callback) => {
      setImmediate(callback)
    }
    this.service = this.bus({ service: { name: 'shop' }, ...options })
    this.front = this.bus({ service: { name: 'front' } })
  }

  /** Notes what a handler got. */
  note(message: { readonly id: string; readonly correlationId: string; readonly tenant: string | undefined; readonly headers: Readonly<Record<string, string>>; readonly data: unknown }, deadlineAtMs: number | undefined): void {
    const { id, correlationId, tenant, headers, data } = message
    this.seen.push({ id, correlationId, tenant, principal: headers['principal'], data, deadlineInMs: deadlineAtMs === undefined ? undefined : deadlineAtMs - this.clock.nowMs() })
  }

  /** Lets everything happen that needs no time. */
  async settled(): Promise<void> {
    for (let turn = 0; turn < 50; turn++) await new Promise((resolve) => setImmediate(resolve))
  }

  /** Subscribes the usual handlers and starts both buses. */
  async started(): Promise<this> {
    this.service.answer(QuotePrice, (message, { deadlineAtMs }) => {
      this.note(message, deadlineAtMs)
      const { sku, pieces, gift = false, tags = [] } = message.data
      if (sku === 'unicorn') throw QuotePrice.error('unknownSku', { sku })
      if (sku === 'broken') throw new RangeError('password=hunter2 at db.internal')
      if (sku === 'bad-answer') return { cents: 0.5, gift, tags }
      return { cents: 100 * pieces, gift, tags }
    })
    this.service.answer(Slow, () => new Promise(() => {}))
    this.service.handle(PlaceOrder, (message, { deadlineAtMs }) => {
      this.note(message, deadlineAtMs)
      if (message.data.orderId === 'closed') throw PlaceOrder.error('closed', { orderId: 'closed' })
      return { revision: message.data.lines.length }
    })
    this.service.handle(CancelOrder, (message, { deadlineAtMs }) => this.note(message, deadlineAtMs))
    await this.service.start()
    await this.front.start()
    return this
  }

  gateway(options: Partial<GatewayOptions> = {}): Gateway {
    const logger: Logger = { ...silentLogger, warn: (fields: object | string, text?: string) => this.lines.push({ fields: typeof fields === 'string' ? {} : fields, text }), child: () => logger }
    return gateway({
      bus: this.front, clock: this.clock, random: seededRandom(77), logger,
      routes: [
        route(QuotePrice, { errors: { unknownSku: 404 } }),
        route(PlaceOrder, { method: 'PUT', path: '/orders/{orderId}', errors: { closed: 409 } }),
        route(CancelOrder, { method: 'DELETE', path: '/orders/{orderId}', ifMatch: 'revision' }),
        Slow,
      ],
      ...options,
    })
  }
}

/** A request to a gateway, the body as JSON. */
export function requestTo(path: string, init: { readonly method?: string; readonly body?: unknown; readonly headers?: Readonly<Record<string, string>>; readonly signal?: AbortSignal } = {}): Request {
  const { method = init.body === undefined ? 'GET' : 'POST', body, headers, signal } = init
  return new Request(`http://shop.test${path}`, {
    method,
    ...(signal === undefined ? {} : { signal }),
    headers: { ...(body === undefined ? {} : { 'content-type': 'application/json' }), ...headers },
    ...(body === undefined ? {} : { body: typeof body === 'string' ? body : JSON.stringify(body) }),
  })
}
