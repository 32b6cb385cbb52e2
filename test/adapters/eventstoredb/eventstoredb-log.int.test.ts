import { status } from '@grpc/grpc-js'
import { expect, test } from 'vitest'
import { filterOf } from '../../../src/adapters/eventstoredb/eventstoredb-selection.ts'
import { isTrunklineError } from '../../../src/core/errors.ts'
import type { NewEvent } from '../../../src/store/port.ts'
import { Follower, newEvents, numbersOf } from '../../../src/testing/store-conformance-stage.ts'
import { esdbDouble } from '../../esdb-double/esdb-double.ts'
import { tcpProxy } from '../../servers/tcp-proxy.ts'
import { until } from '../../servers/until.ts'
import { fullWireMessage, wireMessage } from '../wire-messages.ts'
import { openLink } from './eventstoredb-rig.ts'

const event = (n: number): readonly NewEvent[] => newEvents([n])

test('stores type, attributes, headers and the exact bytes, as JSON where that is the same', async () => {
  await using double = await esdbDouble()
  await using rig = await openLink(double.port)
  const odd = wireMessage({ id: 'odd', body: Buffer.from('{ "a": 1.0 }') })
  await rig.log.append('order-1', 'noStream', [{ message: fullWireMessage(), isPublic: true }, { message: odd, isPublic: false }])
  const stored = double.log.eventsOf('order-1')
  expect(stored.map(({ type, contentType }) => [type, contentType])).toEqual([['tests.thing-happened', 'application/json'], ['tests.thing-happened', 'application/octet-stream']])
  expect(Buffer.from(stored[0]?.data ?? []).toString()).toBe('{"total":12,"name":"Zoë"}')
  expect(JSON.parse(Buffer.from(stored[0]?.metadata ?? []).toString())).toMatchObject({ id: 'message-1', $correlationId: 'correlation-1', 'trunkline-public': 'true' })
  const page = await rig.log.read({ selection: { kind: 'stream', stream: 'order-1' }, direction: 'forwards', after: undefined, limit: 10 })
  expect(page.events.map(({ message }) => ({ ...message, body: Buffer.from(message.body).toString(), headers: { ...message.headers } }))).toEqual([
    { ...fullWireMessage(), body: '{"total":12,"name":"Zoë"}', headers: fullWireMessage().headers },
    { ...odd, body: '{ "a": 1.0 }', headers: {} },
  ])
})

test('an append that was never answered is repeated with the same ids at the same revision, and done once (guard 3)', async () => {
  await using double = await esdbDouble()
  await using rig = await openLink(double.port, { callTimeoutMs: 200 })
  double.faults.plan('append', { kind: 'dropReply' }, { kind: 'status', code: status.UNAVAILABLE, isDone: true })
  expect((await rig.log.append('order-1', 'noStream', event(1))).revision).toBe(0n)
  expect(double.log.eventsOf('order-1')).toHaveLength(1)
  expect(rig.reports).toContain('up')
})

test('an append without an exact revision is not repeated by itself: its outcome is unknown (E-05)', async () => {
  await using double = await esdbDouble()
  await using rig = await openLink(double.port, { callTimeoutMs: 200 })
  double.faults.plan('append', { kind: 'stall' })
  const failure = await rig.log.append('order-1', 'any', event(1)).catch((error: unknown) => error)
  expect(isTrunklineError(failure, 'store.down')).toBe(true)
  expect(double.log.eventsOf('order-1')).toHaveLength(0)
})

test('an append is not touched by the end of another server of the same process (E-02, guard 4)', async () => {
  const doomed = await esdbDouble()
  await using double = await esdbDouble()
  await using other = await openLink(doomed.port, { callTimeoutMs: 500 })
  await using rig = await openLink(double.port)
  await Promise.all([other.log.append('warm-1', 'any', event(1)), rig.log.append('warm-1', 'any', event(1))])
  const calls = (of: typeof double): number => (of.faults.seen.get('append') ?? 0) + (of.faults.seen.get('batchAppend') ?? 0)
  const before = [calls(doomed), calls(double)] as const
  for (const call of ['append', 'batchAppend'] as const) doomed.faults.plan(call, { kind: 'stall' })
  double.faults.freeze()
  const lost = other.log.append('order-1', 'any', event(2)).catch((error: unknown) => error)
  // It is given no second try: whatever ends it early would be seen.
  const appended = rig.log.append('order-1', 'any', event(3))
  await until(() => calls(doomed) > before[0] && calls(double) > before[1])
  await doomed[Symbol.asyncDispose]()
  expect(isTrunklineError(await lost, 'store.down')).toBe(true)
  double.faults.thaw()
  expect((await appended).revision).toBe(0n)
  expect(double.log.eventsOf('order-1')).toHaveLength(1)
})

test('an append that is not at the leader is done there (guard 16)', async () => {
  await using double = await esdbDouble()
  await using rig = await openLink(double.port)
  const trailers = { 'leader-endpoint-host': '127.0.0.1', 'leader-endpoint-port': `${double.port}` }
  double.faults.plan('append', { kind: 'status', code: status.NOT_FOUND, exception: 'not-leader', trailers })
  expect((await rig.log.append('order-1', 'any', event(1))).revision).toBe(0n)
})

test('a client that can never append again is replaced (guard 1)', async () => {
  await using double = await esdbDouble()
  // Two hosts make the client discover; the same one twice is a cluster of one.
  await using rig = await openLink(double.port, { hosts: [`127.0.0.1:${double.port}`, `127.0.0.1:${double.port}`] })
  rig.link.replace('a test')
  double.faults.plan('gossip', ...Array.from({ length: 1_000 }, () => ({ kind: 'status', code: status.UNAVAILABLE }) as const))
  const events = event(1)
  const appending = rig.log.append('order-1', 'noStream', events).catch((error: unknown) => error)
  await until(() => rig.warnings.length > 1, { deadlineMs: 30_000 })
  double.faults.clear()
  await appending
  await until(async () => (await rig.log.append('order-1', 'noStream', events).catch(() => undefined)) !== undefined, { deadlineMs: 30_000 })
  expect(double.log.eventsOf('order-1')).toHaveLength(1)
}, 60_000)

test('refuses what the server refuses, with its error as the cause', async () => {
  await using double = await esdbDouble()
  await using rig = await openLink(double.port)
  double.log.tombstone('order-1', 'any')
  const failure = await rig.log.append('order-1', 'any', event(1)).catch((error: unknown) => error)
  expect(failure).toMatchObject({ code: 'store.refused', cause: { type: 'stream-deleted' } })
  const large = [1, 2, 3, 4, 5].map((n) => ({ message: wireMessage({ id: `${n}`, body: Buffer.from(JSON.stringify('x'.repeat(250_000))) }), isPublic: false }))
  await expect(rig.log.append('order-2', 'any', large)).rejects.toMatchObject({ code: 'store.refused' })
  await expect(rig.log.append('$own', 'any', event(1))).rejects.toMatchObject({ code: 'store.refused' })
  await expect(rig.log.append('trunkline-x', 'any', event(1))).rejects.toMatchObject({ code: 'store.refused' })
})

test.each(['tooSlow', 'endOk'] as const)('a follower that is told %s throws and can go on behind its cursor (guard 8)', async (kind) => {
  await using double = await esdbDouble()
  await using rig = await openLink(double.port)
  await rig.log.append('order-1', 'noStream', newEvents([1, 2]))
  const stop = new AbortController()
  const first = new Follower(rig.log.follow({ kind: 'category', category: 'order' }, undefined, { pageMax: 10, signal: stop.signal }))
  await until(() => first.endings > 0)
  double.faults.end('subscribe', { kind })
  await first.ended
  expect(isTrunklineError(first.error, 'store.down')).toBe(true)
  await rig.log.append('order-1', 1n, newEvents([3]))
  const cursor = first.pages.at(-1)?.cursor
  const second = new Follower(rig.log.follow({ kind: 'category', category: 'order' }, cursor, { pageMax: 10, signal: stop.signal }))
  await until(() => second.events.length === 1)
  stop.abort()
  await second.ended
  expect([first.numbers, second.numbers]).toEqual([[1, 2], [3]])
})

test('a follower of a server that never says that it has caught up finds it out (guard of section 4)', async () => {
  await using double = await esdbDouble({ saysCaughtUp: false })
  await using rig = await openLink(double.port)
  await rig.log.append('order-1', 'noStream', newEvents([1, 2]))
  const stop = new AbortController()
  const follower = new Follower(rig.log.follow({ kind: 'all' }, undefined, { pageMax: 10, signal: stop.signal }))
  await until(() => follower.endings > 0)
  expect(follower.numbers).toEqual([1, 2])
  stop.abort()
  await follower.ended
})

test('a follower whose subscription is dead without knowing it throws (E-06)', async () => {
  await using double = await esdbDouble()
  await using proxy = await tcpProxy(`esdb://127.0.0.1:${double.port}`)
  await using rig = await openLink(proxy.port)
  await using other = await openLink(double.port)
  const stop = new AbortController()
  const follower = new Follower(rig.log.follow({ kind: 'stream', stream: 'order-1' }, undefined, { pageMax: 10, signal: stop.signal }))
  await other.log.append('order-1', 'noStream', newEvents([1]))
  await until(() => follower.numbers.length === 1)
  proxy.halfOpen()
  await other.log.append('order-1', 0n, newEvents([2]))
  await follower.ended
  expect(isTrunklineError(follower.error, 'store.down')).toBe(true)
  stop.abort()
}, 60_000)

test('the position that a checkpoint tells comes behind the events before it (E-08)', async () => {
  await using double = await esdbDouble()
  await using rig = await openLink(double.port)
  for (let n = 0; n < 300; n++) double.log.append(n % 3 === 0 ? 'order-1' : 'item-1', 'any', [{ id: crypto.randomUUID(), type: 't', contentType: 'application/json', metadata: new Uint8Array(0), data: Buffer.from(`{"n":${n}}`) }])
  const stop = new AbortController()
  let highest = -1n
  let seen = 0
  for await (const page of rig.log.follow({ kind: 'category', category: 'order' }, undefined, { pageMax: 7, signal: stop.signal })) {
    for (const { position } of page.events) expect(position).toBeGreaterThan(highest)
    seen += page.events.length
    highest = page.cursor ?? highest
    if (page.isEnd) break
  }
  expect(seen).toBe(100)
  await until(() => double.faults.liveCount('subscribe') === 0)
})

test('leaves no call open at the server when reads and followers end early (guard 10)', async () => {
  await using double = await esdbDouble()
  await using rig = await openLink(double.port)
  await rig.log.append('order-1', 'noStream', newEvents([1, 2, 3]))
  for (let round = 0; round < 5; round++) {
    await rig.log.read({ selection: { kind: 'all' }, direction: 'forwards', after: undefined, limit: 1 })
    for await (const page of rig.log.follow({ kind: 'all' }, undefined, { pageMax: 1, signal: new AbortController().signal })) if (page.events.length > 0) break
  }
  await until(() => double.faults.liveCount('subscribe') === 0 && double.faults.liveCount('read') === 0)
})

test('settings of a stream come back as they were given', async () => {
  await using double = await esdbDouble()
  await using rig = await openLink(double.port)
  await rig.log.append('order-1', 'noStream', newEvents([1, 2, 3]))
  const settings = { truncateBefore: 1n, countMax: 5, ageMaxMs: 60_000, custom: { owner: 'sales' } }
  await rig.log.setMetadata('order-1', settings)
  expect(await rig.log.metadata('order-1')).toEqual(settings)
  expect(await rig.log.metadata('order-2')).toEqual({})
  const page = await rig.log.read({ selection: { kind: 'stream', stream: 'order-1' }, direction: 'forwards', after: undefined, limit: 10 })
  expect(numbersOf(page.events)).toEqual([2, 3])
})

test('the pattern of a category means the category alone', () => {
  const pattern = new RegExp(filterOf({ kind: 'category', category: 'a.b(c' }).regex)
  expect(['a.b(c-1', 'a.b(c', 'a.b(cd-1', 'axb(c-1'].map((name) => pattern.test(name))).toEqual([true, true, false, false])
})
