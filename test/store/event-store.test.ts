import { describe, expect, test } from 'vitest'
import { z } from 'zod'
import { EventDeadLettered, category, decider, event, fact, stream } from '../../src/index.ts'
import { rejection } from '../bus/bus-rig.ts'
import { StoreRig, listed } from '../outbox/store-rig.ts'

const Opened = event('bank.account-opened', { schema: z.object({ owner: z.string() }), visibility: 'public', key: (data) => data.owner })
const Moved = event('bank.money-moved', {
  version: 2,
  schema: z.object({ cents: z.int(), currency: z.string().default('GBP') }),
  upcast: { 1: (old: { cents: number }) => ({ ...old, currency: 'GBP' }) },
})
const OldMoved = event('bank.money-moved', { schema: z.object({ cents: z.int() }) })
const Other = event('bank.other-thing', { schema: z.object({}) })

interface Account {
  readonly owner: string | undefined
  readonly cents: number
}

type AccountCommand = { readonly do: 'open'; readonly owner: string } | { readonly do: 'move'; readonly cents: number }

const account = decider({
  category: 'account',
  events: [Opened, Moved],
  initialState: (): Account => ({ owner: undefined, cents: 0 }),
  decide: (command: AccountCommand, state) => {
    if (command.do === 'open') return state.owner === undefined ? fact(Opened, { owner: command.owner }) : undefined
    if (state.cents + command.cents < 0) throw new RangeError('not enough money')
    return [fact(Moved, { cents: command.cents })]
  },
  evolve: (state, happened) => (happened.type === 'bank.account-opened' ? { ...state, owner: happened.data.owner } : { ...state, cents: state.cents + happened.data.cents }),
  snapshot: { everyEvents: 10 },
})

async function opened(rig: StoreRig): Promise<ReturnType<StoreRig['store']>> {
  const store = rig.store()
  await store.open({ service: 'bank', clock: rig.clock })
  rig.closing(() => store.close())
  return store
}

describe('a stream', () => {
  test('is appended at the revision that was expected, and read back with its types', async () => {
    await using rig = new StoreRig()
    const { events } = await opened(rig)
    expect(await events.append('account-1', 'noStream', [fact(Opened, { owner: 'ann' }), fact(Moved, { cents: 5 })])).toMatchObject({ revision: 1n, isRepeated: false })
    expect(await rejection(events.append('account-1', 0n, [fact(Moved, { cents: 7 })]))).toMatchObject({ code: 'store.wrong_revision', details: { actual: '1' } })
    await events.append('account-1', 1n, [fact(Moved, { cents: 7 })])
    const read = await listed(events.read('account-1', [Opened, Moved]))
    expect(read.map((one) => (one.type === 'bank.money-moved' ? one.data.cents : one.data.owner))).toEqual(['ann', 5, 7])
    expect((await listed(events.read('account-1', [Moved], { direction: 'backwards', limit: 1 }))).map(({ revision, data }) => [revision, data])).toEqual([[2n, { cents: 7, currency: 'GBP' }]])
  })

  test('appended twice with the same ids holds its events once', async () => {
    await using rig = new StoreRig()
    const { events } = await opened(rig)
    const facts = [fact(Opened, { owner: 'ann' }, { id: 'e1' }), fact(Moved, { cents: 5 }, { id: 'e2' })]
    const first = await events.append('account-1', 'noStream', facts)
    await events.append('account-1', 1n, [fact(Moved, { cents: 9 })])
    expect(await events.append('account-1', 'noStream', facts)).toEqual({ ...first, isRepeated: true })
    expect(await listed(events.read('account-1', [Opened, Moved]))).toHaveLength(3)
  })

  test('lifts old events to the version of the contract', async () => {
    await using rig = new StoreRig()
    const { events } = await opened(rig)
    await events.append('account-1', 'noStream', [fact(OldMoved, { cents: 5 })])
    expect(await listed(events.read('account-1', [Moved]))).toMatchObject([{ version: 1, data: { cents: 5, currency: 'GBP' } }])
  })

  test.each(['', 'account', '-1', '$system-1', 'account-\n', `account-${'x'.repeat(300)}`])('cannot be called %j', async (name) => {
    await using rig = new StoreRig()
    const { events } = await opened(rig)
    expect(await rejection(events.append(name, 'noStream', [fact(Other, {})]))).toMatchObject({ code: 'core.option_invalid' })
  })

  test('refuses what does not fit its contract before anything is stored', async () => {
    await using rig = new StoreRig()
    const { events } = await opened(rig)
    expect(await rejection(events.append('account-1', 'noStream', [fact(Other, {}), fact(Moved, { cents: 0.5 })]))).toMatchObject({ code: 'contract.payload_invalid' })
    expect(await listed(events.read('account-1', [Other]))).toEqual([])
  })
})

describe('a decider', () => {
  test('decides on what happened, and anew where somebody was faster', async () => {
    await using rig = new StoreRig()
    const { events } = await opened(rig)
    await events.execute(account, '1', { do: 'open', owner: 'ann' })
    const moves = [...Array(20).keys()].map((cents) => events.execute(account, '1', { do: 'move', cents }))
    await rig.clock.advance(10_000)
    await Promise.all(moves)
    expect((await events.load(account, '1')).state).toEqual({ owner: 'ann', cents: 190 })
    expect(await rejection(events.execute(account, '1', { do: 'move', cents: -191 }))).toMatchObject({ message: 'not enough money' })
    expect((await events.execute(account, '1', { do: 'move', cents: -190 })).state).toEqual({ owner: 'ann', cents: 0 })
    expect((await events.execute(account, '1', { do: 'open', owner: 'bob' })).facts).toEqual([])
  })

  test('keeps snapshots, and does not read what they hold again', async () => {
    await using rig = new StoreRig()
    const { events } = await opened(rig)
    for (let index = 0; index < 25; index++) await events.execute(account, '1', { do: 'move', cents: 1 })
    const { state, count, revision } = await events.load(account, '1')
    expect(state.cents).toBe(25)
    expect(revision).toBe(24n)
    expect(count).toBeLessThan(15)
  })

  test('within a unit of work commits with the rest, and the unit runs again after a conflict', async () => {
    await using rig = new StoreRig()
    const store = await opened(rig)
    await store.transaction(async ({ execute, load, tx }) => {
      await execute(account, '1', { do: 'move', cents: 3 })
      tx.table<number>('sums').set('1', (await load(account, '1')).state.cents)
    })
    expect(rig.database.rows('sums').get('1')).toBe(3)
    expect((await store.events.load(account, '1')).state.cents).toBe(3)
    await rejection(store.transaction(async ({ execute }) => {
      await execute(account, '1', { do: 'move', cents: 3 })
      throw new TypeError('no')
    }))
    expect((await store.events.load(account, '1')).state.cents).toBe(3)
  })

  test('refuses a stream that holds what it does not know', async () => {
    await using rig = new StoreRig()
    const { events } = await opened(rig)
    await events.append('account-1', 'noStream', [fact(Other, {})])
    expect(await rejection(events.load(account, '1'))).toMatchObject({ code: 'store.event_unreadable' })
  })
})

describe('a subscription to stored events', () => {
  test('handles what was there and what comes, once, with its checkpoint in the same transaction', async () => {
    await using rig = new StoreRig()
    const first = await opened(rig)
    for (let index = 0; index < 30; index++) await first.events.append(`account-${index % 3}`, 'any', [fact(Moved, { cents: index }), fact(Other, {})])
    const seen: number[] = []
    let caughtUp = 0
    const subscription = first.events.subscribe({ name: 'sums', from: category('account'), contracts: [Moved], batchMax: 7, onCaughtUp: () => void caughtUp++ }, ({ data }, { tx }) => {
      seen.push(data.cents)
      const sums = tx.table<number>('sums')
      sums.set('all', (sums.get('all') ?? 0) + data.cents)
    })
    await rig.clock.advance(1_000)
    expect(seen).toEqual([...Array(30).keys()])
    expect(subscription.state).toBe('live')
    expect(caughtUp).toBeGreaterThan(0)
    await first.events.append('account-1', 'any', [fact(Moved, { cents: 1_000 })])
    await first.events.append('other-1', 'any', [fact(Moved, { cents: 5_000 })])
    await rig.clock.advance(1_000)
    expect(rig.database.rows('sums').get('all')).toBe(1_435)
    await rig.settling(first.close())
    const second = await opened(rig)
    second.events.subscribe({ name: 'sums', from: category('account'), contracts: [Moved] }, () => void seen.push(-1))
    await rig.clock.advance(60_000)
    expect(seen).not.toContain(-1)
  })

  test('is one of many: another process goes on when it ends, and nothing is handled twice', async () => {
    await using rig = new StoreRig()
    const stores = [await opened(rig), await opened(rig)] as const
    const seen: string[] = []
    for (const [index, store] of stores.entries()) {
      store.events.subscribe({ name: 'sums', contracts: [Moved] }, ({ data }) => void seen.push(`${index}:${data.cents}`))
    }
    await rig.clock.advance(100)
    await stores[0].events.append('account-1', 'any', [fact(Moved, { cents: 1 })])
    await rig.clock.advance(100)
    expect(seen).toHaveLength(1)
    await rig.settling(stores[0].close())
    await stores[1].events.append('account-1', 'any', [fact(Moved, { cents: 2 })])
    await rig.clock.advance(60_000)
    expect(seen).toEqual(['0:1', '1:2'])
  })

  test('tries a failing event again, then halts there and says so', async () => {
    await using rig = new StoreRig()
    const store = rig.store()
    const bus = rig.bus({ outbox: store.outbox })
    const seen: number[] = []
    let isMended = false
    const subscription = store.events.subscribe({ name: 'sums', contracts: [Moved], retry: { attemptsMax: 3, initialMs: 100 } }, ({ data }, { tx }) => {
      seen.push(data.cents)
      tx.table<number>('sums').set(`${data.cents}`, 1)
      if (data.cents === 2 && !isMended) throw new TypeError('poison')
    })
    await bus.start()
    await store.events.append('account-1', 'any', [1, 2, 3].map((cents) => fact(Moved, { cents })))
    await rig.clock.advance(10_000)
    expect(subscription.state).toBe('halted')
    expect(bus.health()).toMatchObject({ state: 'down', reasons: [expect.stringContaining('the subscription sums is halted: bank.money-moved at account-1/1: poison')] })
    expect([...rig.database.rows('sums').keys()]).toEqual(['1'])
    isMended = true
    subscription.resume()
    await rig.clock.advance(60_000)
    expect([...rig.database.rows('sums').keys()]).toEqual(['1', '2', '3'])
    expect(bus.health().state).toBe('up')
  })

  test('passes a poison event over where it was told to, and says which', async () => {
    await using rig = new StoreRig()
    const { events } = await opened(rig)
    const seen: number[] = []
    events.subscribe({ name: 'sums', contracts: [Moved], retry: { attemptsMax: 2, initialMs: 10 }, onPoison: 'deadLetter' }, ({ data }) => {
      if (data.cents === 2) throw new TypeError('poison')
      seen.push(data.cents)
    })
    await events.append('account-1', 'any', [1, 2, 3].map((cents) => fact(Moved, { cents })))
    await rig.clock.advance(10_000)
    expect(seen.filter((cents) => cents === 3)).toEqual([3])
    const [letter] = await listed(events.read('deadletters-sums', [EventDeadLettered]))
    expect(letter?.data).toMatchObject({ subscription: 'sums', stream: 'account-1', revision: '1', attempts: 2, reason: 'bus.handler_failed', problem: 'poison' })
  })

  test('publishes what an event caused with the ids of the event', async () => {
    await using rig = new StoreRig()
    const store = rig.store()
    const bus = rig.bus({ outbox: store.outbox })
    const seen: (string | undefined)[] = []
    store.events.subscribe({ name: 'react', contracts: [Moved] }, (_event, { publish }) => publish(Opened, { owner: 'x' }))
    bus.on(Opened, { group: 'watch' }, ({ causationId, correlationId }) => void seen.push(causationId, correlationId))
    await bus.start()
    await store.events.append('account-1', 'any', [fact(Moved, { cents: 1 }, { id: 'the-event' })])
    await rig.clock.advance(1_000)
    expect(seen).toEqual(['the-event', 'the-event'])
  })

  test('that wants little of what it reads keeps its place, and does not read it all again', async () => {
    await using rig = new StoreRig()
    const { events } = await opened(rig)
    for (let index = 0; index < 20; index++) await events.append('account-1', 'any', [fact(Other, {})])
    await rig.clock.advance(5_000)
    const subscription = events.subscribe({ name: 'little', contracts: [Moved] }, () => undefined)
    await rig.clock.advance(5_000)
    expect([subscription.handled, rig.database.data.checkpoints.get('little')]).toEqual([0, 20n])
    for (let index = 0; index < 20; index++) {
      await events.append('account-1', 'any', [fact(Other, {})])
      await rig.clock.advance(200)
    }
    // Not at every event: once a second is enough for what has no effects.
    const kept = rig.database.data.checkpoints.get('little') ?? 0n
    expect(kept > 30n && kept <= 40n).toBe(true)
  })

  test('to one stream counts revisions, and may begin at the end', async () => {
    await using rig = new StoreRig()
    const { events } = await opened(rig)
    await events.append('account-1', 'any', [fact(Moved, { cents: 1 })])
    await events.append('account-2', 'any', [fact(Moved, { cents: 2 })])
    const seen: bigint[] = []
    const subscription = events.subscribe({ name: 'one', from: stream('account-1'), contracts: [Moved], start: 'end' }, ({ revision }) => void seen.push(revision))
    await rig.clock.advance(100)
    await events.append('account-1', 'any', [fact(Moved, { cents: 3 })])
    await rig.clock.advance(1_000)
    expect(seen).toEqual([1n])
    expect(subscription.cursor).toBe(1n)
  })
})
