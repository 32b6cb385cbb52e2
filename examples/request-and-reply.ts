// Request and reply: a question with a typed answer, or with a typed error.
//
// A query is answered by one running instance. Errors that belong to the contract reach the asker with their
// data; everything else is `bus.answer_failed`. Every ask has a time limit, and nobody waits for ever.

import { createBus, isTrunklineError, query } from 'trunkline'
import { memory, memoryBroker } from 'trunkline/memory'
import { z } from 'zod'

const QuotePrice = query('pricing.quote-price', {
  request: z.object({ sku: z.string(), pieces: z.int().positive() }),
  response: z.object({ cents: z.int() }),
  errors: { unknownSku: z.object({ sku: z.string() }) },
})

const PRICES: ReadonlyMap<string, number> = new Map([['lantern', 339], ['umbrella', 595]])

const broker = memoryBroker()
const pricing = createBus({ service: { name: 'pricing' }, transport: memory({ broker }) })
pricing.answer(QuotePrice, async ({ data }, { signal }) => {
  const cents = PRICES.get(data.sku)
  if (cents === undefined) throw QuotePrice.error('unknownSku', { sku: data.sku })
  // Nobody has that many; the signal ends the search when the asker's time is over.
  if (data.pieces > 1_000) await new Promise((resolve) => signal.addEventListener('abort', resolve))
  return { cents: cents * data.pieces }
})
const shop = createBus({ service: { name: 'shop' }, transport: memory({ broker }) })
await pricing.start()
await shop.start()

const { cents } = await shop.ask(QuotePrice, { sku: 'lantern', pieces: 3 })
console.log(`three lanterns: ${cents} cents`)

try {
  await shop.ask(QuotePrice, { sku: 'unicorn', pieces: 1 })
} catch (error) {
  const declared = QuotePrice.errorIn(error)
  console.log(`declared error ${declared?.name} for ${declared?.data.sku}`)
}

try {
  // The asker may give up earlier than its time limit.
  await shop.ask(QuotePrice, { sku: 'umbrella', pieces: 2_000 }, { timeoutMs: 500, signal: AbortSignal.timeout(50) })
} catch (error) {
  console.log(`given up: ${isTrunklineError(error) ? error.code : 'unknown'}`)
}

await pricing.stop()
try {
  await shop.ask(QuotePrice, { sku: 'lantern', pieces: 1 })
} catch (error) {
  console.log(`nobody there: ${isTrunklineError(error) ? error.code : 'unknown'}`)
}
await shop.stop()
