import { ServiceBroker } from 'moleculer'
import { nats } from '../src/adapters/nats/index.ts'
import { discovery } from '../src/discovery/index.ts'
import { createBus, silentLogger } from '../src/index.ts'
import { Quote, SLOW_SKU, moleculerParams, quote } from './payload.ts'

// Ten instances that answer the same question, each with a connection of its own, in one process: either the library's or Moleculer's. The last one is slow.

const { kind, url, instances, slowMs } = JSON.parse(process.argv[2] ?? '{}') as { readonly kind: 'trunkline' | 'moleculer'; readonly url: string; readonly instances: number; readonly slowMs: number }

const isSlow = (index: number): boolean => index === instances - 1

async function slowQuote(): Promise<typeof quote> {
  await new Promise((resolve) => setTimeout(resolve, slowMs))
  return { ...quote, sku: SLOW_SKU }
}

async function startOurs(index: number): Promise<void> {
  const bus = createBus({ service: { name: 'pricing' }, transport: nats({ servers: url }), discovery: discovery({ instance: `pricing-${index}` }), logger: silentLogger })
  bus.answer(Quote, () => (isSlow(index) ? slowQuote() : quote))
  await bus.start()
}

async function startTheirs(index: number): Promise<void> {
  const broker = new ServiceBroker({ nodeID: `pricing-${index}`, transporter: { type: 'NATS', options: { servers: url } }, logger: false })
  broker.createService({ name: 'pricing', actions: { quote: { params: moleculerParams, handler: () => (isSlow(index) ? slowQuote() : quote) } } })
  await broker.start()
}

await Promise.all(Array.from({ length: instances }, (_, index) => (kind === 'trunkline' ? startOurs(index) : startTheirs(index))))
process.on('disconnect', () => process.exit(0))
process.send?.('ready')
