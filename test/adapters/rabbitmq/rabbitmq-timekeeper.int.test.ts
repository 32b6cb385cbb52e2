import { afterAll, beforeAll, expect, test } from 'vitest'
import { DELAY_LEFT_HEADER, DELAY_QUEUE_HEADER, DELAY_UNTIL_HEADER } from '../../../src/adapters/rabbitmq/rabbitmq-message.ts'
import { rabbitmqServer, type RabbitmqServer } from '../../servers/rabbitmq-server.ts'
import { until } from '../../servers/until.ts'
import { bodyOf, emit, freshName, groupOf, inboxOf, openTransport, readyIn, withRaw } from './rabbitmq-fixture.ts'

let server: RabbitmqServer

beforeAll(async () => {
  server = await rabbitmqServer()
  await server.start()
}, 90_000)

afterAll(async () => {
  await server.close()
})

const TYPE = 'sales.order-placed'
const GROUP = groupOf('shop.billing', [TYPE])

function options(): { readonly url: string; readonly namespace: string } {
  return { url: server.url, namespace: freshName('d') }
}

/** A copy of a group's message, as it waits in the queue of the shortest delays. */
function putWaiting(namespace: string, headers: Readonly<Record<string, string>>): Promise<void> {
  return withRaw(server.url, async (channel) => {
    const attributes = { 'cloudEvents:specversion': '1.0', 'cloudEvents:id': '1', 'cloudEvents:source': '/shop', 'cloudEvents:type': TYPE }
    channel.sendToQueue(`${namespace}:wait-0`, Buffer.from('{"n":1}'), { persistent: true, headers: { ...attributes, 'trunkline-attempts': '3', ...headers } })
    await channel.waitForConfirms()
  })
}

test('a delayed message outlives the process that had it in sight, and its delay goes on meanwhile', async () => {
  const where = options()
  await using first = await openTransport(where)
  const one = await inboxOf(first.transport, GROUP)
  const sent = await emit(first.transport, TYPE)
  const begun = performance.now()
  await (await one.at(0)).retry(1_500)
  await first.transport.close()
  await using second = await openTransport(where)
  const two = await inboxOf(second.transport, GROUP, (delivery) => delivery.ack())
  const again = await two.at(0)
  expect(performance.now() - begun).toBeGreaterThanOrEqual(1_500)
  expect([again.message.id, again.attempt, again.isSuspect]).toEqual([sent.id, 2, false])
  await second.transport.close()
  expect(two.deliveries).toHaveLength(1)
  for (let level = 0; level < 11; level++) expect(await readyIn(server.url, `${where.namespace}:wait-${level}`)).toBe(0)
})

test('many more delayed messages than one instance has in sight all come, and none too early', async () => {
  await using open = await openTransport(options())
  const begun = new Map<string, number>()
  const waited: { readonly delayMs: number; readonly afterMs: number }[] = []
  await inboxOf(open.transport, groupOf('shop.billing', [TYPE], { inFlightMax: 500 }), (delivery) => {
    const delayMs = Number(bodyOf(delivery))
    if (delivery.attempt === 1) {
      begun.set(delivery.message.id, performance.now())
      return delivery.retry(delayMs)
    }
    waited.push({ delayMs, afterMs: performance.now() - (begun.get(delivery.message.id) ?? Infinity) })
    return delivery.ack()
  })
  const delays = Array.from({ length: 400 }, (_, index) => 510 + ((index * 7) % 490))
  await Promise.all(delays.map((delayMs) => emit(open.transport, TYPE, { body: Buffer.from(`${delayMs}`) })))
  await until(() => waited.length === delays.length, { deadlineMs: 30_000 })
  expect(waited.filter(({ delayMs, afterMs }) => afterMs < delayMs)).toEqual([])
})

test('a delay that one queue could not hold is waited out in another', async () => {
  const where = options()
  await using open = await openTransport(where)
  const inbox = await inboxOf(open.transport, GROUP)
  const begun = performance.now()
  await putWaiting(where.namespace, { [DELAY_UNTIL_HEADER]: `${Date.now()}`, [DELAY_LEFT_HEADER]: '600', [DELAY_QUEUE_HEADER]: `${where.namespace}.shop.billing.${TYPE}` })
  const delivery = await inbox.at(0)
  expect(performance.now() - begun).toBeGreaterThanOrEqual(600)
  expect(delivery.attempt).toBe(4)
})

test('a message delayed by a clock far ahead waits no longer than its queue is for', async () => {
  const where = options()
  await using open = await openTransport(where)
  const inbox = await inboxOf(open.transport, GROUP)
  await putWaiting(where.namespace, { [DELAY_UNTIL_HEADER]: `${Date.now() + 86_400_000}`, [DELAY_QUEUE_HEADER]: `${where.namespace}.shop.billing.${TYPE}` })
  expect((await inbox.at(0)).attempt).toBe(4)
})

test('a delayed message whose queue was deleted goes to the unrouted ones, once', async () => {
  const where = options()
  await using open = await openTransport(where)
  await inboxOf(open.transport, GROUP)
  await putWaiting(where.namespace, { [DELAY_UNTIL_HEADER]: `${Date.now() + 100}`, [DELAY_QUEUE_HEADER]: `${where.namespace}.shop.gone.${TYPE}` })
  await until(async () => (await readyIn(server.url, `${where.namespace}.unrouted`)) > 0)
  await open.transport.close()
  expect(await readyIn(server.url, `${where.namespace}.unrouted`)).toBe(1)
  expect(await readyIn(server.url, `${where.namespace}:wait-0`)).toBe(0)
})
