import {
  ANY, BACKWARDS, END, EventStoreDBClient, FORWARDS, jsonEvent, NO_STREAM, NotLeaderError, persistentSubscriptionToStreamSettingsFromDefaults, START, STREAM_EXISTS,
  streamNameFilter, StreamDeletedError, StreamNotFoundError, WrongExpectedVersionError, type EventData,
} from '@eventstore/db-client'
import { status } from '@grpc/grpc-js'
import { randomUUID } from 'node:crypto'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { privateFolder } from '../servers/server-process.ts'
import { until } from '../servers/until.ts'
import { doubleProcess } from './double-process.ts'
import { esdbDouble, type DoubleOptions, type EsdbDouble } from './esdb-double.ts'

// What is expected of EventStoreDB, with its real client: against the double in three shapes, and against a real server
// where `ESDB_URL` names one.

/** One server to test against. */
interface Shape {
  readonly title: string
  /** Undefined for a server that is not ours. */
  readonly options: DoubleOptions | undefined
}

const { ESDB_URL } = process.env
const doubles: readonly Shape[] = [
  { title: 'the double with batch appends', options: { features: 'all' } },
  { title: 'the double with classic appends', options: { features: 'classic' } },
  { title: 'the double without server features', options: { features: 'unimplemented' } },
]
const shapes: readonly Shape[] = ESDB_URL === undefined ? doubles : [...doubles, { title: 'a real server', options: undefined }]
if (ESDB_URL === undefined) process.stdout.write('No real EventStoreDB is tested: ESDB_URL names none.\n')

/** The events of these tests; a type of its own, because the client takes no interfaces. */
type Numbered = { type: 'numbered'; data: { n: number }; metadata: { from: string } }

const numbered = (n: number, id: string = randomUUID()): EventData<Numbered> =>
  jsonEvent<Numbered>({ id, type: 'numbered', data: { n }, metadata: { from: 'test' } })
const stream = (): string => `case-${randomUUID()}`

async function collect<T>(source: AsyncIterable<T>): Promise<readonly T[]> {
  const found: T[] = []
  for await (const one of source) found.push(one)
  return found
}

describe.each(shapes)('$title', ({ options }) => {
  let double: EsdbDouble | undefined
  let client: EventStoreDBClient

  beforeAll(async () => {
    double = options === undefined ? undefined : await esdbDouble(options)
    client = EventStoreDBClient.connectionString(double?.connectionString ?? ESDB_URL ?? '')
    await client.appendToStream(stream(), numbered(0))
  })
  afterAll(async () => {
    await client.dispose()
    await double?.close()
  })

  test('appends, and reads in both directions', async () => {
    const name = stream()
    const first = await client.appendToStream(name, [numbered(0), numbered(1)], { expectedRevision: NO_STREAM })
    const second = await client.appendToStream(name, [numbered(2)], { expectedRevision: first.nextExpectedRevision })
    expect([first.nextExpectedRevision, second.nextExpectedRevision]).toEqual([1n, 2n])
    expect(second.position?.commit).toBeGreaterThan(first.position?.commit ?? -1n)
    const forwards = await collect(client.readStream<Numbered>(name, { direction: FORWARDS, fromRevision: 1n }))
    expect(forwards.map(({ event }) => event?.data.n)).toEqual([1, 2])
    expect(forwards[0]?.event?.metadata).toEqual({ from: 'test' })
    const backwards = await collect(client.readStream<Numbered>(name, { direction: BACKWARDS, fromRevision: END, maxCount: 2 }))
    expect(backwards.map(({ event }) => event?.data.n)).toEqual([2, 1])
  })

  test('refuses an append at the wrong revision and tells the right one', async () => {
    const name = stream()
    await client.appendToStream(name, [numbered(0)], { expectedRevision: NO_STREAM })
    await expect(client.appendToStream(name, [numbered(1)], { expectedRevision: NO_STREAM })).rejects.toMatchObject({ type: 'wrong-expected-version', actualVersion: 0n })
    await expect(client.appendToStream(name, [numbered(1)], { expectedRevision: 7n })).rejects.toBeInstanceOf(WrongExpectedVersionError)
    await expect(client.appendToStream(stream(), [numbered(1)], { expectedRevision: STREAM_EXISTS })).rejects.toBeInstanceOf(WrongExpectedVersionError)
  })

  test('answers a repeated append as the first one, however many came after', async () => {
    const name = stream()
    const events = [numbered(0), numbered(1)]
    await client.appendToStream(name, events, { expectedRevision: NO_STREAM })
    await client.appendToStream(name, [numbered(2)], { expectedRevision: 1n })
    expect((await client.appendToStream(name, events, { expectedRevision: NO_STREAM })).nextExpectedRevision).toBe(1n)
    expect((await client.appendToStream(name, events, { expectedRevision: ANY })).nextExpectedRevision).toBe(1n)
    await expect(client.appendToStream(name, [events[0] ?? numbered(0), numbered(9)], { expectedRevision: NO_STREAM })).rejects.toBeInstanceOf(WrongExpectedVersionError)
    expect(await collect(client.readStream(name))).toHaveLength(3)
  })

  test('hides a deleted stream and goes on behind it; a tombstone ends it', async () => {
    const name = stream()
    await client.appendToStream(name, [numbered(0), numbered(1)])
    await client.deleteStream(name)
    await expect(collect(client.readStream(name))).rejects.toBeInstanceOf(StreamNotFoundError)
    expect((await client.appendToStream(name, [numbered(2)], { expectedRevision: NO_STREAM })).nextExpectedRevision).toBe(2n)
    expect((await collect(client.readStream(name))).map(({ event }) => event?.revision)).toEqual([2n])
    await client.tombstoneStream(name)
    await expect(collect(client.readStream(name))).rejects.toBeInstanceOf(StreamDeletedError)
    await expect(client.appendToStream(name, [numbered(3)])).rejects.toBeInstanceOf(StreamDeletedError)
  })

  test('keeps to what the metadata of a stream says', async () => {
    const name = stream()
    await client.appendToStream(name, [0, 1, 2, 3].map((n) => numbered(n)))
    await client.setStreamMetadata(name, { maxCount: 3, truncateBefore: 2, own: 'text' })
    expect((await client.getStreamMetadata(name)).metadata).toEqual({ maxCount: 3, truncateBefore: 2, own: 'text' })
    expect((await collect(client.readStream(name))).map(({ event }) => event?.revision)).toEqual([2n, 3n])
  })

  test('follows a stream: history, then what comes; the revision given is not repeated', async () => {
    const name = stream()
    await client.appendToStream(name, [numbered(0), numbered(1)])
    const subscription = client.subscribeToStream(name, { fromRevision: 0n })
    const seen: bigint[] = []
    const done = (async () => {
      for await (const { event } of subscription) {
        seen.push(event?.revision ?? -1n)
        if (seen.length === 2) break
      }
    })()
    await until(() => seen.length === 1)
    await client.appendToStream(name, [numbered(2)])
    await done
    await subscription.unsubscribe()
    expect(seen).toEqual([1n, 2n])
  })

  test('follows everything with a filter by stream name and reports checkpoints', async () => {
    const [mine, other] = [`mine${randomUUID()}-`, stream()]
    const { position } = await client.appendToStream(other, [numbered(0)])
    if (position === undefined) throw new Error('an append without a position')
    for (let n = 0; n < 40; n++) await client.appendToStream(other, [numbered(n)])
    await client.appendToStream(`${mine}a`, [numbered(1)])
    const checkpoints: bigint[] = []
    const filter = streamNameFilter({
      prefixes: [mine],
      checkpointInterval: 1,
      checkpointReached: async (_subscription, { commit }) => {
        checkpoints.push(commit)
      },
    })
    const subscription = client.subscribeToAll({ fromPosition: position, filter })
    const seen: string[] = []
    for await (const { event } of subscription) {
      seen.push(event?.streamId ?? '')
      if (seen.length === 1) await client.appendToStream(`${mine}b`, [numbered(2)])
      if (seen.length === 2) break
    }
    await subscription.unsubscribe()
    expect(seen).toEqual([`${mine}a`, `${mine}b`])
    expect(checkpoints.length).toBeGreaterThan(0)
  })

  test('gives the messages of a persistent subscription out again when they are refused or left', async () => {
    const name = stream()
    await client.createPersistentSubscriptionToStream(name, 'group', persistentSubscriptionToStreamSettingsFromDefaults({ startFrom: START }))
    await client.appendToStream(name, [numbered(0)])
    const first = client.subscribeToPersistentSubscriptionToStream(name, 'group')
    for await (const one of first) {
      if (one.retryCount === 0) await first.nack('retry', 'again', one)
      else break
    }
    await first.unsubscribe()
    const second = client.subscribeToPersistentSubscriptionToStream(name, 'group')
    for await (const one of second) {
      expect(one.retryCount).toBe(2)
      await second.nack('park', 'enough', one)
      break
    }
    const parked = `$persistentsubscription-${name}::group-parked`
    await until(async () => (await collect(client.readStream(parked))).length === 1)
    await second.unsubscribe()
    await client.deletePersistentSubscriptionToStream(name, 'group')
  })
})

test('a message that comes too early is told apart from one that never comes: stalls and dropped replies', async () => {
  await using double = await esdbDouble()
  const client = EventStoreDBClient.connectionString(double.connectionString)
  const name = stream()
  await client.appendToStream(name, [numbered(0)], { credentials: { username: 'a', password: 'b' } })
  double.faults.plan('append', { kind: 'dropReply' })
  const options = { credentials: { username: 'a', password: 'b' }, deadline: 200, expectedRevision: 0n }
  const event = numbered(1)
  await expect(client.appendToStream(name, [event], options)).rejects.toMatchObject({ type: 'deadline-exceeded' })
  expect((await client.appendToStream(name, [event], options)).nextExpectedRevision).toBe(1n)
  expect(double.log.eventsOf(name)).toHaveLength(2)
  await client.dispose()
})

describe('faults', () => {
  test('a subscription ends with the error, or the end, that it is given', async () => {
    await using double = await esdbDouble()
    const client = EventStoreDBClient.connectionString(double.connectionString)
    for (const kind of ['tooSlow', 'endOk'] as const) {
      const following = collect(client.subscribeToAll())
      await until(() => double.faults.liveCount('subscribe') === 1)
      expect(double.faults.end('subscribe', { kind })).toBe(1)
      if (kind === 'endOk') await following
      else await expect(following).rejects.toMatchObject({ type: 'timeout' })
    }
    await client.dispose()
  })

  test('killed connections and a server that is not the leader are told as such', async () => {
    await using double = await esdbDouble()
    const client = EventStoreDBClient.connectionString(double.connectionString)
    const options = { credentials: { username: 'a', password: 'b' } }
    const following = collect(client.subscribeToAll()).catch((error: unknown) => error)
    await until(() => double.faults.liveCount('subscribe') === 1)
    double.killConnections()
    expect(await following).toMatchObject({ type: expect.stringMatching(/cancelled|unavailable|unknown/) })
    const trailers = { 'leader-endpoint-host': '127.0.0.1', 'leader-endpoint-port': `${double.port}` }
    double.faults.plan('append', { kind: 'status', code: status.NOT_FOUND, exception: 'not-leader', trailers })
    await until(async () => await client.appendToStream(stream(), numbered(0), options).then(() => false, (error: unknown) => error instanceof NotLeaderError))
    await client.appendToStream(stream(), numbered(0), options)
    await client.dispose()
  })

  test('a cluster that cannot be discovered poisons the batch appends of its client for good', async () => {
    await using double = await esdbDouble()
    const client = EventStoreDBClient.connectionString(`esdb://127.0.0.1:${double.port},127.0.0.1:${double.port}?tls=false&maxDiscoverAttempts=1&discoveryInterval=1`)
    const down = { kind: 'status', code: status.UNAVAILABLE } as const
    double.faults.plan('gossip', down, down, down, down)
    await expect(client.appendToStream(stream(), numbered(0))).rejects.toThrow('Failed to discover')
    double.faults.clear()
    await expect(client.appendToStream(stream(), numbered(0))).rejects.toThrow('Failed to discover')
    await client.dispose()
  })

  test('a frozen server answers when it is thawed', async () => {
    await using double = await esdbDouble()
    const client = EventStoreDBClient.connectionString(double.connectionString)
    double.faults.freeze()
    let isDone = false
    const appending = client.appendToStream(stream(), numbered(0)).then(() => {
      isDone = true
    })
    await until(() => (double.faults.seen.get('features') ?? 0) > 0)
    expect(isDone).toBe(false)
    double.faults.thaw()
    await appending
    await client.dispose()
  })
})

test('a process of its own keeps what it answered when it is killed', async () => {
  await using server = await doubleProcess()
  await server.start()
  const client = EventStoreDBClient.connectionString(`${server.url}?tls=false`)
  const name = stream()
  await client.appendToStream(name, [numbered(0), numbered(1)])
  await client.createPersistentSubscriptionToStream(name, 'group', persistentSubscriptionToStreamSettingsFromDefaults({ startFrom: START }))
  await server.kill9()
  await server.start()
  const again = await until(async () => await collect(client.readStream<Numbered>(name)))
  expect(again.map(({ event }) => event?.data.n)).toEqual([0, 1])
  expect((await client.listAllPersistentSubscriptions()).map(({ groupName }) => groupName)).toEqual(['group'])
  await client.dispose()
})

test('a log in a file is the same after a death, without what was half written', async () => {
  const dataDir = join(privateFolder('esdb'), 'data')
  const name = stream()
  {
    await using double = await esdbDouble({ dataDir })
    const client = EventStoreDBClient.connectionString(double.connectionString)
    await client.appendToStream(name, [numbered(0), numbered(1)])
    await client.setStreamMetadata(name, { truncateBefore: 1 })
    await client.dispose()
  }
  await using again = await esdbDouble({ dataDir })
  expect(again.log.eventsOf(name).map(({ revision }) => revision)).toEqual([1n])
})
