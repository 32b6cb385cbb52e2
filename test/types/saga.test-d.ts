import { describe, expectTypeOf, test } from 'vitest'
import { z } from 'zod'
import { type SagaDefinition, choreography, command, event, processManager, query, saga } from '../../src/index.ts'

const Placed = event('sales.order-placed', { schema: z.object({ orderId: z.string(), cents: z.int().default(0) }) })
const Pay = command('money.pay', { schema: z.object({ orderId: z.string(), cents: z.int() }) })
const Paid = event('money.paid', { schema: z.object({ orderId: z.string(), receipt: z.string() }) })
const Refused = event('money.refused', { schema: z.object({ orderId: z.string(), why: z.string() }) })
const GiveBack = command('money.give-back', { schema: z.object({ receipt: z.string().nullable() }) })
const Quote = query('pricing.quote', { request: z.object({}), response: z.object({}) })
const State = z.object({ orderId: z.string(), receipt: z.string().optional() })

const base = saga('order', { state: State }).startedBy(Placed, { correlate: (placed) => placed.orderId, state: ({ orderId }) => ({ orderId }) })
const correlate = (data: { readonly orderId: string }): string => data.orderId

describe('a step', () => {
  test('knows the state, what it sent, and its outcomes', () => {
    const made = base.step('pay', { timeoutMs: 5 }, (step) => step
      .send(Pay, (state) => {
        expectTypeOf(state).toEqualTypeOf<{ orderId: string; receipt?: string | undefined }>()
        return { orderId: state.orderId, cents: 5 }
      })
      .on(Paid, {
        correlate: (data) => {
          expectTypeOf(data).toEqualTypeOf<{ orderId: string; receipt: string }>()
          return data.orderId
        },
        where: (data, sent) => data.orderId === sent.orderId && sent.cents > 0,
        apply: (state, { receipt }) => ({ ...state, receipt }),
      })
      .fails(Refused, { correlate, because: ({ why }) => why })
      .compensate({ timeoutMs: 5 }, (undo) => undo
        .send(GiveBack, (_state, { sent, outcome }) => {
          expectTypeOf(sent).toEqualTypeOf<{ orderId: string; cents: number }>()
          expectTypeOf(outcome).toEqualTypeOf<{ orderId: string; receipt: string } | undefined>()
          return { receipt: outcome?.receipt ?? null }
        })
        .on(Paid, { correlate }))).end()
    expectTypeOf(made).toEqualTypeOf<SagaDefinition<{ orderId: string; receipt?: string | undefined }>>()
  })

  test('that waits has to say how long', () => {
    // @ts-expect-error -- it waits, and has no time limit
    base.step('pay', (step) => step.send(Pay, () => ({ orderId: 'o', cents: 1 })).on(Paid, { correlate }))
    // @ts-expect-error -- nor here
    base.step('pay', { retry: { attemptsMax: 2 } }, (step) => step.send(Pay, () => ({ orderId: 'o', cents: 1 })).on(Paid, { correlate }))
    // @ts-expect-error -- nor does its compensation
    base.step('pay', (step) => step.send(Pay, () => ({ orderId: 'o', cents: 1 })).compensate((undo) => undo.send(GiveBack, () => ({ receipt: null })).on(Paid, { correlate })))
    base.step('pay', { waits: 'forever' }, (step) => step.send(Pay, () => ({ orderId: 'o', cents: 1 })).on(Paid, { correlate }))
    base.step('pay', { timeout: () => ({ cron: '0 9 * * 1' }) }, (step) => step.send(Pay, () => ({ orderId: 'o', cents: 1 })).on(Paid, { correlate }))
    base.step('pay', (step) => step.send(Pay, () => ({ orderId: 'o', cents: 1 })))
    base.allOf('both', (group) => {
      // @ts-expect-error -- a member of a group waits, too
      group.step('pay', {}, (step) => step.send(Pay, () => ({ orderId: 'o', cents: 1 })).on(Paid, { correlate }))
      return group
    })
  })

  test('needs a correlation for each message, and data that fit', () => {
    // @ts-expect-error -- which instance is it?
    base.step('pay', { timeoutMs: 5 }, (step) => step.send(Pay, () => ({ orderId: 'o', cents: 1 })).on(Paid, {}))
    // @ts-expect-error -- it is no text
    base.step('pay', { timeoutMs: 5 }, (step) => step.send(Pay, () => ({ orderId: 'o', cents: 1 })).on(Paid, { correlate: () => 5 }))
    // @ts-expect-error -- cents are missing
    base.step('pay', (step) => step.send(Pay, ({ orderId }) => ({ orderId })))
    // @ts-expect-error -- an event is published
    base.step('pay', (step) => step.send(Paid, () => ({ orderId: 'o', receipt: '' })))
    // @ts-expect-error -- it is no state
    base.step('pay', { timeoutMs: 5 }, (step) => step.send(Pay, () => ({ orderId: 'o', cents: 1 })).on(Paid, { correlate, apply: () => ({ orderId: 5 }) }))
    // @ts-expect-error -- a query starts nothing
    saga('order', { state: State }).startedBy(Quote, { correlate: () => 'x', state: () => ({ orderId: 'o' }) })
    // @ts-expect-error -- the state to begin with is incomplete
    saga('order', { state: State }).startedBy(Placed, { correlate, state: () => ({}) })
  })
})

describe('a process manager', () => {
  const common = { state: z.object({ n: z.int() }), inputs: [Placed, Paid], startedBy: [Placed], outputs: [Pay], initialState: () => ({ n: 0 }) } as const

  test('tells its inputs apart by type, alarms among them', () => {
    processManager('p', {
      ...common, timers: ['late', 'later'], correlate: { 'sales.order-placed': correlate, 'money.paid': correlate },
      decide: (input, state, to) => {
        expectTypeOf(state).toEqualTypeOf<{ n: number }>()
        if (input.type === 'timer') {
          expectTypeOf(input.timer).toEqualTypeOf<'late' | 'later'>()
          return to.end('failed')
        }
        if (input.type === 'money.paid') {
          expectTypeOf(input.data).toEqualTypeOf<{ orderId: string; receipt: string }>()
          return [to.cancel('late'), to.end()]
        }
        expectTypeOf(input.data).toEqualTypeOf<{ orderId: string; cents: number }>()
        return [to.send(Pay, input.data), to.timer('late', { afterMs: 5 })]
      },
      evolve: (state) => ({ n: state.n + 1 }),
    })
  })

  test('needs a correlation for every input, and an alarm or a word', () => {
    const functions = { decide: () => undefined, evolve: (state: { n: number }) => state }
    // @ts-expect-error -- money.paid belongs to no instance
    processManager('p', { ...common, ...functions, timers: ['late'], correlate: { 'sales.order-placed': correlate } })
    // @ts-expect-error -- it could wait for ever
    processManager('p', { ...common, ...functions, correlate: { 'sales.order-placed': correlate, 'money.paid': correlate } })
    processManager('p', { ...common, ...functions, waits: 'forever', correlate: { 'sales.order-placed': correlate, 'money.paid': correlate } })
    processManager('p', {
      ...common, timers: ['late'], correlate: { 'sales.order-placed': correlate, 'money.paid': correlate }, evolve: (state) => state,
      decide: (_input, _state, to) => {
        // @ts-expect-error -- it is none of its outputs
        to.send(GiveBack, { receipt: null })
        // @ts-expect-error -- it is none of its alarms
        to.timer('soon', { afterMs: 1 })
        // @ts-expect-error -- cents are missing
        return to.send(Pay, { orderId: 'o' })
      },
    })
  })
})

describe('a choreography', () => {
  test('gives what it has declared', () => {
    choreography('flow').when(Placed, [Pay], (placed, to) => {
      expectTypeOf(placed).toEqualTypeOf<{ orderId: string; cents: number }>()
      // @ts-expect-error -- it was not declared
      to.publish(Paid, { orderId: 'o', receipt: '' })
      return to.send(Pay, placed)
    })
  })
})
