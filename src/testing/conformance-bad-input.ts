import { deepEqual, equal, match, ok } from 'node:assert/strict'
import type { Bus } from '../bus/bus.ts'
import type { GroupOptions } from '../bus/options.ts'
import type { DeadLetter } from '../bus/port.ts'
import { event } from '../contract/define.ts'
import type { WireMessage } from '../core/envelope.ts'
import { type ConformanceCase, casesOf } from './conformance-case.ts'
import { LooseTicked, Moved, NotedFirst, NotedSecond, Ticked } from './conformance-contracts.ts'
import { ANYTHING, BAD_TYPES, ODD_KEYS, ODD_VALUES, REFUSED, UNREADABLE, type Unreadable, untyped } from './conformance-bad-values.ts'
import { type Stage, refusal, userError, wireMessage } from './conformance-stage.ts'

/** What the outside world sends. Nothing of it ends a process, blocks a group or gets lost. */
export const badInputCases: readonly ConformanceCase[] = [...casesOf('bad input', ['canStore'], [
  {
    name: 'dead-letters at once what cannot be read, with its bytes as they came',
    needs: ['canManageDeadLetters'],
    run: deadLettersUnreadable,
  },
  {
    name: 'refuses to publish what cannot travel, and sends nothing of it',
    async run(stage) {
      const seen: unknown[] = []
      const bus = stage.bus().on(LooseTicked, { group: 'work' }, ({ data }) => seen.push(data))
      await bus.start()
      for (const { what, code, data = { n: 1 }, options } of REFUSED) await refusal(() => bus.publish(LooseTicked, data, options), code, what)
      await bus.publish(LooseTicked, 'the first one that is good')
      await stage.until('it is handled', () => seen.length >= 1)
      deepEqual(seen, ['the first one that is good'])
    },
  },
  {
    name: 'refuses data that do not fit the schema, and says where',
    async run(stage) {
      const seen: number[] = []
      const bus = stage.bus().on(Ticked, { group: 'work' }, ({ data }) => seen.push(data.n))
      await bus.start()
      for (const data of [{ n: 'one' }, { n: 1.5 }, {}, null, undefined, [], 'text']) {
        await refusal(() => bus.publish(Ticked, untyped(data)), 'contract.payload_invalid', JSON.stringify(data))
      }
      const error = await refusal(() => bus.publish(Ticked, untyped({ n: 1, text: 5 })), 'contract.payload_invalid')
      match(error.message, /\btext: /)
      await bus.publish(Ticked, { n: 2 })
      await stage.until('the good one is handled', () => seen.length >= 1)
      deepEqual(seen, [2])
    },
  },
  {
    name: 'carries odd but harmless data unchanged',
    async run(stage) {
      const seen: unknown[] = []
      const bus = stage.bus().on(LooseTicked, { group: 'work', inFlightMax: 1 }, ({ data }) => seen.push(data))
      await bus.start()
      for (const [at, data] of ODD_VALUES.entries()) {
        await bus.publish(LooseTicked, data)
        await stage.until('it is handled', () => seen.length > at)
      }
      deepEqual(seen, ODD_VALUES)
    },
  },
  {
    name: 'carries foreign bodies that are odd but readable, and keeps what the schema does not know out of the handler',
    async run(stage) {
      const seen: unknown[] = []
      const bus = stage.bus().on(Ticked, { group: 'work', inFlightMax: 1 }, ({ data, time }) => seen.push([data, time]))
      await bus.start()
      const port = await stage.port()
      const bodies = ['{"n":1,"n":2}', '{"n":-0}', '{"n":3,"text":"x","more":{"a":1}}', ' { "n" : 4 } \n', String.raw`{"n":5,"text":"\u0041"}`]
      const times = ['', 'yesterday', '0001-01-01T00:00:00Z', '+275760-09-13T00:00:00.001Z', '2020-01-01T00:00:00.123456789+05:30']
      for (const [at, body] of bodies.entries()) {
        await port.publish('event', wireMessage({ type: Ticked.type, time: times[at] ?? '', body: Buffer.from(body) }))
        await stage.until('it is handled', () => seen.length > at)
      }
      // B34: the sender's time is text that nobody relies on; an empty one may come back as none.
      deepEqual(seen, [[{ n: 2 }, times[0]], [{ n: -0 }, times[1]], [{ n: 3, text: 'x' }, times[2]], [{ n: 4 }, times[3]], [{ n: 5, text: 'A' }, times[4]]])
    },
  },
  {
    name: 'carries any key',
    async run(stage) {
      const free = new Map<string, number>()
      const bus = stage.bus().on(Moved, { group: 'free' }, ({ key, data }) => free.set(key ?? '', data.n))
      await bus.start()
      for (const [n, key] of ODD_KEYS.entries()) await bus.publish(Moved, { key, n })
      await stage.until('all are handled', () => free.size >= ODD_KEYS.length)
      deepEqual(free, new Map(ODD_KEYS.map((key, n) => [key, n])))
      for (const key of ['', 'x'.repeat(256), 'é'.repeat(128), 'a\nb', 'a\u0000']) {
        await refusal(() => bus.publish(Moved, { key, n: 1 }), 'contract.attribute_invalid', JSON.stringify(key.slice(0, 20)))
      }
    },
  },
  {
    name: 'keeps the order of any key',
    needs: ['canOrderByKey'],
    async run(stage) {
      const log = new Map<string, number[]>(ODD_KEYS.map((key) => [key, []]))
      const bus = stage.bus().on(Moved, { group: 'ordered', order: 'key' }, ({ data }) => log.get(data.key)?.push(data.n))
      await bus.start()
      for (const n of [1, 2, 3]) await Promise.all(ODD_KEYS.map((key) => bus.publish(Moved, { key, n })))
      await stage.until('all are handled', () => [...log.values()].every((line) => line.length >= 3))
      for (const [key, line] of log) deepEqual(line, [1, 2, 3], key)
    },
  },
  {
    name: 'lifts an older version to that of the handler, and dead-letters a newer one',
    needs: ['canManageDeadLetters'],
    async run(stage) {
      const seen: unknown[] = []
      const modern = stage.bus('modern').on(NotedSecond, { group: 'work' }, ({ data, version }) => seen.push([version, data]))
      const old = stage.bus('old').on(NotedFirst, { group: 'work' }, ({ data, version }) => seen.push([version, data]))
      await Promise.all([modern.start(), old.start()])
      await old.publish(NotedFirst, { text: 'four' })
      await stage.until('both have the first version', () => seen.length === 2)
      deepEqual(seen.map((one) => JSON.stringify(one)).toSorted(), ['[1,{"text":"four","size":4}]', '[1,{"text":"four"}]'])
      await modern.publish(NotedSecond, { text: 'x', size: 1 })
      const isGivenUp = async (): Promise<boolean> => (await old.deadLetters.list({ reason: 'contract.version_unknown' })).items.length === 1
      await stage.until('the old service gave the second version up', isGivenUp)
      await stage.until('the modern one has it', () => seen.length === 3)
      deepEqual(seen[2], [2, { text: 'x', size: 1 }])
      equal((await old.deadLetters.list()).items[0]?.group, 'old.work')
    },
  },
  {
    name: 'gives every group and every attempt the message as it was published, whatever a handler does to it',
    needs: ['canDelayRetry'],
    async run(stage) {
      const seen: unknown[] = []
      const bus = stage.bus()
      for (const group of ['first', 'second']) {
        bus.on(LooseTicked, { group }, (message, { attempt }) => {
          seen.push([JSON.stringify(message.data), message.headers['mark']])
          // B49: the types forbid it; plain JavaScript does not.
          Object.assign(untyped<object>(message.data), { n: -1 })
          try {
            Object.assign(message.headers, { mark: 'changed' })
          } catch {
            // Frozen headers are a good answer too.
          }
          if (attempt < 3) throw userError('again')
        })
      }
      await bus.start()
      await bus.publish(LooseTicked, { n: 1 }, { headers: { mark: 'original' } })
      await stage.until('all attempts have run', () => seen.length >= 6)
      deepEqual(new Set(seen.map(String)), new Set(['{"n":1},original']))
    },
  },
  {
    name: 'keeps a message as it was when it was published, whatever the publisher does to it later',
    async run(stage) {
      const seen: unknown[] = []
      const bus = stage.bus().on(LooseTicked, { group: 'work' }, ({ data, headers: given }) => seen.push([data, { ...given }]))
      await bus.start()
      const data = { n: 1 }
      const own = { mark: 'original' }
      const publishing = bus.publish(LooseTicked, data, { headers: own })
      data.n = 2
      own.mark = 'changed'
      await publishing
      await stage.until('it is handled', () => seen.length === 1)
      deepEqual(seen, [[{ n: 1 }, { mark: 'original' }]])
    },
  },
  {
    name: 'dead-letters what another program wrote and nobody can read as a message',
    needs: ['canManageDeadLetters'],
    uses: 'foreign',
    async run(stage) {
      const seen: number[] = []
      const bus = stage.bus().on(Ticked, { group: 'work' }, ({ data }) => seen.push(data.n))
      await bus.start()
      const good = { specversion: '1.0', id: 'one', source: 'urn:other', type: Ticked.type }
      const body = Buffer.from('{"n":1}')
      const contentType = 'application/json'
      await stage.publishForeign({ type: Ticked.type, attributes: {}, contentType: undefined, body: Buffer.from('hello') })
      await stage.publishForeign({ type: Ticked.type, attributes: { ...good, id: 'zero', specversion: '0.3' }, contentType, body })
      await stage.publishForeign({ type: Ticked.type, attributes: good, contentType: 'text/plain', body })
      await stage.publishForeign({ type: Ticked.type, attributes: { ...good, id: 'two', dataversion: 'x' }, contentType, body })
      await stage.publishForeign({ type: Ticked.type, attributes: { ...good, id: 'three', hops: '-1' }, contentType, body })
      await stage.publishForeign({ type: Ticked.type, attributes: { ...good, id: 'four', tenant: '../x' }, contentType, body })
      // B37: it travels on the subject of one type and says that it is another.
      await stage.publishForeign({ type: Ticked.type, attributes: { ...good, id: 'five', type: 'conformance.unheard-of' }, contentType, body })
      await stage.publishForeign({ type: Ticked.type, attributes: { ...good, id: 'six' }, contentType, body: Buffer.from('{"n":6}') })
      await stage.until('the good one is handled', () => seen.length === 1)
      await stage.until('the others are given up', async () => {
        const reasons = (await bus.deadLetters.list()).items.map(({ record }) => record.reason).toSorted()
        deepEqual(reasons, ['bus.type_unhandled', ...Array.from({ length: 6 }, () => 'contract.message_foreign')])
        return true
      })
      deepEqual(seen, [6])
      const letters = (await bus.deadLetters.list()).items
      ok(letters.some(({ message }) => Buffer.from(message.body).toString() === 'hello'), 'the bytes are kept')
    },
  },
]), ...casesOf('bad input', [], [
  {
    name: 'refuses options that make no sense before anything is connected',
    async run(stage) {
      const bad: readonly (readonly [string, unknown, (value: never) => Partial<GroupOptions>])[] = [
        ...[0, -1, 1.5, 10 ** 9, Number.NaN, '10'].map((value) => ['B44 inFlightMax', value, (inFlightMax: never) => ({ inFlightMax })] as const),
        ...[-1, Number.NaN, 0, 10 ** 15, Infinity, '5'].map((value) => ['B43 timeoutMs', value, (timeoutMs: never) => ({ timeoutMs })] as const),
        ...[0, -1, Infinity, Number.NaN].map((value) => ['B45 attemptsMax', value, (attemptsMax: never) => ({ retry: { attemptsMax } })] as const),
        ...[-1, Number.NaN, 10 ** 12].map((value) => ['B45 initialMs', value, (initialMs: never) => ({ retry: { initialMs } })] as const),
        ...['', ' ', 'a.b', 'A', '*', '>', 'x'.repeat(61), '../x', 'ä'].map((value) => ['the group', value, (group: never) => ({ group })] as const),
      ]
      for (const [what, value, options] of bad) {
        const subscribe = async (): Promise<Bus> => stage.bus().on(Ticked, { group: 'work', ...options(untyped(value)) }, () => {})
        await refusal(subscribe, 'core.option_invalid', `${what} ${JSON.stringify(value)}`)
      }
      for (const service of ['', 'a.b', 'A', '*', 'x'.repeat(61)]) {
        await refusal(async () => stage.bus(service), 'core.option_invalid', `the service ${service}`)
      }
    },
  },
  {
    name: 'refuses names of types outside the grammar, and two definitions of one type',
    async run(stage) {
      for (const name of BAD_TYPES) await refusal(async () => event(name, { schema: ANYTHING }), 'contract.definition_invalid', JSON.stringify(name))
      const bus = stage.bus()
      await refusal(
        async () => {
          bus.on(NotedFirst, { group: 'work' }, () => {})
          bus.on(NotedSecond, { group: 'other' }, () => {})
          await bus.start()
        },
        'contract.definition_conflict',
        'B51 two definitions of one type',
      )
    },
  },
])]

async function deadLettersUnreadable(stage: Stage): Promise<void> {
  const seen: number[] = []
  const bus = stage.bus().on(Ticked, { group: 'work' }, ({ data }, { attempt }) => seen.push(data.n * attempt))
  await bus.start()
  const port = await stage.port()
  const sent = new Map<string, Unreadable & { readonly message: WireMessage }>()
  for (const [at, row] of UNREADABLE.entries()) {
    const message = wireMessage({ type: Ticked.type, id: `bad-${at}`, ...row.parts, ...(row.body === undefined ? {} : { body: row.body }) }, { n: 0 })
    sent.set(message.id, { ...row, message })
    await port.publish('event', message)
  }
  await port.publish('event', wireMessage({ type: Ticked.type }, { n: 1 }))
  await stage.until('the good one is handled', () => seen.length >= 1)
  let letters: readonly DeadLetter[] = []
  await stage.until('the others are given up', async () => {
    letters = (await bus.deadLetters.list({}, { limit: 500 })).items
    return letters.length >= sent.size
  })
  deepEqual(seen, [1])
  equal(letters.length, sent.size)
  for (const { message, record } of letters) {
    const row = sent.get(message.id)
    equal(record.reason, row?.reason, row?.what)
    equal(record.attempts, 1, row?.what)
    ok(Buffer.from(message.body).equals(Buffer.from(row?.message.body ?? '')), `${row?.what}: the bytes are kept`)
    ok((record.errors[0]?.message ?? '') !== '', row?.what)
  }
}
