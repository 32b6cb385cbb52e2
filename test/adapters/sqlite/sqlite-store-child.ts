// A process that uses the store on a file, for tests that kill it.
// Usage: sqlite-store-child.ts FILE ROLE [ARGUMENTS]; it writes one JSON value a line.
import { writeSync } from 'node:fs'
import { z } from 'zod'
import { sqlite } from '../../../src/adapters/sqlite/index.ts'
import type { Sqlite } from '../../../src/adapters/sqlite/index.ts'
import type { UnitRequest } from '../../../src/bus/port.ts'
import { command, createBus, event, fact } from '../../../src/index.ts'

const [, , file = '', role = '', ...words] = process.argv

const Order = command('shop.place-order', { schema: z.object({ orderId: z.string() }), key: (order) => order.orderId })
const Placed = event('shop.order-placed', { schema: z.object({ orderId: z.string() }), key: (order) => order.orderId })
const Reminded = event('shop.order-reminded', { schema: z.object({ orderId: z.string() }), key: (order) => order.orderId })

function say(what: string, parts: object = {}): void {
  // At once and whole: the next thing that happens may be the end of the process.
  writeSync(1, `${JSON.stringify({ what, ...parts })}\n`)
}

/** One unit with one thing of every kind. Asynchronous ones keep the transaction open meanwhile. */
async function unit(store: Sqlite, id: string, isSlow: boolean): Promise<void> {
  await store.transaction(async ({ tx, append, publish, schedule }) => {
    tx.prepare('INSERT INTO purchase VALUES (?)').run(id)
    if (isSlow) await new Promise<void>((resolve) => setImmediate(resolve))
    await append(`order-${id}`, 'noStream', [fact(Placed, { orderId: id })])
    publish(Placed, { orderId: id })
    await schedule(Reminded, { orderId: id }, { id: `reminder-${id}`, afterMs: 3_600_000 })
  })
}

/** Runs units side by side until it is killed, and says which were committed. */
async function flood(): Promise<void> {
  const store = sqlite({ file })
  await store.open({ service: 'shop' })
  say('ready')
  for (let turn = 0; ; turn++) {
    await Promise.all(
      Array.from({ length: 16 }, async (_, at) => {
        const id = `${process.pid}.${turn}.${at}`
        await unit(store, id, at % 4 === 0)
        say('committed', { id })
      }),
    )
  }
}

/** A service whose handler writes a row, publishes and schedules; with `die`, it ends itself right after the commit and before the ack. */
async function serve(): Promise<void> {
  const store = sqlite({ file })
  const bus = createBus({ service: { name: 'shop' }, transport: store.transport, outbox: store.outbox })
  let attempts = 0
  bus.handle(Order, { within: store }, async ({ data }, { tx, publish, schedule }) => {
    attempts++
    tx.prepare('INSERT INTO purchase VALUES (?)').run(data.orderId)
    publish(Placed, { orderId: data.orderId })
    await schedule(Reminded, { orderId: data.orderId }, { id: `reminder-${data.orderId}`, afterMs: 200 })
    say('handled', { id: data.orderId, attempt: attempts })
  })
  bus.on([Placed, Reminded], { group: 'watch', within: store }, ({ type, data }, { tx }) => {
    tx.prepare('INSERT INTO seen VALUES (?, ?)').run(type, data.orderId)
  })
  if (words.includes('die')) {
    // What the bus calls next after the commit is the ack.
    const run = store.run.bind(store)
    Object.defineProperty(store, 'run', {
      value: async (request: UnitRequest) => {
        const outcome = await run(request)
        if (request.message.type === Order.type && outcome.kind === 'done') {
          say('dies')
          process.kill(process.pid, 'SIGKILL')
        }
        return outcome
      },
    })
  }
  await bus.start()
  const id = words[0] ?? ''
  if (words.includes('send')) await bus.send(Order, { orderId: id }, { id })
  say('ready')
}

const roles: Readonly<Record<string, () => Promise<void>>> = { flood, serve }
await roles[role]?.()
