import { deepEqual, equal } from 'node:assert/strict'
import type { InboxEntry, InboxVerdict } from '../outbox/port.ts'
import { range } from './conformance-stage.ts'
import { type StoreCase, storeCasesOf } from './store-conformance-case.ts'
import { giveUp, newEvents, oneOf, readStream } from './store-conformance-stage.ts'

const NEW: InboxVerdict = { kind: 'new' }
const SEEN: InboxVerdict = { kind: 'seen', answer: undefined }
const COLLISION: InboxVerdict = { kind: 'collision' }

function entry(id: string, parts: Partial<InboxEntry> = {}): InboxEntry {
  return { group: 'shop.stock', source: '/source', id, digest: Buffer.alloc(32, 7), ...parts }
}

/** Verdicts without the answers' classes, which differ between drivers. */
function plain(verdicts: readonly InboxVerdict[]): readonly unknown[] {
  return verdicts.map((verdict) => (verdict.kind === 'seen' ? { kind: 'seen', answer: verdict.answer === undefined ? undefined : Buffer.from(verdict.answer).toString('hex') } : { kind: verdict.kind }))
}

/** Marks of handled messages: effects happen once. */
export const inboxCases: readonly StoreCase[] = storeCasesOf('inbox', [
  {
    name: 'knows a message again, in every process, and a body that is not the same',
    async run(stage) {
      const [one, other] = [await stage.open(), await stage.open()]
      deepEqual(await one.transact((tx) => tx.enter(entry('m-1'))), NEW)
      for (const backend of [one, other]) {
        deepEqual(plain([await backend.transact((tx) => tx.enter(entry('m-1')))]), plain([SEEN]))
        deepEqual(await backend.transact((tx) => tx.enter(entry('m-1', { digest: Buffer.alloc(32, 8) }))), COLLISION)
      }
      deepEqual(plain([await one.transact((tx) => tx.enter(entry('m-1')))]), plain([SEEN]))
    },
  },
  {
    name: 'keeps groups, sources and ids apart, whatever they are like',
    async run(stage) {
      const backend = await stage.open()
      const entries = [
        entry('1'), entry('1', { group: 'shop.other' }), entry('1', { source: '/sourc' }), entry('e1', { source: '/sourc' }), entry('/1', { source: '/source' }), entry('1', { source: '/source/' }),
        entry('A'), entry('a'), entry('a '), entry("'; --"), entry('\u00e9'), entry('e\u0301'), entry('ü'.repeat(120), { source: `/${'s'.repeat(200)}` }),
      ]
      deepEqual(await backend.transact((tx) => tx.enterMany(entries)), entries.map(() => NEW))
      deepEqual(plain(await backend.transact((tx) => tx.enterMany(entries.toReversed()))), plain(entries.map(() => SEEN)))
    },
  },
  {
    name: 'judges many at once, one after the other',
    async run(stage) {
      const backend = await stage.open()
      await backend.transact((tx) => tx.enter(entry('m-2')))
      const changed = entry('m-1', { digest: Buffer.alloc(32, 9) })
      const verdicts = await backend.transact((tx) => tx.enterMany([entry('m-1'), entry('m-2'), entry('m-3'), entry('m-1'), changed]))
      deepEqual(plain(verdicts), plain([NEW, SEEN, NEW, SEEN, COLLISION]))
      const many = range(1, 500).map((n) => entry(`many-${n}`))
      deepEqual(await backend.transact((tx) => tx.enterMany(many)), many.map(() => NEW))
      deepEqual(plain(await backend.transact((tx) => tx.enterMany(many))), plain(many.map(() => SEEN)))
      deepEqual(await backend.transact((tx) => tx.enterMany([])), [])
    },
  },
  {
    name: 'forgets a message whose unit was rolled back',
    async run(stage) {
      const backend = await stage.open()
      const failing = backend.transact((tx) => tx.enterMany([entry('m-1'), entry('m-2')]).then(() => Promise.reject(giveUp())))
      await failing.catch(() => undefined)
      deepEqual(await backend.transact((tx) => tx.enterMany([entry('m-1'), entry('m-2')])), [NEW, NEW])
    },
  },
  {
    name: 'keeps an answer beside its mark, byte by byte, and gives it to every repetition',
    async run(stage) {
      const [one, other] = [await stage.open(), await stage.open()]
      const answers: readonly (readonly [string, Buffer])[] = [['m-1', Buffer.from([0, 255, 123, 0])], ['m-2', Buffer.alloc(0)]]
      for (const [id, answer] of answers) {
        await one.transact(async (tx) => {
          deepEqual(await tx.enter(entry(id)), NEW)
          await tx.keepAnswer(entry(id), answer)
        })
        deepEqual(plain([await other.transact((tx) => tx.enter(entry(id)))]), plain([{ kind: 'seen', answer }]))
      }
      await one.transact(async (tx) => {
        await tx.enter(entry('m-3'))
        await tx.keepAnswer(entry('m-3'), Buffer.from('lost'))
        throw giveUp()
      }).catch(() => undefined)
      deepEqual(await other.transact((tx) => tx.enter(entry('m-3'))), NEW)
    },
  },
  {
    name: 'lets one of ten have the effect who enter the same message at the same time',
    async run(stage) {
      const backends = [await stage.open(), await stage.open()]
      for (const round of range(1, 5)) {
        const effect = async (n: number): Promise<InboxVerdict['kind']> =>
          await stage.unit(oneOf(backends, n), async (tx) => {
            const { kind } = await tx.enter(entry(`m-${round}`))
            await stage.pause(stage.random.next() * 3)
            if (kind === 'new') await tx.append(`effect-${round}`, 'any', newEvents([n]))
            return kind
          })
        const kinds = await Promise.all(range(1, 10).map(effect))
        deepEqual([kinds.filter((kind) => kind === 'new').length, kinds.filter((kind) => kind === 'seen').length], [1, 9])
        equal((await readStream(oneOf(backends, 0).log, `effect-${round}`)).length, 1)
      }
    },
  },
  {
    name: 'lets another one have the effect where the first who entered rolls back',
    async run(stage) {
      const [one, other] = [await stage.open(), await stage.open()]
      const entered = stage.gate()
      const failing = one.transact(async (tx) => {
        await tx.enter(entry('m-1'))
        entered.open()
        await stage.pause(40)
        throw giveUp()
      })
      const waiting = entered.opened.then(() => stage.unit(other, (tx) => tx.enter(entry('m-1'))))
      await failing.catch(() => undefined)
      deepEqual(await waiting, NEW)
    },
  },
  {
    name: 'removes old marks alone, no more of them than asked for, oldest first',
    async run(stage) {
      const backend = await stage.open()
      for (const n of range(1, 5)) {
        await backend.transact((tx) => tx.enter(entry(`old-${n}`)))
        await stage.pause(5)
      }
      equal(await backend.inbox.prune(3_600_000, 100), 0)
      await stage.pause(20)
      equal(await backend.inbox.prune(10, 2), 2)
      deepEqual(plain(await backend.transact((tx) => tx.enterMany([entry('old-1'), entry('old-2'), entry('old-5')]))), plain([NEW, NEW, SEEN]))
      equal((await backend.inbox.count()) >= 0, true)
      await stage.pause(20)
      equal(await backend.inbox.prune(10, 100), 5)
      equal(await backend.inbox.prune(0, 100), 0)
    },
  },
])
