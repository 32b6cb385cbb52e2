import { memory } from '../src/adapters/memory/index.ts'
import { postgres } from '../src/adapters/postgres/index.ts'
import { createBus, runSagas } from '../src/index.ts'
import { Answered, waiting } from './saga-waiting-work.ts'

// A fresh process over a database whose instances wait: how long its start takes, how much it holds then, and how soon it handles a message for one of them.

const store = postgres({ connectionString: process.env['TRUNKLINE_BENCH_URL'] ?? '' })
const bus = createBus({ service: { name: 'bench' }, transport: memory(), outbox: store.outbox })
const handled = Promise.withResolvers<void>()
const begunMs = performance.now()
runSagas({ bus, store, sagas: [waiting] }).observe(({ kind }) => {
  if (kind === 'changed') handled.resolve()
})
await bus.start()
const startMs = performance.now() - begunMs
// Whatever the start has left to do is done in a second.
await new Promise((resolve) => setTimeout(resolve, 1_000))
globalThis.gc?.()
const heapBytes = process.memoryUsage().heapUsed + process.memoryUsage().arrayBuffers
const sentMs = performance.now()
await bus.publish(Answered, { orderId: process.env['TRUNKLINE_BENCH_ORDER'] ?? '', cents: 0 })
await handled.promise
const firstMs = performance.now() - sentMs
await bus.stop()
process.stdout.write(JSON.stringify({ startMs, heapBytes, firstMs }))
