import { AssertionError } from 'node:assert'
import { describe, expect, test } from 'vitest'
import { z } from 'zod'
import { type SagaMigration, processManager, saga } from '../../src/index.ts'
import { message } from '../../src/testing/saga-message.ts'
import { givenSaga } from '../../src/testing/saga-scenario.ts'
import { CalledOff, Charge, Charged, Declined, OrderState, Placed, Refund, Refunded, Release, Released, ReleaseRefused, Reserve, Reserved, Shipped, SoldOut, order, orderId } from '../saga/saga-rig.ts'

const o1 = { orderId: 'o-1' }
const placed = givenSaga(order).when(Placed, { orderId: 'o-1', cents: 500 })
const reserved = placed.when(Reserved, { ...o1, shelf: 'A1' })
const charged = reserved.when(Charged, o1)

const patient = processManager('patient', {
  state: z.object({ orderId: z.string().default(''), paid: z.boolean().default(false) }),
  inputs: [Placed, Charged], startedBy: [Placed], outputs: [Charge, Shipped], timers: ['patience', 'daily'],
  correlate: { 'sales.order-placed': orderId, 'money.charged': orderId },
  initialState: () => ({}),
  decide: (input, state, to) => {
    if (input.type === 'sales.order-placed') return [to.send(Charge, input.data), to.timer('patience', { afterMs: 30 * 86_400_000 }), to.timer('daily', { cron: '0 9 * * *' })]
    if (input.type === 'money.charged') return [to.publish(Shipped, { orderId: state.orderId }), to.end()]
    return input.timer === 'daily' ? to.send(Charge, { orderId: state.orderId, cents: 1 }) : to.end('failed', 'nobody paid')
  },
  evolve: (state, input) => (input.type === 'sales.order-placed' ? { ...state, orderId: input.data.orderId } : { ...state, paid: input.type === 'money.charged' }),
})

describe('a saga of steps in a scenario', () => {
  test('goes through its steps to its end', () => {
    placed.thenSends(message(Reserve, o1)).thenAlarms({ 'step:reserve': '30s' }).thenIs('running').thenWaitsFor('reserve')
    reserved.thenSends(message(Charge, { ...o1, cents: 500 })).thenState({ orderId: 'o-1', cents: 500, shelf: 'A1' }).thenAlarms({ 'step:charge': '1m' })
    charged.thenSends(message(Shipped, o1)).thenEnds('completed').thenAlarms({}).thenRecords('timer-cancelled', 'step-completed', 'step-started', 'step-completed', 'ended')
  })

  test('undoes what it has done, the latest first, when a step is refused', () => {
    reserved.when(Declined, { ...o1, why: 'no money' })
      .thenSends(message(Release, { ...o1, shelf: 'A1' })).thenIs('compensating').thenAlarms({ 'undo:reserve': '10s' })
      .when(Released, o1).thenSends().thenEnds('compensated', 'charge: no money')
  })

  test('tries again in its time, and counts what was not answered as done', () => {
    const late = placed.advance('30s').thenSends().thenAlarms({ 'step:reserve': '1s' }).advance('1s').thenSends(message(Reserve, o1)).advance('30s')
    late.thenSends(message(Release, { ...o1, shelf: null })).when(Released, o1).thenEnds('compensated', 'reserve: it was not answered in time')
    // What comes late after all is undone once more.
    late.when(Released, o1).when(Reserved, { ...o1, shelf: 'B2' }).thenSends(message(Release, { ...o1, shelf: 'B2' })).thenIs('compensating')
  })

  test('is called off before, during and after', () => {
    givenSaga(order).when(CalledOff, { ...o1, why: 'early' }).thenIs('early').when(Placed, { ...o1, cents: 1 }).thenSends().thenEnds('cancelled', 'early')
    reserved.when(CalledOff, { ...o1, why: 'during' }).thenSends(message(Refund, { ...o1, cents: 500 })).when(Refunded, o1).thenSends(message(Release, { ...o1, shelf: 'A1' })).when(Released, o1).thenEnds('cancelled')
    charged.when(CalledOff, { ...o1, why: 'after' }).thenIs('compensating')
  })

  test('takes a duplicate for what it is, whenever it comes', () => {
    placed.whenAgain().thenIgnored().thenRecords()
    reserved.whenAgain(1).thenIgnored()
    charged.whenAgain(2).thenIgnored().thenEnds('completed')
    expect(() => placed.whenAgain(2)).toThrow(expect.objectContaining({ code: 'core.option_invalid' }))
  })

  test('sends the same ids whenever the same is done', () => {
    const ids = (): readonly string[] => givenSaga(order).when(Placed, { ...o1, cents: 500 }).sent.map(({ id }) => id)
    expect(ids()).toEqual(ids())
    expect(reserved.sent[0]?.id).not.toBe(placed.sent[0]?.id)
  })

  test('is in the hands of an operator', () => {
    const stuck = ['10s', '1s', '10s', '2s', '10s'].reduce((one, time) => one.advance(time as '1s'), reserved.when(Declined, { ...o1, why: 'no' }))
    stuck.thenQuarantined('saga.compensation_failed').when(Released, o1).thenQuarantined('saga.compensation_failed').thenSends()
    stuck.whenOperator('skip-step', { by: 'ann', reason: 'done by hand' }).thenEnds('failed')
    placed.whenOperator('cancel').thenIs('compensating').thenRecords('operator-acted', 'timer-cancelled', 'step-failed', 'compensation-begun', 'compensation-queued', 'compensation-started', 'timer-set')
  })

  test('refuses what the saga does not take, and what does not fit', () => {
    expect(() => placed.when(Shipped, o1)).toThrow(expect.objectContaining({ code: 'bus.type_unhandled' }))
    expect(() => placed.when(Placed, { ...o1, cents: 0.5 })).toThrow(expect.objectContaining({ code: 'contract.payload_invalid' }))
    expect(() => placed.advance('3y' as '3d')).toThrow(expect.objectContaining({ code: 'core.option_invalid' }))
    expect(() => givenSaga(order).whenOperator('cancel')).toThrow(expect.objectContaining({ code: 'saga.instance_missing' }))
    expect(() => placed.whenOperator('resume')).toThrow(expect.objectContaining({ code: 'saga.action_refused' }))
  })

  test('makes a dead letter of what tells no instance', () => {
    givenSaga(order).when(Placed, { orderId: 'x'.repeat(129), cents: 1 }).thenDeadLetter('saga.correlation_missing').thenIs('none')
    const strict = saga('strict', { state: OrderState, early: 'deadLetter', late: 'deadLetter' })
      .startedBy(Placed, { correlate: orderId, state: (data) => data })
      .step('reserve', { timeoutMs: 5 }, (step) => step.send(Reserve, (state) => ({ orderId: state.orderId })).on(Reserved, { correlate: orderId }))
      .end()
    givenSaga(strict).when(Reserved, { ...o1, shelf: 'A' }).thenDeadLetter('saga.message_refused').when(Placed, { ...o1, cents: 1 }).when(Reserved, { ...o1, shelf: 'A' }).thenEnds('completed')
  })

  test('keeps instances and tenants apart', () => {
    const two = placed.when(Placed, { orderId: 'o-1', cents: 7 }, { tenant: 'acme' })
    two.thenState({ orderId: 'o-1', cents: 7, shelf: null }).of('o-1').thenState({ orderId: 'o-1', cents: 500, shelf: null })
    expect(two.advance('31s').sent).toHaveLength(2)
  })
})

describe('a compensation that is given up after the end', () => {
  test('makes it end as failed, however it had ended', () => {
    const alerting = saga('alerting', { state: OrderState }).startedBy(Placed, { correlate: orderId, state: (data) => data }).cancelledBy(CalledOff, { correlate: orderId })
      .step('charge', { timeoutMs: 5 }, (step) => step.send(Charge, (state) => ({ orderId: state.orderId, cents: state.cents })).on(Charged, { correlate: orderId })
        .compensate({ timeoutMs: 10, retry: { attemptsMax: 1 }, otherwise: 'alert' }, (undo) => undo.send(Refund, (_state, { sent }) => sent).on(Refunded, { correlate: orderId })))
      .end()
    givenSaga(alerting).when(Placed, { ...o1, cents: 1 }).when(CalledOff, { ...o1, why: 'no' }).when(Refunded, o1).thenEnds('cancelled').when(Charged, o1).thenIs('compensating').advance('10ms').thenEnds('failed')
  })

  test('makes it end as failed, also where it was given up while it ran', () => {
    const group = saga('group', { state: OrderState }).startedBy(Placed, { correlate: orderId, state: (data) => data }).cancelledBy(CalledOff, { correlate: orderId })
      .anyOf('any', (members) => members
        .step('reserve', { timeoutMs: 5 }, (step) => step.send(Reserve, (state) => ({ orderId: state.orderId })).on(Reserved, { correlate: orderId })
          .compensate({ timeoutMs: 10, retry: { attemptsMax: 1 }, otherwise: 'alert' }, (undo) => undo.send(Release, (state) => ({ orderId: state.orderId, shelf: null })).on(Released, { correlate: orderId })))
        .step('charge', { timeoutMs: 5 }, (step) => step.send(Charge, (state) => ({ orderId: state.orderId, cents: state.cents })).on(Charged, { correlate: orderId })))
      .wait('rest', { afterMs: 1_000 })
      .end()
    givenSaga(group).when(Placed, { ...o1, cents: 1 }).when(Charged, o1).advance('10ms').thenIs('running').when(CalledOff, { ...o1, why: 'no' }).thenEnds('failed')
  })
})

describe('a process manager in a scenario', () => {
  test('decides on messages and on alarms that go off days later', () => {
    const waits = givenSaga(patient, { startMs: Date.UTC(2026, 0, 1) }).when(Placed, { ...o1, cents: 5 }).thenAlarms({ 'timer:patience': '30d', 'each:daily': '9h' })
    waits.advance('9h').thenSends(message(Charge, { ...o1, cents: 1 })).thenAlarms({ 'timer:patience': 29.625 * 86_400_000, 'each:daily': '1d' })
    expect(waits.advance('30d').thenEnds('failed', 'nobody paid').thenAlarms({}).sent).toHaveLength(30)
    waits.when(Charged, o1).thenSends(message(Shipped, o1)).thenEnds('completed').thenState({ orderId: 'o-1', paid: true })
  })
})

describe('another version', () => {
  test('goes on where it has a migration, and is missing where not', () => {
    const next = (migrations: Readonly<Record<number, SagaMigration<typeof OrderState>>>): typeof order => saga('order', { state: OrderState, version: 2, migrations })
      .startedBy(Placed, { correlate: orderId, state: (data) => data })
      .step('hold', { timeoutMs: 5 }, (step) => step.send(Reserve, (state) => ({ orderId: state.orderId })).on(Reserved, { correlate: orderId }))
      .end()
    placed.deploy(next({ 1: { state: (old: z.input<typeof OrderState>) => old, steps: { reserve: 'hold' } } })).when(Reserved, { ...o1, shelf: 'A' }).thenEnds('completed')
    placed.deploy(next({}), order).when(Reserved, { ...o1, shelf: 'A' }).thenSends(message(Charge, { ...o1, cents: 500 }))
    expect(() => placed.deploy(next({})).when(Reserved, { ...o1, shelf: 'A' })).toThrow(expect.objectContaining({ code: 'saga.version_unknown' }))
  })
})

describe('an assertion', () => {
  const failing: Readonly<Record<string, () => unknown>> = {
    'another message': () => placed.thenSends(message(Charge, { ...o1, cents: 500 })),
    'other data': () => placed.thenSends(message(Reserve, { orderId: 'o-2' })),
    'a message less': () => placed.thenSends(),
    'a message more': () => charged.thenSends(message(Shipped, o1), message(Shipped, o1)),
    'another order of messages': () => givenSaga(patient).when(Placed, { ...o1, cents: 5 }).advance('30d').thenSends(),
    'an alarm less': () => placed.thenAlarms({}),
    'an alarm at another time': () => placed.thenAlarms({ 'step:reserve': '31s' }),
    'another state': () => placed.thenState({ orderId: 'o-1', cents: 501, shelf: null }),
    'another part of its life': () => placed.thenIs('ended'),
    'another wait': () => placed.thenWaitsFor('charge'),
    'an end too early': () => placed.thenEnds('completed'),
    'another end': () => charged.thenEnds('compensated'),
    'another reason': () => reserved.when(Declined, { ...o1, why: 'no money' }).when(Released, o1).thenEnds('compensated', 'no'),
    'a quarantine that is none': () => placed.thenQuarantined('saga.compensation_failed'),
    'other events': () => placed.thenRecords('started'),
    'something that counts': () => placed.thenIgnored(),
    'a dead letter that is none': () => placed.thenDeadLetter('saga.message_refused'),
    'another dead letter': () => givenSaga(order).when(Placed, { orderId: 'x'.repeat(129), cents: 1 }).thenDeadLetter('saga.message_refused'),
    'what ignores a dead letter': () => givenSaga(order).when(Placed, { orderId: 'x'.repeat(129), cents: 1 }).thenIgnored(),
    'an unneeded refusal': () => reserved.when(SoldOut, { ...o1, why: 'x' }).thenIgnored().when(ReleaseRefused, { ...o1, why: 'x' }).thenIgnored().thenSends(message(Reserve, o1)),
  }
  test.each(Object.keys(failing))('that expects %s fails', (name) => {
    expect(failing[name]).toThrow(AssertionError)
  })
})
