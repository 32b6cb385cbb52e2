import { deepEqual, equal, match, ok, rejects } from 'node:assert/strict'
import type { BusEvent } from '../bus/bus-events.ts'
import type { LightDelivery } from '../bus/port.ts'
import { isTrunklineError } from '../core/errors.ts'
import { type ConformanceCase, casesOf } from './conformance-case.ts'
import { LooseQuote, Moved, Quote, Reserve, Ticked, Tocked, Weigh } from './conformance-contracts.ts'
import { range, refusal, userError, wireMessage } from './conformance-stage.ts'

/** An ask whose time is over: its own limit, or the handler's, which ends at the same instant. */
const isOver = (error: unknown): boolean => isTrunklineError(error, 'bus.ask_timeout') || isTrunklineError(error, 'bus.answer_failed')

/** Questions and answers. */
export const callCases: readonly ConformanceCase[] = casesOf('calls', [], [
  {
    name: 'answers a query of another service',
    needs: ['canRequest'],
    async run(stage) {
      const seen: string[] = []
      const answering = stage.bus('pricing').answer(Quote, ({ data, source, headers }) => {
        seen.push(`${source} ${headers['mark']}`)
        return { text: `price of ${data.n}` }
      })
      const asking = stage.bus('shop')
      await Promise.all([answering.start(), asking.start()])
      deepEqual(await asking.ask(Quote, { n: 7 }, { headers: { mark: 'ü' } }), { text: 'price of 7' })
      deepEqual(seen, ['/shop ü'])
      await stage.until('it is counted', () => answering.stats().answered === 1)
    },
  },
  {
    name: 'gives every asker the answer to its own question',
    needs: ['canRequest'],
    async run(stage) {
      for (const service of ['pricing', 'pricing']) {
        await stage
          .bus(service)
          .answer(Quote, async ({ data }) => {
            await stage.pause(stage.random.next() * 3)
            return { text: `${data.n}` }
          })
          .start()
      }
      const [first, second] = [await stage.publisher(), await stage.publisher()]
      const answers = await Promise.all(range(1, 300).map((n) => (n % 2 === 0 ? first : second).ask(Quote, { n })))
      deepEqual(answers.map(({ text }) => Number(text)), range(1, 300))
    },
  },
  {
    name: 'shares questions between the instances that answer them, each to one',
    needs: ['canRequest'],
    async run(stage) {
      const gate = stage.gate()
      const busy: number[] = []
      for (const instance of [1, 2]) {
        await stage
          .bus('pricing')
          .answer(Quote, async ({ data }) => {
            busy.push(instance)
            await gate.opened
            return { text: `${data.n}` }
          })
          .start()
      }
      const asking = await stage.publisher()
      const answers = range(1, 40).map((n) => asking.ask(Quote, { n }, { timeoutMs: stage.patienceMs }))
      await stage.until('all have arrived', () => busy.length >= 40)
      gate.open()
      await Promise.all(answers)
      equal(busy.length, 40)
      deepEqual(new Set(busy), new Set([1, 2]))
    },
  },
  {
    name: 'gives the asker a declared error with its data',
    needs: ['canRequest'],
    async run(stage) {
      const bus = stage.bus().answer(Quote, ({ data }) => {
        throw Quote.error('unknown', { n: data.n })
      })
      await bus.start()
      const error = await refusal(() => bus.ask(Quote, { n: 3 }), 'contract.declared_error')
      deepEqual(Quote.errorIn(error), { type: 'conformance.quote', name: 'unknown', data: { n: 3 } })
    },
  },
  {
    name: 'tells the asker that the handler failed, and why',
    needs: ['canRequest'],
    async run(stage) {
      const bus = stage.bus().answer(Quote, () => {
        throw userError('no prices today: größer\nals')
      })
      await bus.start()
      const error = await refusal(() => bus.ask(Quote, { n: 1 }), 'bus.answer_failed')
      ok(isTrunklineError(error, 'bus.answer_failed'))
      deepEqual(error.details, { type: Quote.type, code: 'bus.handler_failed', problem: 'no prices today: größer\\u000aals' })
    },
  },
  {
    name: 'tells the asker that a question or an answer does not fit the schema',
    needs: ['canRequest'],
    async run(stage) {
      let answer: unknown = { text: 'ok' }
      const answering = stage.bus('pricing').answer(Quote, () => ({ text: 'ok' }))
      await answering.start()
      const asking = await stage.publisher()
      const refused = await refusal(() => asking.ask(LooseQuote, { n: 'seven' }), 'bus.answer_failed')
      ok(isTrunklineError(refused, 'bus.answer_failed') && refused.details.code === 'contract.payload_invalid')
      await answering.stop()
      const careless = stage.bus('pricing').answer(LooseQuote, () => answer)
      await careless.start()
      const strict = stage.bus('strict')
      await strict.start()
      deepEqual(await strict.ask(Quote, { n: 1 }), { text: 'ok' })
      answer = { text: 5 }
      await refusal(() => strict.ask(Quote, { n: 1 }), 'contract.payload_invalid')
    },
  },
  {
    name: 'says at once that nobody answers',
    needs: ['canRequest'],
    async run(stage) {
      const bus = await stage.publisher()
      await refusal(() => bus.ask(Quote, { n: 1 }, { timeoutMs: stage.patienceMs }), 'bus.no_responder')
      const answering = stage.bus('pricing').answer(Quote, () => ({ text: 'x' }))
      await answering.start()
      deepEqual(await bus.ask(Quote, { n: 1 }), { text: 'x' })
      await answering.stop()
      await refusal(() => bus.ask(Quote, { n: 1 }, { timeoutMs: stage.patienceMs }), 'bus.no_responder')
    },
  },
  {
    name: 'hands a question that is for one instance to that one alone',
    needs: ['canRequest'],
    async run(stage) {
      const [asking, first, second] = [await stage.port('shop'), await stage.port('pricing'), await stage.port('pricing')]
      const taken: string[] = []
      const replies: string[] = []
      asking.light.onReply((token, reply) => replies.push(`${token} ${reply.kind}`))
      for (const [name, { light }] of [['first', first], ['second', second]] as const) {
        await light.onRequest(Quote.type, ({ message, replyTo }) => {
          taken.push(`${name} ${message.id}`)
          void light.reply(replyTo ?? '', wireMessage({ type: Quote.type, outcome: 'ok' }, { text: '' }))
        })
      }
      for (const n of range(1, 10)) await asking.light.request(wireMessage({ type: Quote.type, id: `q${n}` }, { n }), `t${n}`, second.light.address)
      await stage.until('all are answered', () => replies.length >= 10)
      deepEqual(taken.toSorted(), range(1, 10).map((n) => `second q${n}`).toSorted())
      deepEqual(replies.toSorted(), range(1, 10).map((n) => `t${n} reply`).toSorted())
    },
  },
  {
    name: 'says that nobody answers where the one instance that a question is for does not answer it',
    needs: ['canRequest'],
    async run(stage) {
      const [asking, silent, answering] = [await stage.port('shop'), await stage.port('pricing'), await stage.port('pricing')]
      const replies: string[] = []
      asking.light.onReply((token, reply) => replies.push(`${token} ${reply.kind}`))
      await answering.light.onRequest(Quote.type, ({ replyTo }) => void answering.light.reply(replyTo ?? '', wireMessage({ type: Quote.type, outcome: 'ok' }, { text: '' })))
      await asking.light.request(wireMessage({ type: Quote.type }, { n: 1 }), 'here', answering.light.address)
      await stage.until('the one that answers does', () => replies.length >= 1)
      await asking.light.request(wireMessage({ type: Quote.type }, { n: 2 }), 'not-there', silent.light.address)
      await stage.until('the other one is known not to', () => replies.length >= 2)
      deepEqual(replies, ['here reply', 'not-there no-responder'])
    },
  },
  {
    name: 'gives up an ask that takes too long, and drops and counts its late answer',
    needs: ['canRequest'],
    async run(stage) {
      const events: BusEvent[] = []
      // Without a bus of its own: a bus would give its handler up at the asker's deadline and say so.
      const answering = await stage.port('pricing')
      const requests: LightDelivery[] = []
      await answering.light.onRequest(Quote.type, (delivery) => {
        requests.push(delivery)
      })
      const asking = await stage.publisher()
      asking.observe((event) => events.push(event))
      await refusal(() => asking.ask(Quote, { n: 1 }, { timeoutMs: 150 }), 'bus.ask_timeout')
      await stage.until('the question has arrived', () => requests.length === 1)
      await answering.light.reply(requests[0]?.replyTo ?? '', wireMessage({ type: Quote.type, outcome: 'ok' }, { text: 'late' }))
      await stage.until('the late answer is counted', () => asking.stats().lateReplies === 1)
      equal(events.filter(({ kind }) => kind === 'reply-late').length, 1)
    },
  },
  {
    name: 'gives up a handler at the deadline of its asker',
    needs: ['canRequest'],
    async run(stage) {
      const reasons: unknown[] = []
      await stage
        .bus('pricing')
        .answer(Quote, async (_message, { signal }) => {
          await new Promise<void>((resolve) => {
            signal.addEventListener('abort', () => resolve())
          })
          reasons.push(signal.reason)
          return { text: 'late' }
        })
        .start()
      const asking = await stage.publisher()
      // The asker and the handler are given up at the same instant; the asker hears of one or the other.
      await rejects(asking.ask(Quote, { n: 1 }, { timeoutMs: 150 }), isOver)
      await stage.until('the handler is told', () => reasons.length === 1)
      ok(isTrunklineError(reasons[0], 'bus.deadline_passed'), String(reasons[0]))
    },
  },
  {
    name: 'gives up an ask whose signal aborts',
    needs: ['canRequest'],
    async run(stage) {
      const gate = stage.gate()
      await stage
        .bus('pricing')
        .answer(Quote, async () => {
          await gate.opened
          return { text: 'late' }
        })
        .start()
      const asking = await stage.publisher()
      const controller = new AbortController()
      const asked = refusal(() => asking.ask(Quote, { n: 1 }, { signal: controller.signal, timeoutMs: stage.patienceMs }), 'bus.ask_cancelled')
      controller.abort(userError('changed my mind'))
      const error = await asked
      match(String(error.cause), /changed my mind/)
      await refusal(() => asking.ask(Quote, { n: 1 }, { signal: controller.signal }), 'bus.ask_cancelled')
    },
  },
  {
    name: 'drops and counts a question whose asker has given up before a handler was free',
    needs: ['canRequest'],
    async run(stage) {
      const gate = stage.gate()
      const seen: number[] = []
      const answering = stage.bus('pricing').answer(Quote, { inFlightMax: 1 }, async ({ data }) => {
        seen.push(data.n)
        await gate.opened
        return { text: 'x' }
      })
      await answering.start()
      const asking = await stage.publisher()
      const first = asking.ask(Quote, { n: 1 }, { timeoutMs: stage.patienceMs })
      await stage.until('the handler is busy', () => seen.length === 1)
      const lateMs = stage.nowMs + 60
      await refusal(() => asking.ask(Quote, { n: 2 }, { timeoutMs: 40 }), 'bus.ask_timeout')
      await stage.until('its deadline has passed on the wall clock too', () => stage.nowMs > lateMs)
      gate.open()
      await first
      await stage.until('the second one is counted', () => answering.stats().expiredRequests === 1)
      deepEqual(seen, [1])
    },
  },
  {
    name: 'answers a command that is asked, after its handler is done',
    needs: ['canStore', 'canRequest', 'canDelayRetry'],
    async run(stage) {
      const runs: string[] = []
      const stock = stage.bus('stock').handle(Reserve, { retry: { attemptsMax: 2 } }, ({ data }, { attempt }) => {
        runs.push(`${data.key} ${attempt}`)
        if (data.key === 'gone') throw Reserve.error('soldOut', { key: 'gone' })
        if (data.key === 'sick' || (data.key === 'slow' && attempt === 1)) throw userError('broken shelf')
        return { left: data.n }
      })
      await stock.start()
      const asking = await stage.publisher()
      deepEqual(await asking.ask(Reserve, { key: 'there', n: 3 }), { left: 3 })
      // A failed attempt is no answer yet.
      deepEqual(await asking.ask(Reserve, { key: 'slow', n: 4 }), { left: 4 })
      const refused = await refusal(() => asking.ask(Reserve, { key: 'gone', n: 1 }), 'contract.declared_error')
      deepEqual(Reserve.errorIn(refused)?.data, { key: 'gone' })
      const failed = await refusal(() => asking.ask(Reserve, { key: 'sick', n: 1 }), 'bus.answer_failed')
      match(failed.message, /broken shelf/)
      deepEqual(runs, ['there 1', 'slow 1', 'slow 2', 'gone 1', 'sick 1', 'sick 2'])
    },
  },
  {
    name: 'drops an asked command whose asker has given up before it began, and lets its key go on',
    needs: ['canStore', 'canRequest'],
    async run(stage) {
      const asking = await stage.publisher()
      await refusal(() => asking.ask(Reserve, { key: 'k', n: 1 }, { timeoutMs: 40 }), 'bus.ask_timeout')
      const seen: number[] = []
      const stock = stage.bus('stock').handle(Reserve, ({ data }) => {
        seen.push(data.n)
        return { left: 1 }
      })
      await stock.start()
      await asking.send(Reserve, { key: 'k', n: 2 })
      await stage.until('a later command is handled', () => seen.includes(2))
      // The first one's deadline has passed: it is not handled as if somebody waited, and no operator has to let its key go.
      await stage.until('the first one is counted', () => stock.stats().expiredRequests === 1)
      deepEqual(seen, [2])
    },
  },
  {
    name: 'shortens the deadline of a second hop to that of the first',
    needs: ['canRequest'],
    async run(stage) {
      const deadlines: (number | undefined)[] = []
      const outcomes: string[] = []
      const gate = stage.gate()
      const weighing = stage.bus('scales').answer(Weigh, async (_message, { deadlineAtMs }) => {
        deadlines.push(deadlineAtMs)
        await gate.opened
        return { text: 'heavy' }
      })
      const pricing = stage.bus('pricing')
      pricing.answer(Quote, async ({ data }, { deadlineAtMs }) => {
        deadlines.push(deadlineAtMs)
        try {
          return await pricing.ask(Weigh, { n: data.n }, { timeoutMs: 60_000 })
        } catch (error) {
          outcomes.push(isTrunklineError(error) ? error.code : 'other')
          throw error
        }
      })
      await Promise.all([weighing.start(), pricing.start()])
      const asking = await stage.publisher()
      const limitMs = 1_000
      const endMs = stage.nowMs + limitMs
      // At the deadline the asker gives up and the handler is given up; either may be heard first, on both hops.
      await rejects(asking.ask(Quote, { n: 1 }, { timeoutMs: limitMs }), isOver)
      await stage.until('the second hop has ended too, long before its own limit', () => outcomes.length === 1)
      ok(outcomes.every((code) => code === 'bus.ask_timeout' || code === 'bus.answer_failed'), outcomes.join())
      equal(deadlines.length, 2)
      equal(deadlines[1], deadlines[0])
      ok(Math.abs((deadlines[0] ?? 0) - endMs) < limitMs)
    },
  },
  {
    name: 'hands correlation, causation and tenant on through two hops, and no deadline to what is published',
    needs: ['canStore', 'canRequest'],
    async run(stage) {
      const seen: string[] = []
      const deadlineAtMs = stage.nowMs + 60_000
      const first = stage.bus('first').on(Ticked, { group: 'work' }, async ({ id, correlationId, causationId, tenant }, context) => {
        seen.push(`ticked ${id} ${correlationId} ${causationId} ${tenant} ${context.deadlineAtMs === deadlineAtMs}`)
        await first.publish(Tocked, { n: 2 }, { id: 'second' })
      })
      const second = stage.bus('second').on(Tocked, { group: 'work' }, async ({ id, correlationId, causationId, tenant }, context) => {
        seen.push(`tocked ${id} ${correlationId} ${causationId} ${tenant} ${context.deadlineAtMs === deadlineAtMs}`)
        await second.publish(Moved, { key: 'k', n: 3 }, { id: 'third' })
        await second.ask(Quote, { n: 4 }, { id: 'fourth' })
      })
      const third = stage.bus('third').on(Moved, { group: 'work' }, ({ id, correlationId, causationId, tenant }) => {
        seen.push(`moved ${id} ${correlationId} ${causationId} ${tenant}`)
      })
      third.answer(Quote, ({ id, correlationId, causationId, tenant }) => {
        seen.push(`quote ${id} ${correlationId} ${causationId} ${tenant}`)
        return { text: '' }
      })
      await Promise.all([first.start(), second.start(), third.start()])
      const publisher = await stage.publisher()
      await publisher.publish(Ticked, { n: 1 }, { id: 'first', tenant: 'acme', deadlineAtMs })
      await stage.until('the flow has ended', () => seen.length >= 4)
      deepEqual(seen.toSorted(), [
        'moved third first second acme',
        'quote fourth first second acme',
        'ticked first first undefined acme true',
        'tocked second first first acme false',
      ])
    },
  },
  {
    name: 'dead-letters a message whose deadline has passed',
    needs: ['canStore', 'canManageDeadLetters'],
    async run(stage) {
      let runs = 0
      const bus = stage.bus().on(Ticked, { group: 'work' }, () => {
        runs++
      })
      await bus.start()
      await bus.publish(Ticked, { n: 1 }, { deadlineAtMs: stage.nowMs - 1_000 })
      await stage.until('it is given up', async () => (await bus.deadLetters.list({ reason: 'bus.deadline_passed' })).items.length === 1)
      equal(runs, 0)
    },
  },
  {
    name: 'carries a large question and a large answer',
    needs: ['canRequest'],
    async run(stage) {
      const text = 'ä'.repeat(100_000)
      const bus = stage.bus().answer(Quote, ({ data }) => ({ text: `${data.text}` }))
      await bus.start()
      const asking = await stage.publisher()
      deepEqual(await asking.ask(Quote, { n: 1, text }), { text })
    },
  },
])
