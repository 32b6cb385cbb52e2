import { afterAll, beforeAll, expect, test } from 'vitest'
import { rabbitmqServer, type RabbitmqServer } from '../../servers/rabbitmq-server.ts'
import { until } from '../../servers/until.ts'
import { bodyOf, deadLettersOf, emit, freshName, groupOf, inboxOf, openTransport, record, wire } from './rabbitmq-fixture.ts'

// The broker itself goes away. Quorum queues declared just before a SIGKILL can come back dead on 3.10,
// so the tests that kill declare first and restart in order.

let server: RabbitmqServer

beforeAll(async () => {
  server = await rabbitmqServer()
  await server.start()
}, 90_000)

afterAll(async () => {
  await server.close()
})

const TYPE = 'sales.order-placed'

for (const [how, isKill] of [['restarted in order', false], ['killed', true]] as const) {
  test(`keeps what was accepted, delayed, held and given up when the broker is ${how} under load`, async () => {
    const where = { url: server.url, namespace: freshName('r') }
    await using open = await openTransport(where)
    const handled = new Set<string>()
    const ordered: string[] = []
    await inboxOf(open.transport, groupOf('shop.billing', [TYPE], { inFlightMax: 64 }), (delivery) => {
      if (delivery.attempt === 1 && delivery.message.headers?.['delay'] !== undefined) return delivery.retry(Number(delivery.message.headers['delay']))
      if (bodyOf(delivery) === '"bad"') return delivery.deadLetter(record)
      handled.add(delivery.message.id)
      return delivery.ack()
    })
    const seen = new Set<string>()
    await inboxOf(open.transport, groupOf('shop.ledger', [TYPE], { order: 'key' }), (delivery) => {
      if (delivery.message.key === 'k' && !seen.has(delivery.message.id)) {
        seen.add(delivery.message.id)
        ordered.push(bodyOf(delivery))
      }
      return delivery.ack()
    })
    if (isKill) await server.settleTopology()
    await until(() => open.states.at(-1)?.state === 'up', { deadlineMs: 30_000 })
    // Some are due before the broker goes, some while it is away, some after it came back.
    const delayed = await Promise.all(['100', '500', '2500', '6000', '20000'].map((delay) => emit(open.transport, TYPE, { headers: { delay } })))
    const bad = await emit(open.transport, TYPE, { body: Buffer.from('"bad"') })
    const accepted: string[] = []
    const numbers: string[] = []
    let isRunning = true
    const load = (async () => {
      for (let n = 0; isRunning || n < 40; n++) {
        const message = await emit(open.transport, TYPE, { key: 'k', body: Buffer.from(`${n}`) })
        accepted.push(message.id)
        numbers.push(`${n}`)
      }
    })()
    await until(() => accepted.length >= 20)
    if (isKill) await server.kill9()
    else await server.stop()
    await server.start()
    await until(() => open.states.at(-1)?.state === 'up', { deadlineMs: 30_000 })
    isRunning = false
    await load
    await until(() => accepted.every((id) => handled.has(id)) && delayed.every(({ id }) => handled.has(id)), { deadlineMs: 30_000, what: 'everything handled' })
    await until(() => ordered.length === numbers.length, { deadlineMs: 30_000, what: 'everything handled in order' })
    expect(ordered).toEqual(numbers)
    const letters = await until(async () => {
      const { items } = await deadLettersOf(open.transport).list({}, { limit: 10 })
      return items.length > 0 ? items : undefined
    }, { deadlineMs: 30_000 })
    expect(letters?.map(({ message }) => message.id)).toEqual([bad.id])
  }, 120_000)
}

test('opens while the broker is still starting', async () => {
  await server.stop()
  const opening = openTransport({ url: server.url, namespace: freshName('r'), openTimeoutMs: 30_000 })
  await server.start()
  await using open = await opening
  await open.transport.publish({ kind: 'command', message: wire('stock.reserve') }, undefined)
  expect(open.states.at(-1)?.state).toBe('up')
}, 90_000)
