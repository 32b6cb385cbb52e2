// Event sourcing: an account is the events that happened to it.
//
// A decider says what happens for a command, as pure functions that are tested without a store. A projection folds the
// events into rows that can be queried. Events of a contract that is public reach the bus with the commit.

import { type Unit, category, createBus, decider, event, fact, project, projection } from 'trunkline'
import { type MemoryTransaction, memory, memoryStore } from 'trunkline/memory'
import { given } from 'trunkline/testing'
import { z } from 'zod'

const Opened = event('bank.account-opened', { schema: z.object({ owner: z.string() }), visibility: 'public' })
const Moved = event('bank.money-moved', { schema: z.object({ cents: z.int() }) })

type Command = { readonly do: 'open'; readonly owner: string } | { readonly do: 'move'; readonly cents: number }

const account = decider({
  category: 'account',
  events: [Opened, Moved],
  initialState: () => ({ isOpen: false, cents: 0 }),
  decide: (command: Command, state) => {
    if (command.do === 'open') return state.isOpen ? undefined : fact(Opened, { owner: command.owner })
    if (!state.isOpen) throw new RangeError('no such account')
    if (state.cents + command.cents < 0) throw new RangeError('not enough money')
    return fact(Moved, { cents: command.cents })
  },
  evolve: (state, happened) => (happened.type === 'bank.account-opened' ? { ...state, isOpen: true } : { ...state, cents: state.cents + happened.data.cents }),
  snapshot: { everyEvents: 100 },
})

given(account, fact(Opened, { owner: 'ann' }), fact(Moved, { cents: 5 })).when({ do: 'move', cents: -5 }).thenDecides(fact(Moved, { cents: -5 }))
given(account, fact(Opened, { owner: 'ann' })).when({ do: 'move', cents: -5 }).thenRefused('not enough money')

const store = memoryStore()
const bus = createBus({ service: { name: 'bank' }, transport: memory(), outbox: store.outbox })
const welcomed = Promise.withResolvers<void>()
bus.on(Opened, { group: 'welcome' }, ({ data }) => {
  console.log(`welcome, ${data.owner}`)
  welcomed.resolve()
})
await bus.start()

await store.events.execute(account, '1', { do: 'open', owner: 'ann' })
await welcomed.promise
// Ten at once: each decides on what it finds, and anew where another was faster.
await Promise.all(Array.from({ length: 10 }, () => store.events.execute(account, '1', { do: 'move', cents: 10 })))
const { state, revision } = await store.events.load(account, '1')
console.log(`${state.cents} cents after ${revision} movements`)
try {
  await store.events.execute(account, '1', { do: 'move', cents: -101 })
} catch (error) {
  console.log(`refused: ${error instanceof Error ? error.message : 'unknown'}`)
}

const live = Promise.withResolvers<number>()
const balances = projection({
  name: 'balances',
  version: 1,
  contracts: [Moved],
  from: category('account'),
  apply: ({ stream, data }, { tx, version }: Unit<MemoryTransaction> & { readonly version: number }) => {
    const table = tx.table<number>(`balances_v${version}`)
    table.set(stream, (table.get(stream) ?? 0) + data.cents)
  },
  onLive: live.resolve,
})
project(store.events, balances)
const version = await live.promise
const rows = await store.transaction(({ tx }) => tx.table<number>(`balances_v${version}`).entries())
console.log(`balances_v${version}: ${JSON.stringify(rows)}`)

for await (const happened of store.events.read('account-1', [Opened, Moved], { limit: 2 })) console.log(`${happened.stream}/${happened.revision}: ${happened.type}`)
await bus.stop()
