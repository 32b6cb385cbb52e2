import { AssertionError } from 'node:assert'
import { describe, expect, test } from 'vitest'
import { z } from 'zod'
import { type SagaDefinition, type SagaInstance, processManager, saga } from '../../src/index.ts'
import { transition } from '../../src/saga/transition.ts'
import type { TransitionFunction } from '../../src/testing/saga-bench.ts'
import { type ExploreOptions, explore, exploreWith } from '../../src/testing/saga-explorer.ts'
import { message, reply } from '../../src/testing/saga-message.ts'
import type { SagaFault } from '../../src/testing/saga-rules.ts'
import { virtualClock } from '../../src/testing/virtual-clock.ts'
import { CalledOff, Charge, Charged, Declined, OrderState, Placed, Refund, Refunded, Release, Released, ReleaseRefused, Reserve, Reserved, Shipped, SoldOut, orderId } from '../saga/saga-rig.ts'

const o1 = { orderId: 'o-1' }
const start = message(Placed, { ...o1, cents: 5 })
const calledOff = message(CalledOff, { ...o1, why: 'changed my mind' })
const answers = [
  reply(Reserve, (sent) => [message(Reserved, { ...sent, shelf: 'A' }), message(SoldOut, { ...sent, why: 'none left' })]),
  reply(Charge, ({ orderId: of }) => [message(Charged, { orderId: of }), message(Declined, { orderId: of, why: 'no money' })]),
  reply(Release, ({ orderId: of }) => [message(Released, { orderId: of }), message(ReleaseRefused, { orderId: of, why: 'locked' })]),
  reply(Refund, ({ orderId: of }) => [message(Refunded, { orderId: of })]),
]
const all: ExploreOptions = { start, answers, mayCome: [calledOff], bound: { timeMaxMs: 600_000 } }

const begin = saga('order', { state: OrderState }).startedBy(Placed, { correlate: orderId, state: (data) => data }).cancelledBy(CalledOff, { correlate: orderId })

/** Two steps, both undone by one try. */
const two = begin
  .step('reserve', { timeoutMs: 30_000 }, (step) => step
    .send(Reserve, (state) => ({ orderId: state.orderId }))
    .on(Reserved, { correlate: orderId, apply: (state, { shelf }) => ({ ...state, shelf }) })
    .fails(SoldOut, { correlate: orderId })
    .compensate({ timeoutMs: 10_000, retry: { attemptsMax: 1 } }, (undo) => undo.send(Release, (state) => ({ orderId: state.orderId, shelf: state.shelf })).on(Released, { correlate: orderId }).fails(ReleaseRefused, { correlate: orderId })))
  .step('charge', { timeoutMs: 60_000 }, (step) => step
    .send(Charge, ({ orderId: of, cents }) => ({ orderId: of, cents }))
    .on(Charged, { correlate: orderId })
    .fails(Declined, { correlate: orderId })
    .compensate({ timeoutMs: 10_000, retry: { attemptsMax: 2, initialMs: 1_000 }, otherwise: 'alert' }, (undo) => undo.send(Refund, (_state, { sent }) => sent).on(Refunded, { correlate: orderId })))
  .publish('tell', Shipped, (state) => ({ orderId: state.orderId }))
  .end()

/** One step, for what is about one. */
const one = begin
  .step('reserve', { timeoutMs: 30_000 }, (step) => step
    .send(Reserve, (state) => ({ orderId: state.orderId })).on(Reserved, { correlate: orderId }).fails(SoldOut, { correlate: orderId })
    .compensate((undo) => undo.send(Release, (state) => ({ orderId: state.orderId, shelf: null }))))
  .end()

/** The engine's function, with something changed in what it is given. */
function given(change: (before: Readonly<SagaInstance>) => Partial<SagaInstance>): TransitionFunction {
  return (definition, before, input, moment) => transition(definition, { ...before, ...change(before) }, input, moment)
}

/** The engine's function, with something changed in what it gives. */
function giving(change: (made: ReturnType<TransitionFunction>) => Partial<ReturnType<TransitionFunction>>): TransitionFunction {
  return (definition, before, input, moment) => {
    const made = transition(definition, before, input, moment)
    return { ...made, ...change(made) }
  }
}

describe('a sound saga', () => {
  test('of two steps with time limits, retries and compensations holds in every order of everything', () => {
    const { result } = explore(two, all).thenHolds()
    expect(result).toMatchObject({ isComplete: true, reached: undefined, counterexample: undefined })
    for (const end of ['completed', 'compensated', 'cancelled', 'failed', 'parked'] as const) expect(result.ends[end]).toBeGreaterThan(0)
    expect(result.states).toBeGreaterThan(500)
    expect(result.transitions).toBeGreaterThan(result.states)
  })

  test('of a group, of which two of three are needed, holds', () => {
    const quorum = saga('quorum', { state: OrderState }).startedBy(Placed, { correlate: orderId, state: (data) => data })
      .quorum('both', 1, (group) => group
        .step('reserve', { timeoutMs: 1_000 }, (step) => step.send(Reserve, (state) => ({ orderId: state.orderId })).on(Reserved, { correlate: orderId }).fails(SoldOut, { correlate: orderId })
          .compensate((undo) => undo.send(Release, (state) => ({ orderId: state.orderId, shelf: null }))))
        .step('charge', { timeoutMs: 2_000 }, (step) => step.send(Charge, ({ orderId: of, cents }) => ({ orderId: of, cents })).on(Charged, { correlate: orderId }).fails(Declined, { correlate: orderId })
          .compensate({ timeoutMs: 1_000, retry: { attemptsMax: 2 } }, (undo) => undo.send(Refund, (_state, { sent }) => sent).on(Refunded, { correlate: orderId }))))
      .publish('tell', Shipped, (state) => ({ orderId: state.orderId }))
      .end()
    explore(quorum, { start, answers, bound: { timeMaxMs: 600_000 } }).thenHolds()
  })

  test('with steps that are passed over, left out and repeated holds', () => {
    const varied = saga('varied', { state: OrderState.extend({ times: z.int().default(0) }), timeoutMs: 600_000 })
      .startedBy(Placed, { correlate: orderId, state: (data) => data })
      .step('reserve', { timeoutMs: 1_000, onFailure: 'continue' }, (step) => step.send(Reserve, (state) => ({ orderId: state.orderId })).on(Reserved, { correlate: orderId, apply: (state, { shelf }) => ({ ...state, shelf }) }).fails(SoldOut, { correlate: orderId })
        .compensate((undo) => undo.send(Release, (state) => ({ orderId: state.orderId, shelf: null }))))
      .step('charge', { timeoutMs: 2_000, whilst: ({ times, shelf }) => shelf !== null && times < 2 }, (step) => step.send(Charge, ({ orderId: of, cents, times }) => ({ orderId: of, cents: cents + times }))
        .on(Charged, { correlate: orderId, apply: (state) => ({ ...state, times: state.times + 1 }) }).fails(Declined, { correlate: orderId })
        .compensate((undo) => undo.send(Refund, (_state, { sent }) => sent)))
      .wait('rest', { afterMs: 5_000 })
      .step('release', { when: ({ shelf }) => shelf === null }, (step) => step.publish(Shipped, (state) => ({ orderId: state.orderId })))
      .end()
    explore(varied, { start, answers, bound: { timeMaxMs: 600_000 } }).thenHolds()
  })

  test('that runs another one holds for each of its ends', () => {
    const parent = saga('parent', { state: OrderState }).startedBy(Placed, { correlate: orderId, state: (data) => data })
      .step('child', { timeoutMs: 1_000 }, (step) => step.run(one, Placed, (state) => ({ orderId: `${state.orderId}-child`, cents: state.cents })).compensate((undo) => undo.send(Refund, (_state, { sent }) => sent)))
      .end()
    const { ends } = explore(parent, { start }).thenHolds().result
    expect(ends.completed).toBeGreaterThan(0)
    expect(ends.compensated).toBeGreaterThan(0)
  })

  test('that is a process manager holds', () => {
    explore(manager('ends'), { start, answers, ends: ['completed', 'failed'] }).thenHolds()
  })

  test('is told by numbers while it is explored', () => {
    const told: number[] = []
    const { result } = explore(two, { ...all, onProgress: ({ states, transitions, waiting, depth }) => told.push(states, transitions, waiting, depth) })
    expect(told.length).toBeGreaterThanOrEqual(4)
    expect(told[0]).toBeLessThanOrEqual(result.states)
  })
})

describe('a bound', () => {
  test.each([['statesMax', 50], ['depthMax', 3]] as const)('of %s ends the search, and nothing is called proven', (name, most) => {
    const found = explore(two, { ...all, bound: { [name]: most } })
    expect(found.result).toMatchObject({ isComplete: false, reached: name, counterexample: undefined })
    expect(() => found.thenHolds()).toThrow(/not every state was looked at/)
    found.thenHolds({ upToBound: true })
  })

  test('of time is measured by the clock that is given', () => {
    const clock = virtualClock()
    const ticking = Object.assign(Object.create(clock), { monotonicMs: (() => { let at = 0; return () => at++ })() })
    expect(explore(two, { ...all, clock: ticking, bound: { timeMaxMs: 20 } }).result.reached).toBe('timeMaxMs')
  })

  test('that means nothing is refused', () => {
    expect(() => explore(two, { ...all, bound: { statesMax: -1 } })).toThrow(expect.objectContaining({ code: 'core.option_invalid' }))
    expect(() => explore(two, { ...all, duplicates: Number.NaN })).toThrow(expect.objectContaining({ code: 'core.option_invalid' }))
    expect(() => explore(two, { ...all, bound: { states: 1 } as object })).toThrow(expect.objectContaining({ code: 'core.option_unknown' }))
    expect(() => explore(two, { ...all, answer: [] } as ExploreOptions)).toThrow(expect.objectContaining({ code: 'core.option_unknown' }))
    expect(() => explore(two, { ...all, start: message(Shipped, o1) })).toThrow(expect.objectContaining({ code: 'bus.type_unhandled' }))
  })
})

describe('the explorer finds', () => {
  const bugs: readonly (readonly [string, SagaFault, RegExp, () => ReturnType<typeof explore>])[] = [
    ['an alarm that is not told to the store', 'alarm-lost', /step:reserve/, () => exploreWith(giving(() => ({ timers: [] })), two, all)],
    ['an alarm that is not set at all', 'unguarded-wait', /for ever/, () => exploreWith(giving(({ events }) => ({ timers: [], events: events.filter(({ kind }) => kind !== 'timer-set') })), two, all)],
    ['an alarm that is not taken back', 'alarm-lost', /the store has the alarm step:reserve/, () => exploreWith(giving(() => ({ cancelledTimers: [] })), two, all)],
    ['a compensation that is left out', 'history', /reserve was not undone/, () => exploreWith(given(({ effects }) => ({ effects: effects.filter((run) => run !== 'reserve') })), two, { ...all, mayCome: [] })],
    ['compensations in the order of the steps', 'history', /reserve was undone before charge/, () => exploreWith(given(({ effects }) => ({ effects: effects.toReversed() })), two, all)],
    ['what is handled twice after a crash', 'handled-again', /handled again/, () => exploreWith(given(() => ({ handled: [] })), two, all)],
    ['what is handled twice when it comes again', 'history', /handled twice/, () => exploreWith(given(() => ({ handled: [] })), two, { ...all, crashes: false })],
    ['an alarm that counts after it was taken back', 'handled-again', /step:reserve was taken back/, () => exploreWith(stale, two, all)],
    ['ids that differ after a crash', 'not-repeatable', /other messages/, () => exploreWith(countingIds(), two, all)],
    ['a late success that is passed over', 'forgotten', /reserve took effect after all/, () => exploreWith(deafWhenEnded, one, { ...all, mayCome: [] })],
    ['a late message that leaves no trace', 'forgotten', /left no trace/, () => exploreWith(silentWhenEnded, one, { ...all, mayCome: [] })],
    ['an end that cannot be reached', 'unreached-end', /completed/, () => explore(one, { ...all, answers: [reply(Reserve, ({ orderId: of }) => [message(SoldOut, { orderId: of, why: 'never' })])] })],
    ['an end for which nothing comes', 'unreached-end', /cancelled/, () => explore(one, { ...all, mayCome: [] })],
    ['an end that was not declared', 'undeclared-end', /compensated/, () => explore(one, { ...all, ends: ['completed', 'cancelled'] })],
    ['a wait that nothing answers', 'stuck', /running/, () => explore(deaf, { ...all, mayCome: [] })],
    ['a process that goes round for ever', 'endless', /no way leads to an end/, () => explore(manager('goes round'), { start, answers })],
    ['a process that waits without an alarm', 'broken', /saga.timer_missing/, () => explore(manager('waits'), { start, answers })],
    ['a function that fails', 'broken', /cannot be/, () => explore(manager('throws'), { start, answers })],
    ['an answer that belongs to nobody', 'broken', /dead letter/, () => explore(one, { ...all, answers: [reply(Reserve, () => [message(Reserved, { orderId: 'x'.repeat(129), shelf: 'A' })])] })],
    ['a start that fails', 'broken', /could not start/, () => explore(begins(() => { throw new RangeError('no') }), { start })],
  ]
  test.each(bugs)('%s', (_name, fault, problem, run) => {
    const found = run().thenFinds(fault)
    expect(found.result.counterexample?.problem).toMatch(problem)
    expect(() => found.thenHolds()).toThrow(AssertionError)
  })

  test('nothing in a sound saga, and another fault than expected is a failure, too', () => {
    expect(() => explore(one, all).thenFinds('stuck')).toThrow(/no rule is broken/)
    expect(() => explore(deaf, { ...all, mayCome: [] }).thenFinds('endless')).toThrow(/stuck/)
  })

  test('the shortest way to it, and tells it', () => {
    const { counterexample } = explore(deaf, { ...all, mayCome: [] }).result
    expect(`${counterexample?.problem}\n${counterexample?.trace}`).toBe(`nothing can happen any more, and it is running
1. sales.order-placed {"cents":5,"orderId":"o-1"} comes
   it starts
   reserve begins
   sends stock.reserve {"orderId":"o-1"}
2. stock.reserved {"orderId":"o-1","shelf":"A"} answers
   the message is not needed: unexpected`)
  })
})

/** It takes no answer for its own. */
const deaf = saga('deaf', { state: OrderState }).startedBy(Placed, { correlate: orderId, state: (data) => data })
  .step('reserve', { waits: 'forever' }, (step) => step.send(Reserve, (state) => ({ orderId: state.orderId })).on(Reserved, { correlate: orderId, where: () => false }))
  .end()

function begins(state: () => never): SagaDefinition {
  return saga('begins', { state: OrderState }).startedBy(Placed, { correlate: orderId, state }).publish('tell', Shipped, ({ orderId: of }) => ({ orderId: of })).end()
}

function manager(way: 'ends' | 'goes round' | 'waits' | 'throws'): SagaDefinition {
  return processManager('manager', {
    state: z.object({ orderId: z.string() }), inputs: [Placed, Charged, Declined], startedBy: [Placed], outputs: [Charge, Shipped], timers: ['patience'],
    correlate: { 'sales.order-placed': orderId, 'money.charged': orderId, 'money.declined': orderId },
    initialState: () => ({ orderId: '' }),
    decide: (input, state, to) => {
      if (input.type === 'sales.order-placed') return [to.send(Charge, input.data), to.timer('patience', { afterMs: 60_000 })]
      if (input.type === 'timer') return way === 'goes round' ? to.timer('patience', { afterMs: 60_000 }) : to.end('failed')
      if (input.type === 'money.declined') return way === 'goes round' ? [] : to.end('failed')
      if (way === 'throws') throw new RangeError('it cannot be')
      if (way === 'waits') return to.cancel('patience')
      return way === 'goes round' ? undefined : [to.publish(Shipped, state), to.end()]
    },
    evolve: (state, input) => (input.type === 'sales.order-placed' ? { orderId: input.data.orderId } : state),
  })
}

/** Any alarm of a name that is set counts, whenever it was set. */
const stale: TransitionFunction = (definition, before, input, moment) => {
  const token = input.kind === 'timer' ? (before.timers[input.timer]?.token ?? input.token) : ''
  const timers = input.kind === 'timer' ? { ...before.timers, [input.timer]: { cron: undefined, timeZone: undefined, dueAtMs: 0, token } } : before.timers
  return transition(definition, { ...before, timers }, input.kind === 'timer' ? { ...input, token } : input, moment)
}

function countingIds(): TransitionFunction {
  let count = 0
  return giving(({ outgoing }) => ({ outgoing: outgoing.map((sent) => ({ ...sent, id: `${sent.id}-${count++}` })) }))
}

const deafWhenEnded: TransitionFunction = (definition, before, input, moment) =>
  transition(definition, before.status === 'ended' ? { ...before, runs: [] } : before, input, moment)

const silentWhenEnded: TransitionFunction = (definition, before, input, moment) =>
  before.status === 'ended' ? { events: [], outgoing: [], timers: [], cancelledTimers: [], instance: before } : transition(definition, before, input, moment)
