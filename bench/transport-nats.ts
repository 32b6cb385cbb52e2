import { type ConsumerMessages, type JetStreamClient, type MsgHdrs, type NatsConnection, connect, headers } from 'nats'
import { ServiceBroker } from 'moleculer'
import { nats } from '../src/adapters/nats/index.ts'
import { createBus, event } from '../src/index.ts'
import { natsServer } from '../test/servers/nats-server.ts'
import { z } from 'zod'
import { type Case, Counter, type Ratio, type Result, measure, paced, windowed } from './measure.ts'
import { Order, Quote, Sighting, moleculerParams, order, quote } from './payload.ts'

const STORE_COUNT = 20_000
const CALL_COUNT = 15_000
const EVENT_COUNT = 60_000
const PACED_COUNT = 2_000

/** The library over JetStream and core NATS, beside the raw public client and Moleculer. */
export async function natsSuite(rounds: number, progress: (text: string) => void): Promise<{ results: Map<string, Result>; ratios: Ratio[] }> {
  const server = await natsServer()
  await server.start()
  const ours = await openOurs(server.url)
  const raw = await openRaw(server.url, ours.samples)
  const peers = await openMoleculer(server.url)
  const results = await measure([...ours.cases, ...raw.cases, ...peers.cases], rounds, progress)
  const idle = await idleBytes(server.url)
  for (const [name, value] of idle) results.set(name, { name, value })
  await Promise.all([ours.close(), raw.close(), peers.close()])
  await server.stop()
  return { results, ratios: ratiosOf(results) }
}

function ratiosOf(results: ReadonlyMap<string, Result>): Ratio[] {
  const rate = (name: string): number => results.get(name)?.perSecond ?? NaN
  const p99 = (name: string): number => results.get(name)?.p99Ms ?? NaN
  return [
    { name: 'JetStream publish, window 256 ÷ js.publish()', value: rate('trunkline: publish, window 256') / rate('raw: js.publish(), window 256'), bound: 2.5, kind: 'at least' },
    { name: 'JetStream publish → handle → ack ÷ raw public API', value: rate('trunkline: publish → handle → ack') / rate('raw: publish → consume → ack'), bound: 1.65, kind: 'at least' },
    { name: 'ask/answer, 64 outstanding ÷ nc.request', value: rate('trunkline: ask, 64 outstanding') / rate('raw: request, 64 outstanding'), bound: 1.45, kind: 'at least' },
    { name: 'ask/answer, 64 outstanding ÷ Moleculer call, params checked', value: rate('trunkline: ask, 64 outstanding') / rate('Moleculer: call, params checked, 64 outstanding'), bound: 0.87, kind: 'at least' },
    { name: 'ask/answer p99 at 1,000/s ÷ nc.request', value: p99('trunkline: ask at 1,000/s') / p99('raw: request at 1,000/s'), bound: 1.3, kind: 'at most' },
    { name: 'light events ÷ Moleculer emit, params checked', value: rate('trunkline: broadcast → handle') / rate('Moleculer: emit → handle, params checked'), bound: 1.05, kind: 'at least' },
    { name: 'idle light subscription [kB]', value: (results.get('idle light subscription [bytes]')?.value ?? NaN) / 1_000, bound: 3.6, kind: 'at most' },
  ]
}

interface Opened {
  readonly cases: readonly Case[]
  readonly close: () => Promise<void>
}

/** A message exactly as the library puts it on the wire, for the raw side to repeat. */
interface SampleMessage {
  readonly subject: string
  readonly headers: readonly (readonly [string, string])[]
  readonly body: Uint8Array
}

/** Our answers have no headers, so there is no sample of them. */
interface Samples {
  readonly stored: SampleMessage
  readonly request: SampleMessage
}

async function openOurs(url: string): Promise<Opened & { readonly samples: Samples }> {
  const counter = new Counter()
  const light = new Counter()
  const publisher = createBus({ service: { name: 'publisher' }, transport: nats({ servers: url }) })
  const consumer = createBus({ service: { name: 'consumer' }, transport: nats({ servers: url }) })
  const Unheard = event('bench.nobody-listens', { schema: z.object({ orderId: z.string() }).loose() })
  consumer.on(Order, { group: 'orders', inFlightMax: 256 }, counter.tick)
  consumer.on(Sighting, { broadcast: true }, light.tick)
  consumer.answer(Quote, () => quote)
  await consumer.start()
  await publisher.start()
  const samples = {
    stored: await sampled(url, 'trunkline.e.>', () => publisher.publish(Order, order)),
    request: await sampled(url, 'trunkline.q.>', () => publisher.ask(Quote, order)),
  }
  const endToEnd = async (): Promise<number> => {
    const startedMs = performance.now()
    const handled = counter.expect(STORE_COUNT)
    await windowed(STORE_COUNT, 256, () => publisher.publish(Order, order))
    await handled
    return (STORE_COUNT / (performance.now() - startedMs)) * 1_000
  }
  return {
    samples,
    cases: [
      { name: 'trunkline: publish, window 256', run: async () => ({ perSecond: await windowed(STORE_COUNT, 256, () => publisher.publish(Unheard, order)) }) },
      { name: 'trunkline: publish → handle → ack', run: async () => ({ perSecond: await endToEnd() }) },
      { name: 'trunkline: ask, 64 outstanding', run: () => timed((latenciesMs) => windowed(CALL_COUNT, 64, () => publisher.ask(Quote, order), latenciesMs)) },
      { name: 'trunkline: ask at 1,000/s', run: async () => ({ latenciesMs: await paced(PACED_COUNT, 1_000, () => publisher.ask(Quote, order)) }) },
      {
        name: 'trunkline: broadcast → handle',
        run: async () => ({
          perSecond: await burst(light, (index) => {
            void publisher.broadcast(Sighting, order)
            return index
          }),
        }),
      },
    ],
    close: async () => {
      await Promise.all([publisher.stop(), consumer.stop()])
    },
  }
}

async function timed(run: (latenciesMs: number[]) => Promise<number>): Promise<{ perSecond: number; latenciesMs: number[] }> {
  const latenciesMs: number[] = []
  return { perSecond: await run(latenciesMs), latenciesMs }
}

/** Sends events in bursts of 256 with a turn of the event loop between, and waits until all have been handled. */
async function burst(counter: Counter, send: (index: number) => unknown): Promise<number> {
  const handled = counter.expect(EVENT_COUNT)
  const startedMs = performance.now()
  for (let index = 0; index < EVENT_COUNT; index++) {
    send(index)
    if (index % 256 === 255) await new Promise((resolve) => setImmediate(resolve))
  }
  await handled
  return (EVENT_COUNT / (performance.now() - startedMs)) * 1_000
}

/** Listens in on the message that `send` sends. */
async function sampled(url: string, subject: string, send: () => Promise<unknown>): Promise<SampleMessage> {
  const connection = await connect({ servers: url })
  const seen = new Promise<SampleMessage>((resolve) => {
    connection.subscribe(subject, {
      callback: (_error, message) => {
        const names = [...(message.headers?.keys() ?? [])].filter((name) => !name.startsWith('Nats-'))
        resolve({ subject: message.subject, headers: names.map((name) => [name, message.headers?.get(name) ?? '']), body: message.data })
      },
    })
  })
  await connection.flush()
  await send()
  const sample = await seen
  await connection.close()
  return sample
}

async function openRaw(url: string, { stored, request }: Samples): Promise<Opened> {
  const publisher = await connect({ servers: url })
  const consumer = await connect({ servers: url })
  const manager = await publisher.jetstreamManager()
  await manager.streams.add({ name: 'RAW', subjects: ['raw.>'], duplicate_window: 600e9 })
  await manager.consumers.add('RAW', { durable_name: 'orders', filter_subject: 'raw.orders', ack_policy: 'explicit' as never, max_ack_pending: 1_000 })
  const counter = new Counter()
  const messages = await (await consumer.jetstream().consumers.get('RAW', 'orders')).consume({ max_messages: 256 })
  void consumeRaw(messages, counter)
  consumer.subscribe('raw.quote', {
    queue: 'quote',
    callback: (_error, message) => {
      JSON.parse(message.string())
      message.respond(Buffer.from(JSON.stringify(quote)))
    },
  })
  await consumer.flush()
  const js = publisher.jetstream()
  return {
    cases: [
      { name: 'raw: js.publish(), window 256', run: async () => ({ perSecond: await windowed(STORE_COUNT, 256, (index) => publishRaw(js, 'raw.unheard', stored, index)) }) },
      {
        name: 'raw: publish → consume → ack',
        run: async () => {
          const startedMs = performance.now()
          const handled = counter.expect(STORE_COUNT)
          await windowed(STORE_COUNT, 256, (index) => publishRaw(js, 'raw.orders', stored, index))
          await handled
          return { perSecond: (STORE_COUNT / (performance.now() - startedMs)) * 1_000 }
        },
      },
      { name: 'raw: request, 64 outstanding', run: () => timed((latenciesMs) => windowed(CALL_COUNT, 64, () => requestRaw(publisher, request), latenciesMs)) },
      { name: 'raw: request at 1,000/s', run: async () => ({ latenciesMs: await paced(PACED_COUNT, 1_000, () => requestRaw(publisher, request)) }) },
    ],
    close: async () => {
      messages.stop()
      await Promise.all([publisher.close(), consumer.close()])
    },
  }
}

async function consumeRaw(messages: ConsumerMessages, counter: Counter): Promise<void> {
  for await (const message of messages) {
    JSON.parse(message.string())
    message.ack()
    counter.tick()
  }
}

let rawCounter = 0

/** The same header names with values of the same length; the id is new each time. */
function headersOf(sample: SampleMessage, id: string): MsgHdrs {
  const result = headers()
  for (const [name, value] of sample.headers) result.set(name, name === 'ce-id' ? id : value)
  return result
}

function freshId(sample: SampleMessage): string {
  const length = sample.headers.find(([name]) => name === 'ce-id')?.[1].length ?? 36
  return (++rawCounter).toString(36).padStart(length, '0')
}

async function publishRaw(js: JetStreamClient, subject: string, sample: SampleMessage, _index: number): Promise<void> {
  const id = freshId(sample)
  await js.publish(subject, Buffer.from(JSON.stringify(order)), { msgID: id, headers: headersOf(sample, id), expect: { streamName: 'RAW' } })
}

async function requestRaw(connection: NatsConnection, sample: SampleMessage): Promise<unknown> {
  const reply = await connection.request('raw.quote', Buffer.from(JSON.stringify(order)), { timeout: 5_000, headers: headersOf(sample, freshId(sample)) })
  return JSON.parse(reply.string())
}

async function openMoleculer(url: string): Promise<Opened> {
  const counter = new Counter()
  const make = (nodeID: string): ServiceBroker => new ServiceBroker({ nodeID, transporter: { type: 'NATS', options: { servers: url } }, logger: false, disableBalancer: false })
  const provider = make('provider')
  provider.createService({
    name: 'bench',
    actions: { quote: { params: moleculerParams, handler: () => quote } },
    events: { 'bench.order': { params: moleculerParams, handler: counter.tick } },
  })
  const caller = make('caller')
  await provider.start()
  await caller.start()
  await caller.waitForServices('bench')
  return {
    cases: [
      {
        name: 'Moleculer: call, params checked, 64 outstanding',
        run: () => timed((latenciesMs) => windowed(CALL_COUNT, 64, () => caller.call('bench.quote', order), latenciesMs)),
      },
      { name: 'Moleculer: emit → handle, params checked', run: async () => ({ perSecond: await burst(counter, () => void caller.emit('bench.order', order)) }) },
    ],
    close: async () => {
      await Promise.all([caller.stop(), provider.stop()])
    },
  }
}

/** Heap that one idle subscription keeps, over a thousand of them. */
async function idleBytes(url: string): Promise<Map<string, number>> {
  const count = 1_000
  const idle = createBus({ service: { name: 'idle' }, transport: nats({ servers: url }) })
  const contracts = Array.from({ length: count }, (_, index) => event(`bench.idle-${index}`, { schema: z.object({ n: z.int() }) }))
  for (const contract of contracts) idle.on(contract, { broadcast: true }, () => {})
  const before = heapUsed()
  await idle.start()
  const after = heapUsed()
  await idle.stop()
  return new Map([['idle light subscription [bytes]', (after - before) / count]])
}

function heapUsed(): number {
  globalThis.gc?.()
  globalThis.gc?.()
  return process.memoryUsage().heapUsed
}
