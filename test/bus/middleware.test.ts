import { describe, expect, test } from 'vitest'
import { type Middleware, handleChain, publishChain } from '../../src/bus/middleware.ts'
import type { Message, WireMessage } from '../../src/core/envelope.ts'
import { BusRig, Placed, Quote, rejection } from './bus-rig.ts'

const passing = (name: string, seen: string[]): Middleware => ({
  name,
  publish: async ({ plane, contract }, next) => {
    seen.push(`${name} before ${plane} ${contract?.type}`)
    await next(undefinedIsNoMessage)
    seen.push(`${name} after`)
  },
})
const undefinedIsNoMessage = {} as WireMessage // only handed through

describe('without any middleware', () => {
  test('there is no chain, so that nothing is paid for it', () => {
    expect([publishChain([], () => Promise.resolve()), handleChain([{ name: 'neither' }])]).toEqual([undefined, undefined])
  })
})

test('publish parts run outermost first and wait for what is inside', async () => {
  const seen: string[] = []
  const chain = publishChain([passing('a', seen), { name: 'none' }, passing('b', seen)], ({ message }) => {
    seen.push(message === undefinedIsNoMessage ? 'stored' : 'stored something else')
    return Promise.resolve()
  })
  await chain?.({ contract: Placed, kind: Placed.kind, plane: 'durable', message: undefinedIsNoMessage })
  expect(seen).toEqual(['a before durable sales.order-placed', 'b before durable sales.order-placed', 'stored', 'b after', 'a after'])
})

describe('on a bus', () => {
  test('both sides see contract, message and context, and can change what travels and what is answered', async () => {
    await using rig = new BusRig()
    const seen: unknown[] = []
    const stamping: Middleware = {
      name: 'stamp',
      publish: ({ message }, next) => next({ ...message, headers: { ...message.headers, stamp: '1' } }),
      handle: async ({ contract, message, context }, next) => {
        seen.push([contract.type, message.headers, context.attempt])
        const answer = await next()
        return contract.type === Quote.type ? { cents: 7 } : answer
      },
    }
    const bus = rig.bus({ middleware: [stamping] })
    bus.on(Placed, { group: 'ledger' }, ({ data }: Message<string, { orderId: string }>) => {
      seen.push(data.orderId)
    })
    bus.answer(Quote, () => ({ cents: 5 }))
    await bus.start()
    await bus.publish(Placed, { orderId: 'o-1' }, { headers: { own: 'x' } })
    await rig.clock.settle()
    expect(seen).toEqual([['sales.order-placed', { own: 'x', stamp: '1' }, 1], 'o-1'])
    const answered = bus.ask(Quote, { sku: 'a' })
    await rig.clock.settle()
    expect(await answered).toEqual({ cents: 7 })
  })

  test('what it throws is the publish\'s or the handler\'s own error', async () => {
    await using rig = new BusRig()
    const bus = rig.bus({
      middleware: [{
        name: 'picky',
        publish: ({ message }, next) => {
          if (message.headers?.['bad'] === 'now') throw new TypeError('thrown')
          return message.headers?.['bad'] === 'later' ? Promise.reject(new TypeError('rejected')) : next(message)
        },
        handle: ({ message }, next) => (message.headers['bad'] === 'there' ? Promise.reject(new TypeError('in handle')) : next()),
      }],
    })
    bus.on(Placed, { group: 'ledger', retry: { attemptsMax: 1 } }, () => {})
    await bus.start()
    for (const [bad, text] of [['now', 'thrown'], ['later', 'rejected']] as const) {
      expect(await rejection(bus.publish(Placed, { orderId: 'o' }, { headers: { bad } }))).toMatchObject({ message: text })
    }
    await bus.publish(Placed, { orderId: 'o' }, { headers: { bad: 'there' } })
    await rig.clock.settle()
    expect(rig.kinds('delivery-dead-lettered')).toMatchObject([{ code: 'bus.handler_failed', attempts: 1 }])
  })

  test('is added in order, and only before the start', async () => {
    await using rig = new BusRig()
    const order: string[] = []
    const noting = (name: string): Middleware => ({
      name,
      handle: (_step, next) => {
        order.push(name)
        return next()
      },
    })
    const bus = rig.bus({ middleware: [noting('given')] }).use(noting('used'))
    bus.on(Placed, { group: 'g' }, () => order.push('handler'))
    await bus.start()
    await bus.publish(Placed, { orderId: 'o' })
    await rig.clock.settle()
    expect(order).toEqual(['given', 'used', 'handler'])
    expect(() => bus.use(noting('late'))).toThrow(expect.objectContaining({ code: 'bus.not_running' }))
  })
})
