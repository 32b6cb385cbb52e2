import { status } from '@grpc/grpc-js'
import { expect, test } from 'vitest'
import { eventStoreDbTransport } from '../../../src/adapters/eventstoredb/index.ts'
import type { Delivery, Transport } from '../../../src/bus/port.ts'
import { systemClock } from '../../../src/core/clock.ts'
import { silentLogger } from '../../../src/core/logger.ts'
import { systemRandom } from '../../../src/core/random.ts'
import { esdbDouble, type EsdbDouble } from '../../esdb-double/esdb-double.ts'
import { until } from '../../servers/until.ts'
import { wireMessage } from '../wire-messages.ts'

const TYPE = 'tests.thing-happened'
const EVENTS = `trunkline-trunkline/events/${TYPE}`

interface Rig extends AsyncDisposable {
  readonly double: EsdbDouble
  readonly transport: Transport
  readonly deliveries: Delivery[]
  readonly states: string[]
}

async function openRig(double?: EsdbDouble, order: 'key' | 'none' = 'none'): Promise<Rig> {
  const server = double ?? (await esdbDouble())
  const transport = eventStoreDbTransport({ hosts: `127.0.0.1:${server.port}`, tls: false, callTimeoutMs: 500, leaseMs: 600, silenceMaxMs: 400 })
  const states: string[] = []
  const deliveries: Delivery[] = []
  await transport.open({
    clock: systemClock, random: systemRandom, logger: silentLogger, service: 'test', instance: systemRandom.id(systemClock.nowMs()), report: (state) => states.push(state),
  })
  const subscription = await transport.subscribe({ group: 'test.work', kind: 'event', types: [TYPE], order, from: 'new', inFlightMax: 4, handlerTimeoutMs: 30_000 }, (delivery) => deliveries.push(delivery))
  return {
    double: server, transport, deliveries, states,
    [Symbol.asyncDispose]: async () => {
      await subscription.close()
      await transport.close()
      if (double === undefined) await server.close()
    },
  }
}

async function publish(transport: Transport, id: string, key?: string): Promise<void> {
  await transport.publish({ kind: 'event', message: wireMessage({ id, key }) }, undefined)
}

test.each([
  { kind: 'dropReply' } as const,
  { kind: 'stall' } as const,
  { kind: 'status', code: status.UNAVAILABLE, isDone: true } as const,
  { kind: 'status', code: status.INTERNAL } as const,
])('a publish that is not answered is stored once: %o', async (fault) => {
  await using rig = await openRig()
  rig.double.faults.plan('append', fault)
  await publish(rig.transport, 'one')
  expect(rig.double.log.eventsOf(EVENTS)).toHaveLength(1)
  await until(() => rig.deliveries.length === 1)
})

test('a publish whose outcome is unknown is looked for where the server has forgotten its ids (E-05)', async () => {
  await using rig = await openRig()
  rig.double.faults.plan('append', { kind: 'dropReply' })
  const publishing = publish(rig.transport, 'one')
  await until(() => rig.double.log.eventsOf(EVENTS).length === 1)
  // What a restarted server does: the events are there, and the memory of their ids is not.
  rig.double.log.forgetIds()
  await publishing
  expect(rig.double.log.eventsOf(EVENTS)).toHaveLength(1)
})

test.each(['endOk', 'tooSlow'] as const)('a consumer that is told %s is opened again, and nothing is lost (guard 8)', async (kind) => {
  await using rig = await openRig()
  await publish(rig.transport, 'one')
  await until(() => rig.deliveries.length === 1)
  await rig.deliveries[0]?.ack()
  expect(rig.double.faults.end('persistentRead', { kind })).toBeGreaterThan(0)
  await publish(rig.transport, 'two')
  await until(() => rig.deliveries.length === 2)
  expect(rig.deliveries[1]?.message.id).toBe('two')
})

test('a consumer that falls silent without a word is opened again (guard 24)', async () => {
  await using rig = await openRig()
  const before = rig.double.faults.seen.get('persistentRead') ?? 0
  await until(() => (rig.double.faults.seen.get('persistentRead') ?? 0) >= before + 2)
  await publish(rig.transport, 'one')
  await until(() => rig.deliveries.length === 1)
})

test('a message that was in hand when its link broke is handed out once in the same process', async () => {
  await using rig = await openRig()
  await publish(rig.transport, 'one')
  await until(() => rig.deliveries.length === 1)
  rig.double.killConnections()
  await publish(rig.transport, 'two')
  await until(() => rig.deliveries.some(({ message }) => message.id === 'two'))
  for (const delivery of rig.deliveries) await delivery.ack()
  await until(() => rig.double.persistent.group(EVENTS, 'test.work')?.inFlightCount === 0)
  expect(rig.deliveries.map(({ message }) => message.id)).toEqual(['one', 'two'])
})

test('counts attempts over delays, and takes what was moved out of the delays', async () => {
  await using rig = await openRig()
  await publish(rig.transport, 'one')
  await until(() => rig.deliveries.length === 1)
  await rig.deliveries[0]?.retry(10)
  await until(() => rig.deliveries.length === 2)
  await rig.deliveries[1]?.retry(0)
  await until(() => rig.deliveries.length === 3)
  expect(rig.deliveries.map(({ attempt }) => attempt)).toEqual([1, 2, 3])
  await rig.deliveries[2]?.ack()
  const delayed = rig.double.log.eventsOf('trunkline-trunkline/delayed/event/test.work')
  await until(() => rig.double.log.eventsOf('trunkline-trunkline/delayed/event/test.work').length === 2)
  expect(delayed[0]?.type).toBe(TYPE)
})

test('a group keeps its kind of order', async () => {
  await using double = await esdbDouble()
  {
    await using _rig = await openRig(double)
  }
  await expect(openRig(double, 'key')).rejects.toMatchObject({ code: 'bus.subscription_conflict' })
})

test('an owner that lost its lane writes nothing more into its hold list (P-15)', async () => {
  await using double = await esdbDouble()
  await using rig = await openRig(double, 'key')
  await publish(rig.transport, 'one', 'k')
  await until(() => rig.deliveries.length === 1)
  // Another owner takes the lane over: whatever the first one does next is refused by the server.
  const hold = [0, 1, 2, 3, 4, 5, 6, 7].map((lane) => `trunkline-trunkline/hold/event/test.work/${lane}`)
  for (const stream of hold) double.log.append(stream, 'any', [{ id: crypto.randomUUID(), type: '-taken', contentType: 'application/json', metadata: new Uint8Array(0), data: Buffer.from('{}') }])
  await rig.deliveries[0]?.retry(0)
  await until(() => rig.deliveries.length === 2)
  expect(hold.flatMap((stream) => double.log.eventsOf(stream).filter(({ type }) => type === TYPE))).toEqual([])
  await rig.deliveries[1]?.ack()
})

test('a server that is gone is told, and its return as well', async () => {
  await using rig = await openRig()
  rig.states.length = 0
  rig.double.faults.freeze()
  await until(() => rig.states.includes('down'), { deadlineMs: 20_000 })
  rig.double.faults.thaw()
  await until(() => rig.states.at(-1) === 'up', { deadlineMs: 20_000 })
}, 60_000)
