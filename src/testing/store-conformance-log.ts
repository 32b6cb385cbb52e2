import { deepEqual, equal, ok } from 'node:assert/strict'
import { isTrunklineError } from '../core/errors.ts'
import type { StoredEvent } from '../store/port.ts'
import { range, refusal, wireMessage } from './conformance-stage.ts'
import { type StoreCase, storeCasesOf } from './store-conformance-case.ts'
import { type StoreStage, newEvents, numbersOf, readAll, readStream, sameMessage } from './store-conformance-stage.ts'

const FAR = 2n ** 60n

/** Bodies that only bytes can keep. */
const BODIES: readonly Buffer[] = [
  Buffer.alloc(0),
  Buffer.from('{"text":"\\u0000 and \\ud800 alone"}'),
  Buffer.from([0x7b, 0x00, 0xff, 0xfe, 0xc3, 0x28, 0x7d]),
  Buffer.from('{"b":1,"a":2,"a":3,  "n":1e400, "big":12345678901234567890.10}'),
  Buffer.from(`{"fill":"${'ü'.repeat(128_000)}"}`),
]

/** Names that a careless comparison, pattern or index mixes up. */
const STREAMS: readonly string[] = [
  'order-1', 'Order-1', 'order-1 ', 'order-10', 'order-%', "order-'; --", 'order-"x"', 'order-a-b', 'order-\u00e9', 'order-e\u0301', `order-${'x'.repeat(249)}`, 'ord_r-1', 'orders-1', 'o-1', 'order',
]

/** Streams of events: what `EventLog` promises. */
export const logCases: readonly StoreCase[] = storeCasesOf('log', [
  {
    name: 'appends to a new stream and gives back everything that was stored',
    async run(stage) {
      const { log } = await stage.open()
      const message = wireMessage({
        type: 'conformance.happened', key: 'größe "1"', version: 3, correlationId: 'c', causationId: 'd', deadline: '2026-01-02T03:05:05.678Z', tenant: 'one',
        traceparent: '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01', tracestate: 'vendor=value', hops: 2, headers: { 'x-wide': 'Straße 🚂', 'x-none': '' },
      })
      const bare = wireMessage({ type: 'conformance.happened' })
      const appended = await log.append('order-1', 'noStream', [message, bare].map((one) => ({ message: one, isPublic: false })))
      deepEqual([appended.revision, appended.isRepeated], [1n, false])
      const [first, second] = await readStream(log, 'order-1')
      sameMessage(first?.message, message)
      sameMessage(second?.message, bare)
      deepEqual([first?.stream, first?.revision, second?.revision], ['order-1', 0n, 1n])
      ok(first !== undefined && second !== undefined && first.position < second.position, 'positions grow')
      ok(Math.abs(first.storedAtMs - Date.parse(message.time)) < 3_600_000, 'it says when it was stored')
      if (appended.position !== undefined) equal(appended.position, second.position)
    },
  },
  {
    name: 'appends at the exact revision, or anywhere where any is asked for',
    async run(stage) {
      const { log } = await stage.open()
      await log.append('order-1', 'noStream', newEvents([1, 2]))
      equal((await log.append('order-1', 1n, newEvents([3]))).revision, 2n)
      equal((await log.append('order-1', 'any', newEvents([4, 5]))).revision, 4n)
      equal((await log.append('order-2', 'any', newEvents([1]))).revision, 0n)
      deepEqual(numbersOf(await readStream(log, 'order-1')), range(1, 5))
    },
  },
  {
    name: 'refuses a wrong revision, says the actual one, and appends nothing',
    async run(stage) {
      const { log } = await stage.open()
      await log.append('order-1', 'noStream', newEvents([1, 2, 3]))
      for (const [stream, expected, actual] of [
        ['order-1', 'noStream', '2'], ['order-1', 0n, '2'], ['order-1', 1n, '2'], ['order-1', 3n, '2'], ['order-1', FAR, '2'], ['order-2', 0n, 'noStream'], ['order-2', FAR, 'noStream'],
      ] as const) {
        const error = await refusal(() => log.append(stream, expected, newEvents([8, 9])), 'store.wrong_revision', `${stream} at ${expected}`)
        ok(isTrunklineError(error, 'store.wrong_revision'))
        deepEqual({ ...error.details }, { stream, expected: String(expected), actual })
      }
      deepEqual(numbersOf(await readStream(log, 'order-1')), [1, 2, 3])
      deepEqual(await readStream(log, 'order-2'), [])
    },
  },
  {
    name: 'appends several events together: one after the other in stream and log, or none of them',
    async run(stage) {
      const { log } = await stage.open()
      const appends = range(1, 8).map((n) => log.append(`order-${n}`, 'noStream', newEvents(range(1, 20).map((m) => n * 100 + m))))
      await Promise.all(appends)
      for (const n of range(1, 8)) {
        const events = await readStream(log, `order-${n}`)
        deepEqual(numbersOf(events), range(1, 20).map((m) => n * 100 + m))
        deepEqual(events.map(({ revision }) => Number(revision)), range(0, 19))
      }
    },
  },
  {
    name: 'answers a repeated append as the first one, however many came after',
    async run(stage) {
      const { log } = await stage.open()
      const [first, second] = [newEvents([1, 2]), newEvents([3])]
      const answers = [await log.append('order-1', 'noStream', first), await log.append('order-1', 1n, second)]
      const repeated = [await log.append('order-1', 'noStream', first), await log.append('order-1', 1n, second)]
      await log.append('order-1', 2n, newEvents([4, 5, 6]))
      repeated.push(await log.append('order-1', 'noStream', first), await log.append('order-1', 1n, second))
      deepEqual(answers.map(({ revision, isRepeated }) => [revision, isRepeated]), [[1n, false], [2n, false]])
      deepEqual(repeated.map(({ revision, isRepeated }) => [revision, isRepeated]), [[1n, true], [2n, true], [1n, true], [2n, true]])
      deepEqual(numbersOf(await readStream(log, 'order-1')), range(1, 6))
    },
  },
  {
    name: 'refuses a repetition that is only in part the same',
    async run(stage) {
      const { log } = await stage.open()
      const [one, two, three] = newEvents([1, 2, 3])
      ok(one !== undefined && two !== undefined && three !== undefined)
      await log.append('order-1', 'noStream', [one, two])
      for (const events of [[one, two, three], [three, two], [two, one], [one, three], [two]]) {
        await refusal(() => log.append('order-1', 'noStream', events), 'store.wrong_revision', `an append of ${numbersOf(events).join(' ')}`)
      }
      deepEqual(numbersOf(await readStream(log, 'order-1')), [1, 2])
    },
  },
  {
    name: 'lets one of many win who append at the same revision',
    async run(stage) {
      const [{ log: one }, { log: two }] = [await stage.open(), await stage.open()]
      await one.append('order-1', 'noStream', newEvents([0]))
      const settled = await Promise.allSettled(range(1, 10).map((n) => (n % 2 === 0 ? one : two).append('order-1', 0n, newEvents([n]))))
      equal(settled.filter(({ status }) => status === 'fulfilled').length, 1)
      for (const { reason } of settled.filter((each) => each.status === 'rejected')) ok(isTrunklineError(reason, 'store.wrong_revision'), String(reason))
      equal((await readStream(two, 'order-1')).length, 2)
    },
  },
  {
    name: 'reads forwards from an exclusive cursor, page by page, and says when it is at the end',
    async run(stage) {
      const { log } = await stage.open()
      await log.append('order-1', 'noStream', newEvents(range(0, 24)))
      const selection = { kind: 'stream', stream: 'order-1' } as const
      const page = await log.read({ selection, direction: 'forwards', after: 4n, limit: 10 })
      deepEqual([numbersOf(page.events), page.cursor, page.isEnd], [range(5, 14), 14n, false])
      const last = await log.read({ selection, direction: 'forwards', after: 14n, limit: 100 })
      deepEqual([numbersOf(last.events), last.cursor, last.isEnd], [range(15, 24), 24n, true])
      const beyond = await log.read({ selection, direction: 'forwards', after: 24n, limit: 10 })
      deepEqual([beyond.events, beyond.cursor, beyond.isEnd], [[], 24n, true])
      deepEqual((await log.read({ selection, direction: 'forwards', after: FAR, limit: 10 })).events, [])
      for (const limit of [1, 7, 25, 26]) deepEqual(numbersOf(await readAll(log, selection, limit)), range(0, 24))
    },
  },
  {
    name: 'reads backwards from the last one or from an exclusive cursor',
    async run(stage) {
      const { log } = await stage.open()
      await log.append('order-1', 'noStream', newEvents(range(0, 24)))
      const selection = { kind: 'stream', stream: 'order-1' } as const
      const page = await log.read({ selection, direction: 'backwards', after: undefined, limit: 10 })
      deepEqual([numbersOf(page.events), page.cursor, page.isEnd], [range(15, 24).toReversed(), 15n, false])
      const next = await log.read({ selection, direction: 'backwards', after: 15n, limit: 100 })
      deepEqual([numbersOf(next.events), next.cursor, next.isEnd], [range(0, 14).toReversed(), 0n, true])
      const all = await log.read({ selection: { kind: 'all' }, direction: 'backwards', after: undefined, limit: 3 })
      deepEqual(numbersOf(all.events), [24, 23, 22])
      deepEqual((await log.read({ selection, direction: 'backwards', after: 0n, limit: 10 })).events, [])
    },
  },
  {
    name: 'gives nothing of a stream or a category that does not exist',
    async run(stage) {
      const { log } = await stage.open()
      await log.append('order-1', 'noStream', newEvents([1]))
      for (const selection of [{ kind: 'stream', stream: 'order-2' }, { kind: 'category', category: 'none' }] as const) {
        for (const direction of ['forwards', 'backwards'] as const) {
          const page = await log.read({ selection, direction, after: undefined, limit: 10 })
          deepEqual([page.events, page.isEnd], [[], true])
        }
      }
    },
  },
  {
    name: 'keeps streams and categories apart, whatever their names are like',
    async run(stage) {
      const { log } = await stage.open()
      for (const [at, stream] of STREAMS.entries()) await log.append(stream, 'noStream', newEvents([at]))
      for (const [at, stream] of STREAMS.entries()) deepEqual([stream, ...numbersOf(await readStream(log, stream))], [stream, at])
      const indexes = (category: string): number[] => [...STREAMS.keys()].filter((at) => STREAMS[at]?.split('-')[0] === category)
      for (const category of ['order', 'Order', 'ord_r', 'orders', 'o']) {
        const events = await readAll(log, { kind: 'category', category }, 3)
        deepEqual([category, ...numbersOf(events)], [category, ...indexes(category)])
      }
    },
  },
  {
    name: 'reads the whole log and categories in the order of the appends, with cursors that are positions',
    async run(stage) {
      const { log } = await stage.open()
      for (const n of range(1, 30)) await log.append(`${n % 3 === 0 ? 'order' : 'item'}-${n % 5}`, 'any', newEvents([n]))
      const all = await readAll(log, { kind: 'all' }, 7)
      deepEqual(numbersOf(all), range(1, 30))
      inPositionOrder(all)
      const thirds = range(1, 30).filter((n) => n % 3 === 0)
      deepEqual(numbersOf(await readAll(log, { kind: 'category', category: 'order' }, 4)), thirds)
      deepEqual(numbersOf(await readAll(log, { kind: 'all' }, 100, all[9]?.position)), range(11, 30))
      const later = await readAll(log, { kind: 'category', category: 'order' }, 100, all[14]?.position)
      deepEqual(numbersOf(later), thirds.filter((n) => n > 15))
      const head = await log.head()
      ok(head !== undefined && head >= (all.at(-1)?.position ?? 0n), 'the head is not before the last event')
      deepEqual(await readAll(log, { kind: 'all' }, 10, head), [])
    },
  },
  {
    name: 'keeps bodies byte by byte: nothing, NUL, half a surrogate, no UTF-8, odd JSON, a quarter of a mebibyte',
    async run(stage) {
      const { log } = await stage.open()
      const events = BODIES.map((body, at) => ({
        message: wireMessage({ type: 'conformance.happened', body, contentType: at === 2 ? 'application/octet-stream' : 'application/json' }), isPublic: false,
      }))
      await log.append('order-1', 'noStream', events)
      const stored = await readStream(log, 'order-1')
      equal(stored.length, events.length)
      for (const [at, { message }] of events.entries()) sameMessage(stored[at]?.message, message)
    },
  },
  {
    name: 'reads much, page by page',
    async run(stage) {
      const { log } = await stage.open()
      const body = (n: number): Buffer => Buffer.from(JSON.stringify({ n, fill: 'x'.repeat(n % 50 === 0 ? 250_000 : 200) }))
      for (const batch of range(0, 9)) {
        const numbers = range(batch * 100 + 1, batch * 100 + 100)
        const events = numbers.map((n) => ({ message: wireMessage({ type: 'conformance.happened', body: body(n) }), isPublic: false }))
        await log.append('order-1', batch === 0 ? 'noStream' : BigInt(batch * 100 - 1), events)
      }
      deepEqual(numbersOf(await readAll(log, { kind: 'stream', stream: 'order-1' }, 1_000)), range(1, 1_000))
      deepEqual(numbersOf(await readAll(log, { kind: 'all' }, 64)), range(1, 1_000))
    },
  },
  {
    name: 'shows every process the same log',
    async run(stage) {
      const [one, two] = [await stage.open(), await stage.open()]
      await one.log.append('order-1', 'noStream', newEvents([1]))
      await two.log.append('order-1', 0n, newEvents([2]))
      const logs = await Promise.all([one, two].map(({ log }) => readAll(log, { kind: 'all' })))
      deepEqual(logs.map(placesOf), [placesOf(logs[1] ?? []), placesOf(logs[0] ?? [])])
      deepEqual(numbersOf(logs[0] ?? []), [1, 2])
    },
  },
  {
    name: 'keeps its events when every process that used it has ended',
    needs: ['survivesProcessDeath'],
    async run(stage) {
      const before = await writtenBy(stage)
      await stage.closeAll()
      const { log } = await stage.open()
      deepEqual(placesOf(await readAll(log, { kind: 'all' })), before)
      equal((await log.append('order-1', 2n, newEvents([4]))).revision, 3n)
      const last = (await readStream(log, 'order-1')).at(-1)
      ok(last !== undefined && last.position > (BigInt(before.at(-1)?.split(' ')[0] ?? 0)), 'positions go on growing')
    },
  },
])

async function writtenBy(stage: StoreStage): Promise<readonly string[]> {
  const { log } = await stage.open()
  await log.append('order-1', 'noStream', newEvents([1, 2, 3]))
  return placesOf(await readAll(log, { kind: 'all' }))
}

/** Where events are, as texts. */
function placesOf(events: readonly StoredEvent[]): readonly string[] {
  return events.map(({ position, stream, revision, message }) => `${position} ${stream} ${revision} ${message.id}`)
}

/** Positions grow from event to event. */
export function inPositionOrder(events: readonly StoredEvent[]): void {
  for (const [at, event] of events.entries()) {
    const before = events[at - 1]
    ok(before === undefined || before.position < event.position, `position ${event.position} comes after ${before?.position}`)
  }
}
