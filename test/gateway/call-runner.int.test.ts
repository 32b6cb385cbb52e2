import { rmSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { nats } from '../../src/adapters/nats/index.ts'
import { sqlite } from '../../src/adapters/sqlite/index.ts'
import { gateway } from '../../src/gateway/index.ts'
import { type Transport, createBus, silentLogger } from '../../src/index.ts'
import { natsServer } from '../servers/nats-server.ts'
import { privateFolder } from '../servers/server-process.ts'
import { Nothing, overBus, overHttp, questions } from './both-ways.ts'
import { PlaceOrder, QuotePrice, Slow } from './gateway-rig.ts'

interface Place extends AsyncDisposable {
  readonly transport: () => Transport
}

const PLACES: Readonly<Record<string, () => Promise<Place>>> = {
  sqlite: () => {
    const dir = privateFolder('both-ways')
    const close = (): Promise<void> => Promise.resolve(rmSync(dir, { recursive: true, force: true, maxRetries: 5, retryDelay: 50 }))
    return Promise.resolve({ transport: () => sqlite({ file: join(dir, 'bus.db') }).transport, [Symbol.asyncDispose]: close })
  },
  nats: async () => {
    const server = await natsServer()
    await server.start()
    return { transport: () => nats({ servers: server.url, namespace: 'ways' }), [Symbol.asyncDispose]: () => server.close() }
  },
}

describe.each(Object.entries(PLACES))('on %s', (_name, placeOf) => {
  test('HTTP and bus answer every question alike, and the handler sees the same data', { timeout: 60_000 }, async () => {
    await using place = await placeOf()
    const seen: unknown[] = []
    await using service = createBus({ service: { name: 'shop' }, transport: place.transport(), logger: silentLogger, defaults: { drainTimeoutMs: 200, retry: { attemptsMax: 1 } } })
    service.answer(QuotePrice, ({ data }) => {
      seen.push(data)
      const { sku, pieces, gift = false, tags = [] } = data
      if (sku === 'unicorn') throw QuotePrice.error('unknownSku', { sku })
      if (sku === 'broken') throw new RangeError('password=hunter2 at db.internal')
      return { cents: sku === 'bad-answer' ? 0.5 : 100 * pieces, gift, tags }
    })
    service.answer(Slow, () => new Promise(() => {}))
    service.handle(PlaceOrder, ({ data }) => {
      seen.push(data)
      if (data.orderId === 'closed') throw PlaceOrder.error('closed', { orderId: 'closed' })
      return { revision: data.lines.length }
    })
    service.handle(Nothing, ({ data }) => void seen.push(data))
    await using front = createBus({ service: { name: 'front' }, transport: place.transport(), logger: silentLogger })
    await service.start()
    await front.start()
    const ways = { front, timeoutMs: 700, passes: () => Promise.resolve(), gateway: (options: Pick<Parameters<typeof gateway>[0], 'limits' | 'routes'>) => gateway({ bus: front, logger: silentLogger, ...options }) }
    for (const [what, contract, data, kind] of questions) {
      seen.length = 0
      const [bus, http] = [await overBus(ways, contract, data), await overHttp(ways, contract, data)]
      expect([what, bus.kind, http]).toEqual([what, kind, bus])
      expect([what, seen[1]]).toEqual([what, seen[0]])
    }
  })
})
