import { deepEqual, equal, match, ok } from 'node:assert/strict'
import type { Bus } from '../bus/bus.ts'
import type { DeadLetter } from '../bus/port.ts'
import { reject } from '../bus/retry-policy.ts'
import { type ConformanceCase, casesOf } from './conformance-case.ts'
import { Moved, Reserve, Ticked, Tocked } from './conformance-contracts.ts'
import { type Stage, range, refusal, sorted, userError, wireMessage } from './conformance-stage.ts'

/** A bus whose group `work` gives every `Ticked` up at once, with `count` of them given up. */
async function withLetters(stage: Stage, count: number): Promise<Bus> {
  const bus = stage.bus().on(Ticked, { group: 'work' }, ({ data }) => {
    throw reject(`number ${data.n}`)
  })
  await bus.start()
  for (const n of range(1, count)) await bus.publish(Ticked, { n })
  await stage.until('all are given up', async () => (await listed(bus)).length === count)
  return bus
}

async function listed(bus: Bus): Promise<readonly DeadLetter[]> {
  return (await bus.deadLetters.list({}, { limit: 500 })).items
}

function numberOf(letter: DeadLetter | undefined): number {
  const data: unknown = letter === undefined ? undefined : JSON.parse(Buffer.from(letter.message.body).toString())
  const n: unknown = typeof data === 'object' && data !== null ? Reflect.get(data, 'n') : undefined
  return typeof n === 'number' ? n : Number.NaN
}

/** What was given up is kept, shown, and brought back. */
export const deadLetterCases: readonly ConformanceCase[] = casesOf('dead letters', ['canStore'], [
  {
    name: 'keeps the whole reason: error, causes, attempts, handler, service, instance and time',
    needs: ['canManageDeadLetters', 'canDelayRetry'],
    async run(stage) {
      const bus = stage.bus().on(Moved, { group: 'work', retry: { attemptsMax: 2 }, name: 'bill the customer' }, () => {
        throw userError('outer “ß”', { cause: Object.assign(userError('inner\nline'), { code: 'ECODE' }) })
      })
      await bus.start()
      await bus.publish(Moved, { key: 'k 1', n: 1 }, { id: 'id-1', headers: { mark: 'ü' }, correlationId: 'flow' })
      await stage.until('it is given up', async () => (await listed(bus)).length === 1)
      const [letter] = await listed(bus)
      ok(letter !== undefined)
      const { record, message } = letter
      deepEqual([letter.group, letter.kind, letter.holdsKey], ['shop.work', 'event', false])
      const { reason, attempts, handler, service, instance } = record
      deepEqual([reason, attempts, handler, service, instance], ['bus.handler_failed', 2, 'bill the customer', 'shop', bus.instance])
      ok(Math.abs(Date.parse(record.at) - stage.nowMs) < 60_000)
      deepEqual(
        record.errors.map(({ name, message: text, code }) => [name, text, code]),
        [['Error', 'outer “ß”', undefined], ['Error', 'inner\\u000aline', 'ECODE']],
      )
      ok(/outer.*\n {4}at /.test(record.errors[0]?.stack ?? ''), 'a stack has lines')
      const { id, type, key, source, correlationId, headers } = message
      deepEqual([id, type, key, source, correlationId, headers?.['mark']], ['id-1', 'conformance.moved', 'k 1', '/shop', 'flow', 'ü'])
      deepEqual(JSON.parse(Buffer.from(message.body).toString()), { key: 'k 1', n: 1 })
    },
  },
  {
    name: 'keeps every attribute and every byte of a message, also of one that nobody can read',
    needs: ['canManageDeadLetters'],
    async run(stage) {
      const port = await stage.port()
      await port.subscribe({ group: 'shop.work', types: [Moved.type] })
      const body = Buffer.from(Array.from({ length: 1_024 }, (_, index) => (index * 7) % 256))
      const sent = wireMessage({
        type: Moved.type, id: 'raw 1', source: 'urn:other:system', version: 3, time: 'around noon', key: 'käse.*.>#', correlationId: 'c', causationId: 'b',
        deadline: '2099-01-01T00:00:00.000Z', tenant: 'acme', traceparent: '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01', tracestate: 'a=1',
        hops: 3, headers: { note: 'né' }, body,
      })
      await port.publish('event', sent)
      await stage.until('it is delivered', () => port.deliveries.length === 1)
      const record = { reason: 'contract.body_malformed', errors: [], attempts: 1, handler: 'h', service: 's', instance: 'i', at: '2020-01-01T00:00:00.000Z' }
      await port.deliveries[0]?.deadLetter(record)
      await stage.until('it is listed', async () => (await port.deadLetters.list({}, { limit: 10 })).items.length === 1)
      const letter = (await port.deadLetters.list({}, { limit: 10 })).items[0]
      ok(letter !== undefined)
      deepEqual(comparable(letter.message), comparable(sent))
      deepEqual(letter.record, record)
      const read = await port.deadLetters.read(letter.id)
      deepEqual(comparable(read?.message ?? sent), comparable(sent))
      equal(await port.deadLetters.redrive(letter.id), true)
      await stage.until('it is delivered again', () => port.deliveries.length === 2)
      const again = port.deliveries[1]
      ok(again !== undefined)
      deepEqual(comparable(again.message), comparable(sent))
      deepEqual([again.attempt, again.isRedriven, again.isSuspect], [1, true, false])
      await again.ack()
    },
  },
  {
    name: 'lists page by page, oldest first, each one once',
    needs: ['canManageDeadLetters'],
    async run(stage) {
      const bus = stage.bus().on(Ticked, { group: 'work', inFlightMax: 1 }, () => {
        throw reject('no')
      })
      await bus.start()
      for (const n of range(1, 25)) {
        await bus.publish(Ticked, { n })
        await stage.until('it is given up', () => bus.stats().deadLettered === n)
      }
      await stage.until('all are listed', async () => (await listed(bus)).length === 25)
      const first = await bus.deadLetters.list({}, { limit: 10 })
      const second = await bus.deadLetters.list({}, { limit: 10, after: first.next ?? '' })
      const third = await bus.deadLetters.list({}, { limit: 10, after: second.next ?? '' })
      deepEqual([first, second, third].map(({ items }) => items.length), [10, 10, 5])
      equal(third.next, undefined)
      const all = [...first.items, ...second.items, ...third.items]
      equal(new Set(all.map(({ id }) => id)).size, 25)
      deepEqual(all.map(numberOf), range(1, 25))
      const streamed: number[] = []
      for await (const letter of bus.deadLetters.all()) streamed.push(numberOf(letter))
      deepEqual(streamed, range(1, 25))
    },
  },
  {
    name: 'loses none while they are listed a hundred times, also by two at once',
    needs: ['canManageDeadLetters'],
    async run(stage) {
      const bus = await withLetters(stage, 30)
      const other = await stage.publisher()
      for (const _round of range(1, 50)) {
        const both = await Promise.all([listed(bus), listed(other)])
        for (const letters of both) deepEqual(sorted(letters.map(numberOf)), range(1, 30))
      }
      const [letter] = await listed(bus)
      deepEqual(numberOf(await bus.deadLetters.read(letter?.id ?? '')), numberOf(letter))
    },
  },
  {
    name: 'filters by group, type and reason',
    needs: ['canManageDeadLetters'],
    async run(stage) {
      const bus = stage.bus().on([Ticked, Tocked], { group: 'first' }, ({ type }) => {
        throw type === Tocked.type ? reject('no') : userError('failed')
      })
      bus.on(Ticked, { group: 'second', retry: { attemptsMax: 1 } }, () => {
        throw userError('failed')
      })
      await bus.start()
      await bus.publish(Tocked, { n: 1 })
      await bus.publish(Ticked, { n: 2 })
      await stage.until('three are given up', async () => (await listed(bus)).length >= 2)
      const count = async (filter: Parameters<Bus['deadLetters']['list']>[0]): Promise<number> => (await bus.deadLetters.list(filter)).items.length
      await stage.until('the retried one is given up too', async () => (await count({})) === 3)
      deepEqual(
        await Promise.all([{ group: 'shop.first' }, { group: 'shop.second' }, { type: Ticked.type }, { reason: 'bus.rejected' }].map(count)),
        [2, 1, 2, 1],
      )
      deepEqual(
        await Promise.all([{ group: 'shop.first', type: Ticked.type }, { group: 'shop.second', type: Tocked.type }, { reason: 'nothing' }].map(count)),
        [1, 0, 0],
      )
    },
  },
  {
    name: 'says so where there is no such dead letter',
    needs: ['canManageDeadLetters'],
    async run(stage) {
      const bus = await withLetters(stage, 1)
      const [letter] = await listed(bus)
      await bus.deadLetters.skip(letter?.id ?? '')
      for (const id of [letter?.id ?? '', '', 'no such thing', '999999999', 'shop.work:1', '../../etc', '*']) {
        await refusal(() => bus.deadLetters.read(id), 'bus.dead_letter_missing', `reading ${JSON.stringify(id)}`)
        await refusal(() => bus.deadLetters.redrive(id), 'bus.dead_letter_missing', `redriving ${JSON.stringify(id)}`)
        await refusal(() => bus.deadLetters.skip(id), 'bus.dead_letter_missing', `skipping ${JSON.stringify(id)}`)
      }
    },
  },
  {
    name: 'redrives one: the same message again from attempt 1, to its own group alone',
    needs: ['canManageDeadLetters', 'canDelayRetry'],
    async run(stage) {
      let isCured = false
      const seen: string[] = []
      const bus = stage.bus().on(Ticked, { group: 'work', retry: { attemptsMax: 2 } }, (message, { attempt, isRedriven }) => {
        if (!isCured) throw userError('sick')
        seen.push(`work ${message.id} ${attempt} ${isRedriven} ${message.headers['mark']}`)
      })
      bus.on(Ticked, { group: 'other' }, ({ id }) => seen.push(`other ${id}`))
      await bus.start()
      await bus.publish(Ticked, { n: 1 }, { id: 'one', headers: { mark: 'ü' } })
      await stage.until('it is given up', async () => (await listed(bus)).length === 1)
      isCured = true
      await bus.deadLetters.redrive((await listed(bus))[0]?.id ?? '')
      await stage.until('it is handled', () => seen.includes('work one 1 true ü'))
      await bus.publish(Ticked, { n: 2 }, { id: 'two', headers: { mark: 'x' } })
      await stage.until('the next one is handled by both', () => seen.includes('work two 1 false x') && seen.includes('other two'))
      equal(seen.filter((text) => text === 'other one').length, 1)
      deepEqual(await listed(bus), [])
    },
  },
  {
    name: 'lists a redriven message again when it fails again',
    needs: ['canManageDeadLetters', 'canDelayRetry'],
    async run(stage) {
      const attempts: number[] = []
      const bus = stage.bus().on(Ticked, { group: 'work', retry: { attemptsMax: 2 } }, (_message, { attempt }) => {
        attempts.push(attempt)
        throw userError('sick')
      })
      await bus.start()
      await bus.publish(Ticked, { n: 1 })
      for (const round of [1, 2, 3]) {
        await stage.until(`it is given up ${round} times`, async () => bus.stats().deadLettered === round && (await listed(bus)).length === 1)
        equal((await listed(bus))[0]?.record.attempts, 2)
        if (round < 3) await bus.deadLetters.redrive((await listed(bus))[0]?.id ?? '')
      }
      deepEqual(attempts, [1, 2, 1, 2, 1, 2])
    },
  },
  {
    name: 'redrives many by filter, and says how many',
    needs: ['canManageDeadLetters'],
    async run(stage) {
      let isCured = false
      const seen: number[] = []
      const bus = stage.bus()
      for (const group of ['first', 'second']) {
        bus.on(Ticked, { group }, ({ data }) => {
          if (!isCured) throw reject('sick')
          if (group === 'first') seen.push(data.n)
          else seen.push(-data.n)
        })
      }
      await bus.start()
      for (const n of range(1, 12)) await bus.publish(Ticked, { n })
      await stage.until('all are given up', async () => (await listed(bus)).length === 24)
      isCured = true
      equal(await bus.deadLetters.redriveAll({ group: 'shop.first' }), 12)
      await stage.until('the redriven ones are handled', () => seen.length >= 12)
      deepEqual(sorted(seen), range(1, 12))
      equal((await listed(bus)).length, 12)
    },
  },
  {
    name: 'skips one and purges many for good',
    needs: ['canManageDeadLetters'],
    async run(stage) {
      const bus = await withLetters(stage, 8)
      const letters = await listed(bus)
      await bus.deadLetters.skip(letters[2]?.id ?? '')
      const left = letters.filter((_letter, at) => at !== 2).map(numberOf)
      deepEqual((await listed(bus)).map(numberOf), left)
      equal(await bus.deadLetters.purge({ reason: 'nothing' }), 0)
      equal(await bus.deadLetters.purge({ group: 'shop.work' }), 7)
      deepEqual(await listed(bus), [])
    },
  },
  {
    name: 'keeps the dead letters of commands',
    needs: ['canManageDeadLetters'],
    async run(stage) {
      let isCured = false
      let handled = 0
      const bus = stage.bus('stock').handle(Reserve, () => {
        if (!isCured) throw reject('sick')
        handled++
        return { left: 1 }
      })
      await bus.start()
      await bus.send(Reserve, { key: 'k', n: 1 })
      await stage.until('it is given up', async () => (await listed(bus)).length === 1)
      const [letter] = await listed(bus)
      deepEqual([letter?.kind, letter?.group], ['command', Reserve.type])
      isCured = true
      await bus.deadLetters.redrive(letter?.id ?? '')
      await stage.until('it is handled', () => handled === 1)
    },
  },
  {
    name: 'keeps dead letters when every bus has stopped, for any bus to redrive',
    needs: ['canManageDeadLetters'],
    async run(stage) {
      const first = await withLetters(stage, 3)
      await first.stop()
      await refusal(() => first.deadLetters.list(), 'bus.not_running')
      const operator = await stage.publisher()
      deepEqual(sorted((await listed(operator)).map(numberOf)), range(1, 3))
      equal(await operator.deadLetters.redriveAll({}), 3)
      const seen: number[] = []
      await stage.bus().on(Ticked, { group: 'work' }, ({ data }, { isRedriven }) => seen.push(isRedriven ? data.n : 0)).start()
      await stage.until('they are handled', () => seen.length >= 3)
      deepEqual(sorted(seen), range(1, 3))
    },
  },
  {
    name: 'keeps a long chain of long errors within bounds',
    needs: ['canManageDeadLetters'],
    async run(stage) {
      const chain = range(1, 30).reduce<Error>((cause, depth) => userError(`level ${depth} ${'ä\n'.repeat(20_000)}`, { cause }), userError('root'))
      const bus = stage.bus().on(Ticked, { group: 'work' }, () => {
        throw reject(chain)
      })
      await bus.start()
      await bus.publish(Ticked, { n: 1 })
      await stage.until('it is given up', async () => (await listed(bus)).length === 1)
      const [letter] = await listed(bus)
      equal(letter?.record.reason, 'bus.rejected')
      match(letter?.record.errors[0]?.message ?? '', /level 30/)
      ok((letter?.record.errors.length ?? 0) <= 8)
    },
  },
])

/** Everything of a message that may be compared: the body as text of its bytes. */
function comparable(message: DeadLetter['message']): object {
  return { ...message, headers: { ...message.headers }, body: Buffer.from(message.body).toString('base64') }
}
