import { describe, expect, test } from 'vitest'
import { z } from 'zod'
import { type SagaDefinition, saga } from '../../src/index.ts'
import type { Timed } from '../../src/saga/step.ts'
import { Play } from './play.ts'
import { CalledOff, Charge, Charged, Declined, OrderState, Placed, Refund, Refunded, Release, Released, Reserve, Reserved, Shipped, SoldOut, orderId } from './saga-rig.ts'

const one = { orderId: 'o-1' }
const none = { ...one, shelf: null }
const Count = z.object({ n: z.int().default(0) })
const counted = (options: { version?: number } = {}): ReturnType<typeof countedOf> => countedOf(options)
function countedOf(options: { version?: number }) {
  return saga('counted', { state: Count, ...options }).startedBy(Placed, { correlate: orderId, state: ({ cents }) => ({ n: cents }) })
}

function run(definition: SagaDefinition, cents = 0): Play {
  const play = new Play(definition)
  play.message(Placed, { ...one, cents })
  return play
}

function problemOf(work: () => unknown): unknown {
  try {
    work()
  } catch (error) {
    return error
  }
  return undefined
}

describe('steps at the same time', () => {
  const group = (kind: 'allOf' | 'anyOf' | number): SagaDefinition => {
    const build: Parameters<ReturnType<typeof counted>['allOf']>[1] = (steps) => steps
      .step('reserve', { timeoutMs: 100 }, (step) => step.send(Reserve, () => one).on(Reserved, { correlate: orderId }).fails(SoldOut, { correlate: orderId })
        .compensate({ timeoutMs: 100 }, (undo) => undo.send(Release, () => none).on(Released, { correlate: orderId })))
      .step('charge', { timeoutMs: 200 }, (step) => step.send(Charge, () => ({ ...one, cents: 1 })).on(Charged, { correlate: orderId }).fails(Declined, { correlate: orderId })
        .compensate({ timeoutMs: 100 }, (undo) => undo.send(Refund, () => ({ ...one, cents: 1 })).on(Refunded, { correlate: orderId })))
      .step('ask', { timeoutMs: 300 }, (step) => step.publish(CalledOff, () => ({ ...one, why: '?' })).on(Shipped, { correlate: orderId }))
    const begun = counted()
    const made = typeof kind === 'number' ? begun.quorum('group', kind, build) : begun[kind]('group', build)
    return made.send('end', Reserve, () => ({ orderId: 'end' })).end()
  }

  test('all are waited for, in whichever order they end', () => {
    const play = run(group('allOf'))
    expect(play.types).toEqual(['reserve', 'charge', 'order-called-off'])
    play.message(Shipped, one)
    play.message(Reserved, { ...one, shelf: 'A' })
    expect(play.types).toHaveLength(3)
    play.message(Charged, one)
    expect(play.instance).toMatchObject({ status: 'ended', outcome: 'completed' })
  })

  test('the first failure of all makes it fail; what is under way is undone as of unknown outcome', () => {
    const play = run(group('allOf'))
    play.message(Reserved, { ...one, shelf: 'A' })
    play.message(Shipped, one)
    play.alarm('step:charge')
    expect(play.types.slice(3)).toEqual(['refund'])
    play.message(Refunded, one)
    play.message(Released, one)
    expect(play.instance).toMatchObject({ status: 'ended', outcome: 'compensated' })
  })

  test('the first that completes is enough for any; the others are undone, a late one once more', () => {
    const play = run(group('anyOf'))
    play.message(Charged, one)
    expect(play.types.slice(3)).toEqual(['release', 'reserve'])
    expect(play.instance.status).toBe('running')
    play.message(Reserved, { ...one, shelf: 'A' })
    play.message(Released, one)
    expect(play.types.slice(5)).toEqual(['release'])
    play.message(Released, one)
    expect(play.instance).toMatchObject({ status: 'ended', outcome: 'completed' })
  })

  test('any fails when all have failed', () => {
    const play = run(group('anyOf'))
    play.message(SoldOut, { ...one, why: 'a' })
    play.message(Declined, { ...one, why: 'b' })
    expect(play.instance.status).toBe('running')
    play.alarm('step:ask')
    expect(play.instance).toMatchObject({ status: 'ended', outcome: 'compensated' })
  })

  test('a quorum goes on with enough, and fails when enough cannot be reached', () => {
    const play = run(group(2))
    play.message(SoldOut, { ...one, why: 'a' })
    play.message(Charged, one)
    play.message(Shipped, one)
    expect(play.instance).toMatchObject({ status: 'ended', outcome: 'completed' })
    const short = run(group(2))
    short.message(SoldOut, { ...one, why: 'a' })
    short.message(Declined, { ...one, why: 'b' })
    expect(short.instance).toMatchObject({ status: 'ended', outcome: 'compensated' })
  })
})

describe('a step', () => {
  test('with a condition takes place or does not', () => {
    const definition = counted().step('charge', { when: ({ n }) => n > 0 }, (step) => step.send(Charge, ({ n }) => ({ ...one, cents: n }))).send('end', Reserve, () => one).end()
    expect(run(definition, 0).types).toEqual(['reserve'])
    expect(run(definition, 3).types).toEqual(['charge', 'reserve'])
  })

  test('is repeated for as long as its condition holds, and each time is undone by itself', () => {
    const definition = counted()
      .step('charge', { whilst: ({ n }) => n > 0, timeoutMs: 50 }, (step) => step
        .send(Charge, ({ n }) => ({ ...one, cents: n }))
        .on(Charged, { correlate: orderId, apply: ({ n }) => ({ n: n - 1 }) })
        .compensate((undo) => undo.send(Refund, (_state, { sent }) => sent)))
      .step('reserve', { timeoutMs: 50 }, (step) => step.send(Reserve, () => one).on(Reserved, { correlate: orderId }))
      .end()
    const play = run(definition, 2)
    play.message(Charged, one)
    play.message(Charged, one)
    expect(play.types).toEqual(['charge', 'charge', 'reserve'])
    play.alarm('step:reserve')
    expect(play.sent.slice(3).map(({ data }) => data)).toEqual([{ ...one, cents: 1 }, { ...one, cents: 2 }])
    expect(run(definition, 0).types).toEqual(['reserve'])
  })

  test('that is repeated without end is stopped', () => {
    const definition = counted().step('charge', { whilst: () => true, timesMax: 5 }, (step) => step.send(Charge, () => ({ ...one, cents: 1 })))
      .step('reserve', { timeoutMs: 5 }, (step) => step.on(Reserved, { correlate: orderId })).end()
    expect(problemOf(() => run(definition))).toMatchObject({ code: 'saga.message_refused', cause: { code: 'saga.repeated_too_often' } })
  })

  test('may fail without making the saga fail', () => {
    const play = run(counted().step('charge', { timeoutMs: 50, onFailure: 'continue' }, (step) => step.send(Charge, () => ({ ...one, cents: 1 })).on(Charged, { correlate: orderId }).fails(Declined, { correlate: orderId }))
      .send('end', Reserve, () => one).end())
    play.message(Declined, { ...one, why: 'no' })
    expect(play.types).toEqual(['charge', 'reserve'])
    expect(play.instance).toMatchObject({ outcome: 'completed' })
  })

  test('tries a refusal again where it says so', () => {
    const play = run(counted().step('charge', { timeoutMs: 50, retry: { attemptsMax: 2, initialMs: 0 } }, (step) => step
      .send(Charge, () => ({ ...one, cents: 1 })).on(Charged, { correlate: orderId }).fails(Declined, { correlate: orderId, isRetried: true })).end())
    play.message(Declined, { ...one, why: 'busy' })
    expect(play.types).toEqual(['charge', 'charge'])
    play.message(Declined, { ...one, why: 'busy' })
    expect(play.instance).toMatchObject({ outcome: 'compensated', reason: 'charge: money.declined' })
  })

  test('takes only the messages that are for it', () => {
    const play = run(counted().step('charge', { timeoutMs: 50 }, (step) => step.send(Charge, () => ({ ...one, cents: 7 })).on(Reserved, { correlate: orderId, where: ({ shelf }, sent) => shelf === `${sent.cents}` })).end())
    play.message(Reserved, { ...one, shelf: '6' })
    expect(play.instance.status).toBe('running')
    play.message(Reserved, { ...one, shelf: '7' })
    expect(play.instance.status).toBe('ended')
  })
})

describe('a wait', () => {
  test('ends after a time far beyond what timers of the platform can hold', () => {
    const tenYearsMs = 315_576_000_000
    const play = run(counted().wait('rest', { afterMs: tenYearsMs }).send('end', Reserve, () => one).end())
    const made = play.instance.timers['step:rest']
    expect((made?.dueAtMs ?? 0) - play.nowMs).toBe(tenYearsMs)
    play.alarm()
    expect(play.types).toEqual(['reserve'])
  })

  test('ends by the calendar', () => {
    const play = run(counted().wait('monday', { cron: '0 9 * * 1', timeZone: 'Europe/Berlin' }).send('end', Reserve, () => one).end())
    expect(new Date(play.instance.timers['step:monday']?.dueAtMs ?? 0).toISOString()).toBe('1970-01-05T08:00:00.000Z')
    play.alarm()
    expect(play.instance.status).toBe('ended')
  })

  test('ends at an instant that the state tells', () => {
    const play = run(counted().wait('then', ({ n }) => ({ at: n })).send('end', Reserve, () => one).end(), 5_000_000)
    expect(play.instance.timers['step:then']?.dueAtMs).toBe(5_000_000)
  })

  test('that means nothing keeps the saga from starting', () => {
    for (const due of [{}, { afterMs: -1 }, { afterMs: 1, at: 1 }, { cron: 'never' }, { at: 5, timeZone: 'UTC' }, { afterMs: Number.NaN }]) {
      expect(problemOf(() => run(counted().wait('rest', due).end()))).toMatchObject({ code: 'saga.message_refused' })
    }
  })
})

describe('a saga within a saga', () => {
  const child = saga('child', { state: OrderState })
    .startedBy(Reserve, { correlate: orderId, state: (data) => ({ ...data, cents: 0 }) })
    .step('charge', { timeoutMs: 50 }, (step) => step.send(Charge, () => ({ ...one, cents: 1 })).on(Charged, { correlate: orderId }).fails(Declined, { correlate: orderId, because: ({ why }) => why }))
    .end()
  const parent = counted().step('run', { timeoutMs: 500 }, (step) => step.run(child, Reserve, () => ({ orderId: 'child-1' }), { apply: (_state, end) => ({ n: end.outcome === 'completed' ? 1 : 2 }) })
    .compensate((undo) => undo.send(Release, () => none))).end()

  const both = (): { readonly above: Play; readonly below: Play } => {
    const above = new Play(parent, 'p-1')
    const made = above.message(Placed, { ...one, cents: 0 })
    const below = new Play(child, 'child-1')
    const headers = made.outgoing[0]?.headers ?? {}
    below.start(Reserve, { orderId: 'child-1' }, headers)
    return { above, below }
  }

  test('completes with it', () => {
    const { above, below } = both()
    expect(below.message(Charged, one).outgoing).toMatchObject([{ contract: { type: 'saga-ends.child' }, data: { outcome: 'completed', parent: { saga: 'counted', instance: 'p-1', run: 'run' } } }])
    above.message(child.ended, { saga: 'child', instance: 'child-1', outcome: 'completed', reason: null, state: {}, parent: { saga: 'counted', instance: 'p-1', run: 'run' } })
    expect(above.instance).toMatchObject({ status: 'ended', outcome: 'completed', state: { n: 1 } })
  })

  test('fails with it, and does not undo what was refused', () => {
    const { above } = both()
    above.message(child.ended, { saga: 'child', instance: 'child-1', outcome: 'compensated', reason: 'no money', state: {}, parent: { saga: 'counted', instance: 'p-1', run: 'run' } })
    expect(above.instance).toMatchObject({ status: 'ended', outcome: 'compensated', reason: 'run: child ended as compensated: no money', state: { n: 2 } })
    expect(above.types).toEqual(['reserve'])
  })

  test('hears nothing of those that others have started', () => {
    const { above } = both()
    const end = { saga: 'child', instance: 'x', outcome: 'completed', reason: null, state: {}, parent: { saga: 'another', instance: 'p-1', run: 'run' } } as const
    above.message(child.ended, end)
    expect(above.instance.status).toBe('running')
    expect(parent.instanceOf({ id: '1', source: '/', type: child.ended.type, data: end, version: 1, body: end, correlationId: '', tenant: undefined, parent: undefined })).toBeUndefined()
    expect(parent.instanceOf({ id: '1', source: '/', type: child.ended.type, data: { ...end, parent: { saga: 'counted', instance: 'acme:p-1', run: 'run' } }, version: 1, body: end, correlationId: '', tenant: 'acme', parent: undefined })).toBe('acme:p-1')
  })
})

describe('a definition is refused', () => {
  const waiting = (options: object): unknown => problemOf(() => counted().step('charge', options as Timed<typeof Count>, (step) => step.send(Charge, () => ({ ...one, cents: 1 })).on(Charged, { correlate: orderId })))

  test.each([
    ['a step that waits without saying how long', () => waiting({})],
    ['two time limits', () => waiting({ timeoutMs: 5, waits: 'forever' })],
    ['a time limit that is none', () => waiting({ timeoutMs: 0 })],
    ['a retry that means nothing', () => waiting({ timeoutMs: 5, retry: { attemptsMax: 0 } })],
    ['a name that is none', () => problemOf(() => counted().send('Two Words', Reserve, () => one))],
    ['two steps of one name', () => problemOf(() => counted().send('a', Reserve, () => one).send('a', Reserve, () => one).end())],
    ['no steps', () => problemOf(() => counted().end())],
    ['no start', () => problemOf(() => saga('x', { state: Count }).send('a', Reserve, () => one).end())],
    ['a quorum beyond its members', () => problemOf(() => counted().quorum('g', 2, (group) => group.step('a', {}, (step) => step.send(Reserve, () => one))))],
    ['an empty group', () => problemOf(() => counted().allOf('g', (group) => group))],
    ['a version that is none', () => problemOf(() => counted({ version: 0 }).send('a', Reserve, () => one).end())],
    ['a name of a saga that is none', () => problemOf(() => saga('Order_1', { state: Count }).startedBy(Placed, { correlate: orderId, state: () => ({}) }).send('a', Reserve, () => one).end())],
    ['a step that only can fail', () => problemOf(() => counted().step('a', { timeoutMs: 5 }, (step) => step.send(Reserve, () => one).fails(SoldOut, { correlate: orderId })))],
    ['a sub-saga that is started by something else', () => problemOf(() => counted().step('a', { timeoutMs: 5 }, (step) => step.run(counted().send('b', Reserve, () => one).end(), Reserved, () => ({ ...one, shelf: '' }))))],
  ])('with %s', (_name, work) => {
    expect(work()).toMatchObject({ code: 'saga.definition_invalid' })
  })

  test('with a misspelt option', () => {
    expect(waiting({ timeoutMS: 5 })).toMatchObject({ code: 'core.option_unknown', details: { nearest: 'timeoutMs' } })
  })
})

describe('an older version', () => {
  const first = counted().step('reserve', { timeoutMs: 50 }, (step) => step.send(Reserve, () => one).on(Reserved, { correlate: orderId }).compensate((undo) => undo.send(Release, () => none)))
    .step('pay', { timeoutMs: 50 }, (step) => step.send(Charge, () => ({ ...one, cents: 1 })).on(Charged, { correlate: orderId })).end()
  const next = (steps: Record<string, string>): SagaDefinition => saga('counted', { state: z.object({ count: z.string() }), version: 2, migrations: { 1: { state: (old: { n: number }) => ({ count: `${old.n}` }), steps } } })
    .startedBy(Placed, { correlate: orderId, state: () => ({ count: '0' }) })
    .step('reserve', { timeoutMs: 50 }, (step) => step.send(Reserve, () => one).on(Reserved, { correlate: orderId }).compensate((undo) => undo.send(Release, () => none)))
    .step('charge', { timeoutMs: 50 }, (step) => step.send(Charge, () => ({ ...one, cents: 1 })).on(Charged, { correlate: orderId }))
    .send('thank', Refund, ({ count }) => ({ ...one, cents: Number(count) })).end()

  test('goes on by the newer definition where a migration says how', () => {
    const play = run(first, 7)
    play.message(Reserved, { ...one, shelf: 'A' })
    const moved = play.by(next({ pay: 'charge' }))
    moved.message(Charged, one)
    expect(moved.sent).toMatchObject([{ data: { ...one, cents: 7 } }])
    expect(moved.instance).toMatchObject({ version: 2, status: 'ended', outcome: 'completed', state: { count: '7' } })
    expect(moved.kinds('migrated')).toMatchObject([{ data: { fromVersion: 1, toVersion: 2 } }])
  })

  test('is quarantined where a step that it has begun is gone, and goes on when the migration is mended', () => {
    const play = run(first, 7)
    play.message(Reserved, { ...one, shelf: 'A' })
    const moved = play.by(next({}))
    moved.message(Charged, one)
    expect(moved.instance.quarantine).toMatchObject({ code: 'saga.migration_failed' })
    const mended = moved.by(next({ pay: 'charge' }))
    mended.act('resume')
    expect(mended.instance).toMatchObject({ status: 'ended', outcome: 'completed' })
  })
})
