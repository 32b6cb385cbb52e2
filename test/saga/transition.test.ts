import { describe, expect, test } from 'vitest'
import { z } from 'zod'
import { type SagaDefinition, saga } from '../../src/index.ts'
import { SAGA_EVENTS_MAX } from '../../src/saga/transition.ts'
import { Play } from './play.ts'
import { CalledOff, Charge, Charged, Declined, OrderState, Placed, Refunded, Release, Released, Reserve, Reserved, SoldOut, order, orderId } from './saga-rig.ts'

const one = { orderId: 'o-1' }

function thrown(work: () => unknown): unknown {
  try {
    return work()
  } catch (error) {
    return error
  }
}

function started(definition: SagaDefinition = order): Play {
  const play = new Play(definition)
  play.message(Placed, { ...one, cents: 5 })
  return play
}

describe('a message that was handled', () => {
  test('changes nothing when it comes again, also when nobody but the stream remembers', () => {
    const play = started()
    play.message(Reserved, { ...one, shelf: 'A' }, 'twice')
    const before = play.events.length
    expect(play.message(Reserved, { ...one, shelf: 'A' }, 'twice').events).toEqual([])
    expect(play.events).toHaveLength(before)
    expect(play.types).toEqual(['reserve', 'charge'])
  })

  test('with another id is recorded and changes nothing', () => {
    const play = started()
    play.message(Reserved, { ...one, shelf: 'A' })
    play.message(Reserved, { ...one, shelf: 'B' })
    expect(play.kinds('message-ignored')).toMatchObject([{ data: { because: 'unexpected' } }])
    expect(play.instance.state).toMatchObject({ shelf: 'A' })
  })

  test('starts an instance once', () => {
    const play = started()
    play.message(Placed, { ...one, cents: 7 })
    expect(play.types).toEqual(['reserve'])
    expect(play.instance.state).toMatchObject({ cents: 5 })
  })
})

describe('ids of what is sent', () => {
  test('derive from instance, revision and index', () => {
    const [first, second] = [started(), started()]
    expect(first.sent).toEqual(second.sent)
    const other = new Play(order, 'o-2')
    other.message(Placed, { ...one, cents: 5 })
    expect(other.sent[0]?.id).not.toBe(first.sent[0]?.id)
    first.message(Reserved, { ...one, shelf: 'A' })
    expect(new Set(first.sent.map(({ id }) => id)).size).toBe(2)
  })
})

describe('a message before the one that starts its saga', () => {
  test('waits for it, and is handled with it', () => {
    const play = new Play(order)
    play.message(Reserved, { ...one, shelf: 'A' })
    expect(play.instance.status).toBe('early')
    expect(play.instance.timers).toHaveProperty('early')
    play.message(Placed, { ...one, cents: 5 })
    expect(play.types).toEqual(['reserve', 'charge'])
    expect(play.instance).toMatchObject({ status: 'running', kept: [], state: { shelf: 'A' } })
    expect(Object.keys(play.instance.timers)).toEqual(['step:charge'])
  })

  test('raises an alarm when it waits too long, and still waits', () => {
    const play = new Play(order)
    play.message(Reserved, { ...one, shelf: 'A' })
    play.alarm('early')
    expect(play.kinds('start-overdue')).toMatchObject([{ data: { waiting: 1 } }])
    play.message(Placed, { ...one, cents: 5 })
    expect(play.types).toEqual(['reserve', 'charge'])
  })

  test('that calls it off keeps it from beginning anything', () => {
    const play = new Play(order)
    play.message(Reserved, { ...one, shelf: 'A' })
    play.message(CalledOff, { ...one, why: 'no more' })
    play.message(Placed, { ...one, cents: 5 })
    expect(play.types).toEqual([])
    expect(play.instance).toMatchObject({ status: 'ended', outcome: 'cancelled', reason: 'no more' })
  })

  test('is a dead letter, or dropped without a trace, where the policy says so', () => {
    const make = (early: 'deadLetter' | 'ignore'): SagaDefinition => saga('strict', { state: OrderState, early })
      .startedBy(Placed, { correlate: orderId, state: (placed) => placed })
      .step('reserve', { timeoutMs: 5 }, (step) => step.send(Reserve, () => one).on(Reserved, { correlate: orderId })).end()
    expect(thrown(() => new Play(make('deadLetter')).message(Reserved, { ...one, shelf: 'A' }))).toMatchObject({ code: 'saga.message_refused' })
    expect(new Play(make('ignore')).message(Reserved, { ...one, shelf: 'A' }).events).toEqual([])
  })
})

describe('a message after the end', () => {
  test('is recorded and changes nothing, or is a dead letter', () => {
    const make = (late: 'deadLetter' | 'ignore'): Play => {
      const play = started(saga('short', { state: OrderState, late })
        .startedBy(Placed, { correlate: orderId, state: (placed) => placed })
        .step('reserve', { timeoutMs: 5 }, (step) => step.send(Reserve, () => one).on(Reserved, { correlate: orderId })).end())
      play.message(Reserved, { ...one, shelf: 'A' })
      return play
    }
    const play = make('ignore')
    expect(play.instance).toMatchObject({ status: 'ended', outcome: 'completed', timers: {} })
    play.message(Reserved, { ...one, shelf: 'B' })
    expect(play.kinds('message-ignored')).toMatchObject([{ data: { because: 'late' } }])
    expect(thrown(() => make('deadLetter').message(Reserved, { ...one, shelf: 'B' }))).toMatchObject({ code: 'saga.message_refused' })
  })
})

describe('a message of a later step', () => {
  test('waits until its step has begun', () => {
    const play = started()
    play.message(Charged, one)
    expect(play.instance.kept).toMatchObject([{ because: 'out-of-order' }])
    play.message(Reserved, { ...one, shelf: 'A' })
    expect(play.types).toEqual(['reserve', 'charge', 'order-shipped'])
    expect(play.instance).toMatchObject({ status: 'ended', outcome: 'completed', kept: [] })
  })
})

describe('a message of a later step where the policy says so', () => {
  const line = (ahead: 'deadLetter' | 'ignore'): Play => started(saga('strict', { state: OrderState, ahead })
    .startedBy(Placed, { correlate: orderId, state: (placed) => placed })
    .step('reserve', { timeoutMs: 5_000 }, (step) => step.send(Reserve, () => one).on(Reserved, { correlate: orderId }))
    .step('charge', { timeoutMs: 5_000 }, (step) => step.send(Charge, () => ({ ...one, cents: 1 })).on(Charged, { correlate: orderId })).end())

  test('is a dead letter, or recorded without an effect', () => {
    expect(thrown(() => line('deadLetter').message(Charged, one))).toMatchObject({ code: 'saga.message_refused' })
    const play = line('ignore')
    play.message(Charged, one)
    play.message(Reserved, { ...one, shelf: 'A' })
    expect(play.instance).toMatchObject({ status: 'running', kept: [] })
  })
})

describe('compensation', () => {
  test('undoes what took place, the latest first, one at a time, and knows what came of it', () => {
    const play = started()
    play.message(Reserved, { ...one, shelf: 'A' })
    play.message(Charged, one)
    play.message(CalledOff, { ...one, why: 'too late' })
    expect(play.types.slice(2)).toEqual(['order-shipped', 'refund'])
    play.message(Refunded, one)
    expect(play.sent.at(-1)).toMatchObject({ type: 'stock.release', data: { orderId: 'o-1', shelf: 'A' } })
    play.message(Released, one)
    expect(play.instance).toMatchObject({ status: 'ended', outcome: 'cancelled', reason: 'too late', timers: {} })
  })

  test('leaves out what was refused: it has not happened', () => {
    const play = started()
    play.message(SoldOut, { ...one, why: 'none left' })
    expect(play.instance).toMatchObject({ status: 'ended', outcome: 'compensated', reason: 'reserve: none left' })
    expect(play.types).toEqual(['reserve'])
  })

  test('undoes a step of unknown outcome, too', () => {
    const play = started()
    play.message(Reserved, { ...one, shelf: 'A' })
    play.alarm('step:charge')
    expect(play.types).toEqual(['reserve', 'charge', 'refund'])
    play.message(Refunded, one)
    play.message(Released, one)
    expect(play.instance).toMatchObject({ outcome: 'compensated', reason: 'charge: it was not answered in time' })
  })

  test('of a step comes once more when its success comes after it was undone', () => {
    const play = started()
    play.message(Reserved, { ...one, shelf: 'A' })
    play.alarm('step:charge')
    play.message(Refunded, one)
    expect(play.types.at(-1)).toBe('release')
    play.message(Charged, one)
    play.message(Released, one)
    expect(play.types.slice(-2)).toEqual(['release', 'refund'])
    play.message(Refunded, one)
    expect(play.instance).toMatchObject({ status: 'ended', outcome: 'compensated' })
  })

  test('takes a late success up also when all had ended, and then ends as it had', () => {
    const play = started()
    play.message(Reserved, { ...one, shelf: 'A' })
    play.alarm('step:charge')
    play.message(Refunded, one)
    play.message(Released, one)
    expect(play.instance.status).toBe('ended')
    play.message(Charged, one)
    expect(play.instance.status).toBe('compensating')
    expect(play.types.at(-1)).toBe('refund')
    play.message(Refunded, one)
    expect(play.instance).toMatchObject({ status: 'ended', outcome: 'compensated' })
    expect(play.kinds('ended')).toMatchObject([{}, { data: { isAgain: true } }])
  })

  test('forgets nothing of a success that comes while its compensation is under way', () => {
    const play = started()
    play.message(Reserved, { ...one, shelf: 'A' })
    play.alarm('step:charge')
    play.message(Charged, one)
    play.message(Refunded, one)
    expect(play.types.slice(2)).toEqual(['refund', 'refund'])
    play.message(Refunded, one)
    play.message(Released, one)
    expect(play.instance).toMatchObject({ status: 'ended', outcome: 'compensated' })
  })

  test('that is not answered is tried again with growing waits, and parks the instance after the last try', () => {
    const play = started()
    play.message(Reserved, { ...one, shelf: 'A' })
    play.message(Declined, { ...one, why: 'no money' })
    const dueInMs: number[] = []
    for (let tries = 0; tries < 5; tries++) {
      dueInMs.push((play.instance.timers['undo:reserve']?.dueAtMs ?? 0) - play.nowMs)
      play.alarm('undo:reserve')
    }
    expect(dueInMs).toEqual([10_000, 1_000, 10_000, 2_000, 10_000])
    expect(play.types.filter((type) => type === 'release')).toHaveLength(3)
    expect(play.instance).toMatchObject({ status: 'quarantined', quarantine: { code: 'saga.compensation_failed' }, timers: {} })
    play.act('retry-step', 'reserve')
    expect(play.instance.status).toBe('compensating')
    play.message(Released, one)
    expect(play.instance).toMatchObject({ status: 'ended', outcome: 'compensated' })
  })

  test('that is given up makes the saga end as failed, and the rest is undone', () => {
    const play = started(saga('lenient', { state: OrderState })
      .startedBy(Placed, { correlate: orderId, state: (placed) => placed })
      .step('first', (step) => step.send(Reserve, () => one).compensate((undo) => undo.send(Release, () => ({ ...one, shelf: null }))))
      .step('charge', { timeoutMs: 5 }, (step) => step.send(Charge, () => ({ ...one, cents: 1 })).on(Charged, { correlate: orderId })
        .compensate({ timeoutMs: 5, retry: { attemptsMax: 1 }, otherwise: 'alert' }, (undo) => undo.send(Release, () => ({ ...one, shelf: 'B' })).on(Released, { correlate: orderId })))
      .end())
    play.alarm('step:charge')
    play.alarm('undo:charge')
    expect(play.types).toEqual(['reserve', 'charge', 'release', 'release'])
    expect(play.instance).toMatchObject({ status: 'ended', outcome: 'failed' })
  })

  test('fails a hundred times, keeps its order, and gets through in the end', () => {
    const play = started(saga('stubborn', { state: OrderState })
      .startedBy(Placed, { correlate: orderId, state: (placed) => placed })
      .step('first', { timeoutMs: 5 }, (step) => step.send(Reserve, () => one).on(Reserved, { correlate: orderId })
        .compensate({ timeoutMs: 5 }, (undo) => undo.send(Release, () => ({ ...one, shelf: null })).on(Refunded, { correlate: orderId })))
      .step('charge', { timeoutMs: 5 }, (step) => step.send(Charge, () => ({ ...one, cents: 1 })).on(Charged, { correlate: orderId })
        .compensate({ timeoutMs: 5, retry: { attemptsMax: 101, initialMs: 1, maxMs: 50 } }, (undo) => undo.send(Release, () => ({ ...one, shelf: 'B' })).on(Released, { correlate: orderId })))
      .end())
    play.message(Reserved, { ...one, shelf: 'A' })
    play.alarm('step:charge')
    for (let failures = 0; failures < 100; failures++) {
      play.alarm('undo:charge')
      play.alarm('undo:charge')
    }
    expect(play.kinds('compensation-failed')).toHaveLength(100)
    expect(play.sent.filter(({ data }) => JSON.stringify(data).includes('null'))).toHaveLength(0)
    play.message(Released, one)
    play.message(Refunded, one)
    expect(play.instance).toMatchObject({ status: 'ended', outcome: 'compensated' })
  })
})

describe('time-outs', () => {
  test('try the step again before the saga fails, with another message of the same data', () => {
    const play = started()
    play.alarm('step:reserve')
    expect((play.instance.timers['step:reserve']?.dueAtMs ?? 0) - play.nowMs).toBe(1_000)
    play.alarm('step:reserve')
    expect(play.types).toEqual(['reserve', 'reserve'])
    expect(play.sent[0]?.id).not.toBe(play.sent[1]?.id)
    play.alarm('step:reserve')
    expect(play.instance).toMatchObject({ status: 'compensating' })
  })

  test('and an answer in the same millisecond: the first one counts, the other one is late', () => {
    const answered = started()
    const { token } = answered.instance.timers['step:reserve'] ?? { token: '' }
    answered.nowMs += 30_000
    answered.message(Reserved, { ...one, shelf: 'A' })
    expect(answered.give({ kind: 'timer', timer: 'step:reserve', token }).events).toEqual([])
    expect(answered.types).toEqual(['reserve', 'charge'])
    const timedOut = started()
    timedOut.alarm('step:reserve')
    timedOut.alarm('step:reserve')
    timedOut.alarm('step:reserve')
    timedOut.message(Reserved, { ...one, shelf: 'A' })
    expect(timedOut.types).toEqual(['reserve', 'reserve', 'release', ])
    timedOut.message(Released, one)
    timedOut.message(Released, one)
    expect(timedOut.types).toEqual(['reserve', 'reserve', 'release', 'release'])
    expect(timedOut.instance).toMatchObject({ status: 'ended', outcome: 'compensated' })
  })

  test('of the whole undo everything', () => {
    const play = started(saga('limited', { state: OrderState, timeoutMs: 100 })
      .startedBy(Placed, { correlate: orderId, state: (placed) => placed })
      .step('reserve', { waits: 'forever' }, (step) => step.send(Reserve, () => one).on(Reserved, { correlate: orderId })
        .compensate((undo) => undo.send(Release, () => ({ ...one, shelf: null }))))
      .end())
    play.alarm('deadline')
    expect(play.types).toEqual(['reserve', 'release'])
    expect(play.instance).toMatchObject({ status: 'ended', outcome: 'compensated', timers: {} })
  })
})

describe('an instance whose functions fail', () => {
  const broken = (isBroken: boolean): SagaDefinition => saga('fragile', { state: z.object({ n: z.int() }) })
    .startedBy(Placed, { correlate: orderId, state: ({ cents }) => ({ n: cents }) })
    .step('reserve', { timeoutMs: 5_000 }, (step) => step.send(Reserve, () => one).on(Reserved, {
      correlate: orderId,
      apply: (state) => {
        if (isBroken) throw new RangeError('oh dear')
        return { n: state.n + 1 }
      },
    }))
    .step('charge', { timeoutMs: 5_000 }, (step) => step.send(Charge, () => ({ ...one, cents: 1 })).on(Charged, { correlate: orderId }))
    .end()

  test('is quarantined with the reason; what comes later waits, and is handled when an operator resumes it', () => {
    const play = started(broken(true))
    play.message(Reserved, { ...one, shelf: 'A' })
    expect(play.instance).toMatchObject({ status: 'quarantined', quarantine: { code: 'saga.function_failed', reason: 'oh dear', type: 'stock.reserved' } })
    play.message(Charged, one)
    expect(play.instance.kept).toHaveLength(2)
    expect(play.types).toEqual(['reserve'])
    const mended = play.by(broken(false))
    mended.act('resume')
    expect(mended.types).toEqual(['charge'])
    expect(mended.instance).toMatchObject({ status: 'ended', outcome: 'completed', state: { n: 6 }, kept: [] })
  })

  test('tells an operator when it is still broken, and keeps everything', () => {
    const play = started(broken(true))
    play.message(Reserved, { ...one, shelf: 'A' })
    const before = play.events.length
    expect(thrown(() => play.act('resume'))).toMatchObject({ message: 'oh dear' })
    expect(play.events).toHaveLength(before)
  })

  test('cannot start: its message is a dead letter', () => {
    const never = saga('never', { state: z.object({ n: z.int().max(3) }) })
      .startedBy(Placed, { correlate: orderId, state: ({ cents }) => ({ n: cents }) })
      .send('reserve', Reserve, () => one).end()
    expect(thrown(() => new Play(never).message(Placed, { ...one, cents: 9 }))).toMatchObject({ code: 'saga.message_refused' })
  })

  test('has a state that its schema does not take: it is quarantined as well', () => {
    const play = started(saga('picky', { state: z.object({ n: z.int().max(5) }) })
      .startedBy(Placed, { correlate: orderId, state: ({ cents }) => ({ n: cents }) })
      .step('reserve', { timeoutMs: 5_000 }, (step) => step.send(Reserve, () => one).on(Reserved, { correlate: orderId, apply: (state) => ({ n: state.n + 1 }) }))
      .end())
    play.message(Reserved, { ...one, shelf: 'A' })
    expect(play.instance.quarantine).toMatchObject({ code: 'contract.payload_invalid' })
  })
})

describe('a stream that grows without end', () => {
  test('is quarantined at its limit', () => {
    const play = started()
    for (let at = 0; play.instance.status !== 'quarantined' && at < 10; at++) {
      const filler = Array.from({ length: 2_000 }, () => ({ kind: 'message-ignored', data: { message: { id: '', source: '', type: '' }, because: 'late' } }) as const)
      play.events.push(...filler)
      play.message(Reserved, { ...one, shelf: 'A' })
    }
    expect(play.instance.eventCount).toBeGreaterThan(SAGA_EVENTS_MAX)
    expect(play.instance.quarantine).toMatchObject({ code: 'saga.stream_full' })
  })
})

describe('operators', () => {
  test('skip a step, and the line goes on', () => {
    const play = started()
    play.act('skip-step')
    expect(play.types).toEqual(['reserve', 'charge'])
  })

  test('retry the step that is under way', () => {
    const play = started()
    play.act('retry-step')
    expect(play.types).toEqual(['reserve', 'reserve'])
    play.message(Reserved, { ...one, shelf: 'A' })
    expect(play.types).toEqual(['reserve', 'reserve', 'charge'])
  })

  test('undo what has completed', () => {
    const play = started()
    play.message(Reserved, { ...one, shelf: 'A' })
    play.message(Charged, one)
    expect(play.instance.status).toBe('ended')
    play.act('compensate')
    play.message(Refunded, one)
    play.message(Released, one)
    expect(play.instance).toMatchObject({ status: 'ended', outcome: 'compensated' })
  })

  test('undo after the end what had been given up, and it ends as what it was undone for', () => {
    const play = started()
    play.message(Reserved, { ...one, shelf: 'A' })
    play.message(Declined, { ...one, why: 'no' })
    play.act('skip-step', 'reserve')
    expect(play.instance).toMatchObject({ status: 'ended', outcome: 'failed' })
    play.act('retry-step', 'reserve')
    expect(play.instance).toMatchObject({ status: 'compensating' })
    expect(play.types).toEqual(['reserve', 'charge', 'release', 'release'])
    play.message(Released, one)
    expect(play.instance).toMatchObject({ status: 'ended', outcome: 'compensated', timers: {} })
    expect(play.kinds('ended')).toMatchObject([{ data: { outcome: 'failed' } }, { data: { outcome: 'compensated', isAgain: true } }])
  })

  test('are refused what does not fit, and act once by one id', () => {
    const play = started()
    expect(thrown(() => play.act('resume'))).toMatchObject({ code: 'saga.action_refused' })
    expect(thrown(() => play.act('retry-step', 'charge'))).toMatchObject({ code: 'saga.action_refused' })
    const input = { kind: 'operator', action: 'cancel', by: 'ann', reason: 'x', id: 'same' } as const
    play.give(input)
    expect(play.give(input).events).toEqual([])
    expect(play.kinds('operator-acted')).toHaveLength(1)
  })
})
