import { afterAll, beforeAll, expect, test } from 'vitest'
import { rabbitmqServer, type RabbitmqServer } from '../../servers/rabbitmq-server.ts'
import { until } from '../../servers/until.ts'
import { emit, freshName, groupOf, inboxOf, openTransport } from './rabbitmq-fixture.ts'

let server: RabbitmqServer

beforeAll(async () => {
  server = await rabbitmqServer()
  await server.start()
}, 90_000)

afterAll(async () => {
  await server.close()
})

test('pauses, resumes and moves on under load without losing its channel or making suspects', async () => {
  const where = { url: server.url, namespace: freshName('g') }
  await using publisher = await openTransport(where)
  await using first = await openTransport(where)
  await using second = await openTransport(where)
  const attempts: string[] = []
  const handled = new Set<string>()
  const settle = (delivery: { readonly attempt: number; readonly isSuspect: boolean; readonly message: { readonly id: string }; ack(): unknown }): unknown => {
    attempts.push(`${delivery.attempt}${delivery.isSuspect ? ' suspect' : ''}`)
    handled.add(delivery.message.id)
    return delivery.ack()
  }
  const inbox = await inboxOf(first.transport, groupOf('shop.billing', ['sales.order-placed'], { inFlightMax: 64 }), settle)
  const accepted: string[] = []
  let isRunning = true
  const load = Promise.all(
    Array.from({ length: 32 }, async () => {
      while (isRunning) accepted.push((await emit(publisher.transport, 'sales.order-placed')).id)
    }),
  )
  for (let round = 0; round < 25; round++) {
    const before = inbox.deliveries.length
    await until(() => inbox.deliveries.length > before + 50)
    await inbox.subscription.pause()
    await inbox.subscription.resume()
  }
  await inboxOf(second.transport, groupOf('shop.billing', ['sales.order-placed'], { inFlightMax: 64 }), settle)
  await inbox.subscription.close()
  isRunning = false
  await load
  await until(() => accepted.every((id) => handled.has(id)))
  expect([...new Set(attempts)]).toEqual(['1'])
  expect(attempts.length).toBe(accepted.length)
  expect(first.states.map(({ state }) => state)).toEqual(['up'])
})
