import { describe, expect, test } from 'vitest'
import { type DeadLetter, type Delivery, TrunklineError, type WireMessage } from '../../src/index.ts'
import { type ConformanceCase, conformanceCases, runCase, testTransport } from '../../src/testing/index.ts'
import { wireMessage } from '../adapters/wire-messages.ts'
import { ANY, type Bend, bentSubject, mapped } from './bent-transport.ts'

/** A planted bug, and the case that must see it. */
type Mutant = readonly [bug: string, seenBy: string, bend: Bend]

const stored = Promise.resolve()
let count = 0
const everyTenth = (): boolean => ++count % 10 === 0
const changed = (change: (message: WireMessage) => Partial<WireMessage>): Bend => ({
  publish: (inner, { kind, message }) => inner.publish({ kind, message: { ...message, ...change(message) } }, undefined),
})

const MUTANTS: readonly Mutant[] = [
  [
    'loses a message in ten',
    'delivers ten thousand events to each of three groups at the same time, without loss',
    { publish: (inner, outbound) => (everyTenth() ? stored : inner.publish(outbound, undefined)) },
  ],
  [
    'delivers a message in ten twice',
    'delivers ten thousand events to each of three groups at the same time, without loss',
    {
      publish: (inner, outbound) => {
        if (everyTenth()) void inner.publish(outbound, undefined)
        return inner.publish(outbound, undefined)
      },
    },
  ],
  [
    'gives one group alone the event',
    'gives every group a copy',
    { subscription: (one) => ({ ...one, group: 'shop.first' }) },
  ],
  [
    'drops what no instance waits for',
    'keeps events for a group while none of its instances runs',
    {
      running: (inner) => ({ close: () => inner.resume() }),
      publish: (inner, outbound) => (outbound.message.source === '/publisher' ? stored : inner.publish(outbound, undefined)),
    },
  ],
  [
    'drops commands that nobody handles yet',
    'keeps a command that was sent before any service handled it',
    { publish: (inner, outbound) => (outbound.kind === 'command' ? stored : inner.publish(outbound, undefined)) },
  ],
  [
    'mixes namespaces',
    'keeps namespaces apart',
    { ownBroker: false },
  ],
  [
    'drops headers',
    'carries headers as they were given, also beyond ASCII',
    changed(() => ({ headers: undefined })),
  ],
  [
    'writes headers as Latin-1',
    'carries headers as they were given, also beyond ASCII',
    changed(({ headers }) => ({ headers: inLatin1(headers ?? {}) })),
  ],
  [
    'drops the key',
    'hands a published event to its handler, with everything that was said about it',
    changed(() => ({ key: undefined })),
  ],
  [
    'drops the tenant',
    'hands a published event to its handler, with everything that was said about it',
    changed(() => ({ tenant: undefined })),
  ],
  [
    'gives messages ids of its own',
    'hands a published event to its handler, with everything that was said about it',
    changed(({ id }) => ({ id: `${id}-2` })),
  ],
  [
    'cuts large bodies',
    'carries a body of the largest size and refuses one byte more',
    changed(({ body }) => ({ body: body.subarray(0, 65_536) })),
  ],
  [
    'ignores the window',
    'hands over no more than the window while nothing is settled, and goes on when something is',
    { subscription: (one) => ({ ...one, inFlightMax: 1_000 }) },
  ],
  [
    'acknowledges before the handler',
    'delivers again what a killed process had not finished',
    { sink: (sink) => (delivery) => { void delivery.ack(); sink(delivery) } },
  ],
  [
    'does not repeat what failed',
    'delivers a failed message again with the next attempt number, until it succeeds',
    { delivery: (inner) => ({ retry: () => acknowledged(inner) }) },
  ],
  [
    'loses the attempt number',
    'delivers a failed message again with the next attempt number, until it succeeds',
    { delivery: () => ({ attempt: 1 }) },
  ],
  [
    'loses headers on a retry',
    'delivers a failed message again with the next attempt number, until it succeeds',
    { delivery: (inner) => (inner.attempt > 1 ? { message: { ...inner.message, headers: undefined } } : {}) },
  ],
  [
    'ignores the delay',
    'holds a failed message back for its delay and lets the others pass',
    { delivery: (inner) => ({ retry: () => inner.retry(0) }) },
  ],
  [
    'waits for a delay inside the window',
    'lets healthy messages flow past more delayed poison than the in-flight limit',
    {
      delivery: (inner) => ({
        retry: (delayMs) => (delayMs > 1_000 ? stored : inner.retry(delayMs)),
      }),
    },
  ],
  [
    'repeats for every group',
    'repeats a message for the group that failed alone',
    { subscription: (one) => ({ ...one, group: 'shop.one' }) },
  ],
  [
    'spends an attempt on a release',
    'counts the attempts of a bare delivery by its settling: retry adds one, release none',
    { delivery: (inner) => ({ release: () => inner.retry(0) }) },
  ],
  [
    'drops what is released',
    'drains under load without losing or repeating anything, and without spending an attempt',
    { delivery: (inner) => ({ release: () => acknowledged(inner) }) },
  ],
  [
    'marks what was released as a suspect',
    'counts the attempts of a bare delivery by its settling: retry adds one, release none',
    { delivery: (inner) => ({ isSuspect: inner.attempt > 1 }) },
  ],
  [
    'ignores the order',
    'handles the messages of a key one at a time, in the order accepted',
    { subscription: (one) => ({ ...one, order: 'none' }) },
  ],
  [
    'lets the later ones pass a delayed one',
    'holds back the key of a delayed message and no other',
    { subscription: (one) => ({ ...one, order: 'none' }) },
  ],
  [
    'lets the later ones pass a failed one',
    'repeats a failed message before the later ones of its key',
    { subscription: (one) => ({ ...one, order: 'none' }) },
  ],
  [
    'lets the later ones pass a dead one',
    'holds back the key of a dead letter and no other, however much waits behind it, until it is skipped',
    { subscription: (one) => ({ ...one, order: 'none' }) },
  ],
  [
    'holds back every key',
    'lets keys overtake each other',
    changed(({ key }) => (key === undefined ? {} : { key: 'one' })),
  ],
  [
    'redrives behind what waited',
    'delivers a redriven message before those of its key that waited',
    { deadLetters: (inner) => ({ redrive: (id) => inner.remove(id) }) },
  ],
  [
    'throws dead letters away',
    'dead-letters a message after its last attempt',
    { delivery: (inner) => ({ deadLetter: () => acknowledged(inner) }) },
  ],
  [
    'keeps dead letters as text',
    'keeps every attribute and every byte of a message, also of one that nobody can read',
    {
      deadLetters: (inner) => ({
        list: (filter, options) => mapped(inner.list(filter, options), (letter) => ({ ...letter, message: { ...letter.message, body: asText(letter.message.body) } })),
      }),
    },
  ],
  [
    'forgets the causes',
    'keeps the whole reason: error, causes, attempts, handler, service, instance and time',
    { delivery: (inner) => ({ deadLetter: (record) => inner.deadLetter({ ...record, errors: record.errors.slice(0, 1) }) }) },
  ],
  [
    'loses dead letters while it lists them',
    'loses none while they are listed a hundred times, also by two at once',
    {
      deadLetters: (inner) => ({
        list: async (filter, options) => {
          const page = await inner.list(filter, options)
          if (page.items.length >= 30 && everyTenth()) await inner.remove(page.items[0]?.id ?? '')
          return page
        },
      }),
    },
  ],
  [
    'lists a dead letter on two pages',
    'lists page by page, oldest first, each one once',
    {
      deadLetters: (inner) => ({
        list: (filter, { limit, after }) => inner.list(filter, { limit, after: after === undefined ? undefined : `${Number(after) - 1}` }),
      }),
    },
  ],
  [
    'ignores the filter',
    'filters by group, type and reason',
    { deadLetters: (inner) => ({ list: (_filter, options) => inner.list(ANY, options) }) },
  ],
  [
    'says that it redrove what is not there',
    'says so where there is no such dead letter',
    { deadLetters: (inner) => ({ redrive: async (id) => (await inner.redrive(id)) || true }) },
  ],
  [
    'does not mark what is redriven',
    'redrives one: the same message again from attempt 1, to its own group alone',
    { delivery: () => ({ isRedriven: false }) },
  ],
  [
    'keeps a redriven letter listed',
    'redrives one: the same message again from attempt 1, to its own group alone',
    {
      deadLetters: (inner) => {
        const redriven: DeadLetter[] = []
        return {
          redrive: async (id) => {
            redriven.push(...(await inner.list(ANY, { limit: 500 })).items)
            return await inner.redrive(id)
          },
          list: async (filter, options) => ({ items: [...(await inner.list(filter, options)).items, ...redriven], next: undefined }),
        }
      },
    },
  ],
  [
    'does not count a suspect that begins',
    'gives up a message that kills its process as often as attempts are allowed, and handles its neighbours',
    { delivery: (inner) => ({ begin: () => Promise.resolve(inner.attempt) }) },
  ],
  [
    'does not say what is suspect',
    'gives up a message that kills its process as often as attempts are allowed, and handles its neighbours',
    { delivery: () => ({ isSuspect: false }) },
  ],
  [
    'delivers while it is paused',
    'stops deliveries while a subscription is paused and goes on after that',
    { running: () => ({ pause: () => stored }) },
  ],
  [
    'never ends a pause',
    'stops deliveries while a subscription is paused and goes on after that',
    { running: () => ({ resume: () => stored }) },
  ],
  [
    'drops what a closed subscription had',
    'leaves what a closed subscription did not settle to the others of its group',
    {
      running: (inner, out) => ({
        close: async () => {
          for (const delivery of out) await delivery.ack()
          await inner.close()
        },
      }),
    },
  ],
  [
    'broadcasts to nobody',
    'hands a broadcast to every instance, the sender among them',
    { light: () => ({ broadcast: () => stored }) },
  ],
  [
    'broadcasts to one instance',
    'hands a broadcast to every instance, the sender among them',
    { light: (inner) => ({ onBroadcast: (types, sink) => inner.onBroadcast(everyTenth() ? types : [], sink) }) },
  ],
  [
    'keeps durable events from broadcast subscriptions',
    'hands what is published durably to broadcast subscriptions as well',
    { publish: (inner, outbound) => inner.publish({ ...outbound, kind: 'command' }, undefined) },
  ],
  [
    'stores what is broadcast',
    'stores nothing for who is not there and nothing for groups',
    {
      light: (inner) => ({
        onBroadcast: (types, sink) => {
          sink({ message: wireMessage({ type: types[0] ?? '', body: Buffer.from('{"n":1}') }), replyTo: undefined })
          return inner.onBroadcast(types, sink)
        },
      }),
    },
  ],
  [
    'swaps answers',
    'gives every asker the answer to its own question',
    { light: (inner) => ({ onReply: (sink) => inner.onReply((token, reply) => sink(everyTenth() ? '1' : token, reply)) }) },
  ],
  [
    'says nothing where nobody answers',
    'says at once that nobody answers',
    { light: (inner) => ({ onReply: (sink) => inner.onReply((token, reply) => { if (reply.kind === 'reply') sink(token, reply) }) }) },
  ],
  [
    'hands a question for one instance to any',
    'hands a question that is for one instance to that one alone',
    { light: (inner) => ({ request: (message, token) => inner.request(message, token) }) },
  ],
  [
    'asks another instance where the one that was meant does not answer',
    'says that nobody answers where the one instance that a question is for does not answer it',
    { light: (inner) => ({ request: (message, token) => inner.request(message, token) }) },
  ],
  [
    'loses the outcome of an answer',
    'gives the asker a declared error with its data',
    { light: (inner) => ({ reply: (to, message) => inner.reply(to, { ...message, outcome: undefined }) }) },
  ],
  [
    'loses the deadline',
    'shortens the deadline of a second hop to that of the first',
    { light: (inner) => ({ request: (message, token) => inner.request({ ...message, deadline: undefined }, token) }) },
  ],
  [
    'loses causation',
    'hands correlation, causation and tenant on through two hops, and no deadline to what is published',
    changed(() => ({ causationId: undefined })),
  ],
  [
    'answers commands before they are handled',
    'answers a command that is asked, after its handler is done',
    changed(() => ({ replyTo: undefined })),
  ],
  [
    'repairs what it cannot read',
    'dead-letters at once what cannot be read, with its bytes as they came',
    changed(({ body }) => ({ body: body.length === 0 ? Buffer.from('null') : Buffer.from(Buffer.from(body).toString()) })),
  ],
  [
    'folds keys',
    'carries any key',
    changed(({ body }) => ({ key: 'k', body })),
  ],
  [
    'says that every message is of version 1',
    'lifts an older version to that of the handler, and dead-letters a newer one',
    changed(() => ({ version: 1 })),
  ],
]

async function acknowledged(delivery: Delivery): Promise<void> {
  await delivery.ack()
}

function inLatin1(headers: Readonly<Record<string, string>>): Record<string, string> {
  return Object.fromEntries(Object.entries(headers).map(([name, value]) => [name, Buffer.from(value, 'latin1').toString()]))
}

/** Bytes that went through a text; what is no UTF-8 is lost on the way. */
function asText(bytes: Uint8Array): Buffer {
  return Buffer.from(Buffer.from(bytes).toString())
}

function caseNamed(name: string): ConformanceCase {
  const found = conformanceCases.find((one) => one.name === name)
  if (found === undefined) throw new Error(`there is no case "${name}"`)
  return found
}

describe('the suite', () => {
  test('has cases with names of their own', () => {
    const names = conformanceCases.map(({ family, name }) => `${family}: ${name}`)
    expect(new Set(names).size).toBe(names.length)
  })

  test.concurrent.each(MUTANTS)('sees a transport that %s, in the case "%s"', { timeout: 20_000 }, async (_bug, seenBy, bend) => {
    await expect(runCase(caseNamed(seenBy), bentSubject(bend))).rejects.toThrow()
  })

  test('passes the same cases on the transport that nothing is wrong with', { timeout: 30_000 }, async () => {
    const subject = { ...bentSubject({}), waitMsMax: 10_000 }
    for (const name of new Set(MUTANTS.map(([, seenBy]) => seenBy))) await runCase(caseNamed(name), subject)
  })

  test('sees an operation that is declared absent and not refused', async () => {
    const runs: (() => Promise<void>)[] = []
    const silent: ConformanceCase = { family: 'delivery', name: 'replays', needs: ['canReplay'], run: () => Promise.resolve() }
    const refusing = (capability: string): ConformanceCase => ({
      ...silent,
      run: () => Promise.reject(new TrunklineError('bus.unsupported', { adapter: 'memory', capability, needed: 'it' })),
    })
    testTransport((_name, run) => runs.push(run), bentSubject({}), [silent, refusing('canBroadcast'), refusing('canReplay')])
    await expect(runs[0]?.()).rejects.toThrow(/canReplay/)
    await expect(runs[1]?.()).rejects.toThrow(/canReplay/)
    await runs[2]?.()
  })
})
