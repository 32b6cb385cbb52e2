import { deepEqual, equal, match, ok } from 'node:assert/strict'
import type { BusEvent } from '../bus/bus-events.ts'
import { reject } from '../bus/retry-policy.ts'
import type { Message } from '../core/envelope.ts'
import { TrunklineError, isTrunklineError } from '../core/errors.ts'
import { type ConformanceCase, casesOf } from './conformance-case.ts'
import { Reserve, Ticked } from './conformance-contracts.ts'
import { range, sorted, userError, wireMessage } from './conformance-stage.ts'

/** Long enough that nothing with this delay comes back while a case runs. */
const NEVER_MS = 600_000

/** What happens after a handler has failed. */
export const retryCases: readonly ConformanceCase[] = casesOf('retry', ['canStore'], [
  {
    name: 'delivers a failed message again with the next attempt number, until it succeeds',
    needs: ['canDelayRetry'],
    async run(stage) {
      const seen: (readonly [string, number, Message])[] = []
      const bus = stage.bus().on(Ticked, { group: 'work' }, (message, { attempt, attemptsMax }) => {
        equal(attemptsMax, 5)
        seen.push([message.id, attempt, message])
        if (attempt < 4) throw userError(`attempt ${attempt}`)
      })
      await bus.start()
      await bus.publish(Ticked, { n: 1, text: 'kept' }, { headers: { mark: 'ü' }, id: 'same' })
      await stage.until('it succeeds', () => seen.length >= 4)
      deepEqual(seen.map(([id, attempt]) => `${id} ${attempt}`), ['same 1', 'same 2', 'same 3', 'same 4'])
      // Everything but the attempt is the same each time.
      for (const [, , message] of seen) deepEqual(message, seen[0]?.[2])
      await stage.until('it is counted', () => bus.stats().handled === 1 && bus.stats().retried === 3)
    },
  },
  {
    name: 'delivers a failed command again',
    needs: ['canDelayRetry'],
    async run(stage) {
      const attempts: number[] = []
      const bus = stage.bus('stock').handle(Reserve, (_message, { attempt }) => {
        attempts.push(attempt)
        if (attempt < 3) throw userError('not yet')
        return { left: 0 }
      })
      await bus.start()
      await bus.send(Reserve, { key: 'k', n: 1 })
      await stage.until('it succeeds', () => attempts.length >= 3)
      deepEqual(attempts, [1, 2, 3])
    },
  },
  {
    name: 'repeats a message for the group that failed alone',
    needs: ['canDelayRetry'],
    async run(stage) {
      const seen: string[] = []
      const bus = stage.bus().on(Ticked, { group: 'sound' }, ({ data }) => seen.push(`sound ${data.n}`))
      bus.on(Ticked, { group: 'weak' }, ({ data }, { attempt }) => {
        seen.push(`weak ${data.n}`)
        if (data.n === 1 && attempt < 3) throw userError('weak')
      })
      await bus.start()
      await bus.publish(Ticked, { n: 1 })
      await stage.until('the weak group is done', () => seen.filter((text) => text === 'weak 1').length === 3)
      await bus.publish(Ticked, { n: 2 })
      await stage.until('both groups have the next one', () => seen.includes('sound 2') && seen.includes('weak 2'))
      equal(seen.filter((text) => text === 'sound 1').length, 1)
    },
  },
  {
    name: 'holds a failed message back for its delay and lets the others pass',
    needs: ['canDelayRetry'],
    async run(stage) {
      const seen: number[] = []
      const decide = (): { readonly kind: 'retry'; readonly delayMs: number } => ({ kind: 'retry', delayMs: NEVER_MS })
      const bus = stage.bus().on(Ticked, { group: 'work', decide }, ({ data }) => {
        seen.push(data.n)
        if (data.n === 1) throw userError('later')
      })
      await bus.start()
      await bus.publish(Ticked, { n: 1 })
      await stage.until('it has failed', () => bus.stats().retried === 1)
      for (const n of range(2, 30)) await bus.publish(Ticked, { n })
      await stage.until('the others are handled', () => seen.length >= 30)
      deepEqual(sorted(seen), range(1, 30))
    },
  },
  {
    name: 'lets healthy messages flow past more delayed poison than the in-flight limit',
    needs: ['canDelayRetry'],
    async run(stage) {
      const poison = new Map<number, number>()
      const healthy = new Set<number>()
      const decide = (): { readonly kind: 'retry'; readonly delayMs: number } => ({ kind: 'retry', delayMs: NEVER_MS })
      const bus = stage.bus().on(Ticked, { group: 'work', inFlightMax: 2, decide }, ({ data }) => {
        if (data.text !== 'poison') {
          healthy.add(data.n)
          return
        }
        poison.set(data.n, (poison.get(data.n) ?? 0) + 1)
        throw userError('poison')
      })
      await bus.start()
      await Promise.all(range(1, 60).map((n) => bus.publish(Ticked, { n, text: 'poison' })))
      await Promise.all(range(1, 200).map((n) => bus.publish(Ticked, { n })))
      await stage.until('all healthy ones are handled while the poison waits', () => healthy.size === 200 && poison.size === 60)
      deepEqual(new Set(poison.values()), new Set([1]))
    },
  },
  {
    name: 'remembers the attempts of a delayed message while no instance runs',
    needs: ['canDelayRetry'],
    async run(stage) {
      const first = stage.bus().on(Ticked, { group: 'work' }, () => {
        throw userError('first')
      })
      await first.start()
      await first.publish(Ticked, { n: 1 }, { id: 'kept' })
      await stage.until('it has failed', () => first.stats().retried >= 1)
      await first.stop()
      const before = first.stats().retried
      const seen: (readonly [string, number])[] = []
      await stage.bus().on(Ticked, { group: 'work' }, ({ id }, { attempt }) => seen.push([id, attempt])).start()
      await stage.until('the next instance has it', () => seen.length === 1)
      deepEqual(seen, [['kept', before + 1]])
    },
  },
  {
    name: 'dead-letters a message after its last attempt',
    needs: ['canDelayRetry', 'canManageDeadLetters'],
    async run(stage) {
      const attempts: number[] = []
      const bus = stage.bus().on(Ticked, { group: 'work', retry: { attemptsMax: 3 } }, (_message, { attempt }) => {
        attempts.push(attempt)
        throw userError(`attempt ${attempt}`)
      })
      await bus.start()
      await bus.publish(Ticked, { n: 1 })
      await stage.until('it is given up', async () => (await bus.deadLetters.list()).items.length === 1)
      deepEqual(attempts, [1, 2, 3])
      equal((await bus.deadLetters.list()).items[0]?.record.attempts, 3)
    },
  },
  {
    name: 'runs immediate attempts before delayed ones',
    needs: ['canDelayRetry'],
    async run(stage) {
      const delays: number[] = []
      const bus = stage.bus().on(Ticked, { group: 'work', retry: { attemptsMax: 5, immediateMax: 2, initialMs: 15, maxMs: 15 } }, (_message, { attempt }) => {
        if (attempt < 4) throw userError('again')
      })
      bus.observe((seen: BusEvent) => {
        if (seen.kind === 'delivery-retried') delays.push(seen.delayMs)
      })
      await bus.start()
      await bus.publish(Ticked, { n: 1 })
      await stage.until('it succeeds', () => bus.stats().handled === 1)
      deepEqual(delays, [0, 0, 15])
    },
  },
  {
    name: 'skips the attempts of a permanent error',
    needs: ['canManageDeadLetters'],
    async run(stage) {
      let runs = 0
      const bus = stage.bus().on(Ticked, { group: 'work' }, () => {
        runs++
        throw reject(userError('no such customer'))
      })
      await bus.start()
      await bus.publish(Ticked, { n: 1 })
      await stage.until('it is given up', async () => (await bus.deadLetters.list()).items.length === 1)
      equal(runs, 1)
      const [letter] = (await bus.deadLetters.list()).items
      equal(letter?.record.reason, 'bus.rejected')
      equal(letter?.record.attempts, 1)
    },
  },
  {
    name: 'asks a policy of the user what to do with a failure',
    needs: ['canDelayRetry', 'canManageDeadLetters'],
    async run(stage) {
      const asked: string[] = []
      const attempts = new Map<number, number>()
      const bus = stage.bus().on(
        Ticked,
        {
          group: 'work',
          retry: { attemptsMax: 2 },
          decide: ({ error, attempt, attemptsMax, type, group, disposition }) => {
            asked.push(`${error instanceof Error ? error.message : ''} ${attempt}/${attemptsMax} ${type} ${group} ${disposition}`)
            if (error instanceof Error && error.message === 'hopeless') return { kind: 'deadLetter' }
            return attempt < 4 ? { kind: 'retry', delayMs: 1 } : undefined
          },
        },
        ({ data }, { attempt }) => {
          attempts.set(data.n, attempt)
          throw userError(data.n === 1 ? 'hopeless' : 'busy')
        },
      )
      await bus.start()
      await bus.publish(Ticked, { n: 1 })
      await bus.publish(Ticked, { n: 2 })
      await stage.until('both are given up', async () => (await bus.deadLetters.list()).items.length === 2)
      deepEqual([attempts.get(1), attempts.get(2)], [1, 4])
      ok(asked.includes('hopeless 1/2 conformance.ticked shop.work retry'), asked.join('; '))
    },
  },
  {
    name: 'fails an attempt that takes too long, and tells its handler to stop',
    needs: ['canDelayRetry'],
    async run(stage) {
      const attempts: number[] = []
      const reasons: unknown[] = []
      const bus = stage.bus().on(Ticked, { group: 'work', timeoutMs: 40 }, async (_message, { attempt, signal }) => {
        attempts.push(attempt)
        if (attempt > 1) return
        await new Promise<void>((resolve) => {
          signal.addEventListener('abort', () => {
            reasons.push(signal.reason)
            resolve()
          })
        })
      })
      await bus.start()
      await bus.publish(Ticked, { n: 1 })
      await stage.until('the second attempt runs', () => attempts.length >= 2)
      deepEqual(attempts, [1, 2])
      ok(isTrunklineError(reasons[0], 'bus.handler_timeout'), String(reasons[0]))
    },
  },
  {
    name: 'survives whatever a handler throws',
    needs: ['canManageDeadLetters', 'canDelayRetry'],
    async run(stage) {
      const circular: Record<string, unknown> = {}
      circular['self'] = circular
      // B48: none of these is an Error as one would like it.
      const thrown: readonly unknown[] = [
        undefined, null, 'a text', 42, Object.freeze({ code: 'E' }), circular, Object.freeze(userError('frozen')), Symbol('s'), 10n,
      ]
      const bus = stage.bus().on(Ticked, { group: 'sync', retry: { attemptsMax: 2 } }, ({ data }) => {
        throw thrown[data.n]
      })
      bus.on(Ticked, { group: 'async', retry: { attemptsMax: 2 } }, ({ data }) => Promise.reject(thrown[data.n]))
      await bus.start()
      for (const n of thrown.keys()) await bus.publish(Ticked, { n })
      const all = thrown.length * 2
      await stage.until('all are given up', async () => (await bus.deadLetters.list()).items.length === all)
      for (const { record } of (await bus.deadLetters.list()).items) {
        equal(record.reason, 'bus.handler_failed')
        equal(record.attempts, 2)
        ok((record.errors[0]?.message ?? '') !== '', 'the error has a text')
      }
    },
  },
  {
    name: 'halts a subscription whose error no redelivery can cure, keeps its messages and goes on when told to',
    async run(stage) {
      let isBroken = true
      const seen: (readonly [number, number])[] = []
      const halted: BusEvent[] = []
      const bus = stage.bus().on(Ticked, { group: 'work', inFlightMax: 1 }, ({ data }, { attempt }) => {
        if (isBroken) throw new TrunklineError('core.option_invalid', { option: 'tax', expected: 'a rate', actual: 'nothing' })
        seen.push([data.n, attempt])
      })
      bus.on(Ticked, { group: 'beside' }, () => {})
      bus.observe((event) => {
        if (event.kind === 'subscription-halted') halted.push(event)
      })
      await bus.start()
      for (const n of range(1, 5)) await bus.publish(Ticked, { n })
      await stage.until('it is halted', () => halted.length === 1)
      deepEqual(halted, [{ kind: 'subscription-halted', group: 'shop.work', code: 'core.option_invalid' }])
      equal(bus.health().state, 'down')
      match(bus.health().reasons.join(), /shop\.work/)
      isBroken = false
      await bus.resume('work')
      await stage.until('all is handled', () => seen.length >= 5)
      deepEqual(sorted(seen.map(([n]) => n)), range(1, 5))
      deepEqual(new Set(seen.map(([, attempt]) => attempt)), new Set([1]))
      equal(bus.health().state, 'up')
    },
  },
  {
    name: 'counts the attempts of a bare delivery by its settling: retry adds one, release none',
    needs: ['canDelayRetry'],
    async run(stage) {
      const port = await stage.port()
      await port.subscribe({ group: 'port.work', types: [Ticked.type] })
      await port.publish('event', wireMessage({ type: Ticked.type, id: 'one' }, { n: 1 }))
      const next = async (index: number): Promise<string> => {
        await stage.until(`delivery ${index + 1} arrives`, () => port.deliveries.length > index)
        const delivery = port.deliveries[index]
        return `${delivery?.message.id} ${delivery?.attempt} ${delivery?.isSuspect}`
      }
      equal(await next(0), 'one 1 false')
      await port.deliveries[0]?.retry(1)
      equal(await next(1), 'one 2 false')
      await port.deliveries[1]?.release()
      equal(await next(2), 'one 2 false')
      await port.deliveries[2]?.ack()
      // Settling again changes nothing.
      await port.deliveries[0]?.ack()
      await port.deliveries[2]?.retry(0)
      await port.publish('event', wireMessage({ type: Ticked.type, id: 'two' }, { n: 2 }))
      equal(await next(3), 'two 1 false')
    },
  },
])
