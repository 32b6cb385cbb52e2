import { describe, expect, test } from 'vitest'
import { saga, sagaGraph } from '../../src/index.ts'
import { Charge, Charged, Declined, OrderState, Placed, Refund, Refunded, Release, Reserve, Reserved, SoldOut, order, orderId } from './saga-rig.ts'

describe('a saga as nodes and edges', () => {
  test('has the same ids whenever it is drawn, and is JSON', () => {
    const graph = sagaGraph(order)
    expect(sagaGraph(order)).toEqual(graph)
    expect(JSON.parse(JSON.stringify(graph))).toEqual(JSON.parse(JSON.stringify(sagaGraph({ name: 'order', version: 1, shape: JSON.parse(JSON.stringify(order.shape)) }))))
  })

  test('joins only nodes that there are, and every node to the start', () => {
    const { nodes, edges } = sagaGraph(order)
    const ids = new Set(nodes.map(({ id }) => id))
    expect(ids.size).toBe(nodes.length)
    expect(edges.filter(({ from, to }) => !ids.has(from) || !ids.has(to))).toEqual([])
    const reached = new Set(['start'])
    for (let before = 0; before < reached.size;) {
      before = reached.size
      for (const { from, to } of edges) if (reached.has(from)) reached.add(to)
    }
    expect([...ids].filter((id) => !reached.has(id))).toEqual([])
  })

  test('goes back through what was done before a refusal, and through a step itself that was not answered', () => {
    const { edges, nodes } = sagaGraph(order)
    const of = (from: string, kind: string): readonly string[] => edges.filter((edge) => edge.from === from && edge.kind === kind).map(({ to, label }) => `${to}: ${label}`)
    expect(of('step1', 'back')).toEqual(['compensated: stock.sold-out'])
    expect(of('step1', 'timeout')).toEqual(['undostep1: not answered in time'])
    expect(of('step2', 'back')).toEqual(['undostep1: money.declined'])
    expect(of('step2', 'timeout')).toEqual(['undostep2: not answered in time'])
    expect(of('undostep2', 'undone')).toEqual(['undostep1: money.refunded'])
    expect(of('undostep1', 'undone')).toEqual(['compensated: stock.released'])
    expect(of('step2', 'cancel')).toEqual(['undostep2c: sales.order-called-off'])
    expect(of('undostep2c', 'undone')).toEqual(['undostep1c: money.refunded'])
    expect(of('undostep1c', 'undone')).toEqual(['cancelled: stock.released'])
    expect(nodes.find(({ id }) => id === 'step1')).toMatchObject({ kind: 'step', sends: 'stock.reserve', timeoutMs: 30_000, attemptsMax: 2 })
  })

  test('has groups, repetitions, steps that are left out or passed over, and ends as failed where that is declared', () => {
    const varied = saga('varied', { state: OrderState, timeoutMs: 60_000 }).startedBy(Placed, { correlate: orderId, state: (data) => data })
      .quorum('both', 1, (group) => group
        .step('reserve', { timeoutMs: 5, onFailure: 'continue' }, (step) => step.send(Reserve, (state) => ({ orderId: state.orderId })).on(Reserved, { correlate: orderId }).fails(SoldOut, { correlate: orderId }))
        .step('charge', { timeoutMs: 5 }, (step) => step.send(Charge, (state) => state).on(Charged, { correlate: orderId }).fails(Declined, { correlate: orderId })
          .compensate({ timeoutMs: 5, otherwise: 'alert' }, (undo) => undo.send(Refund, (_state, { sent }) => sent).on(Refunded, { correlate: orderId }))))
      .step('again', { whilst: () => false }, (step) => step.send(Release, (state) => ({ orderId: state.orderId, shelf: null })))
      .step('maybe', { when: () => false }, (step) => step.send(Release, (state) => ({ orderId: state.orderId, shelf: null })))
      .end()
    const { groups, edges, nodes, timeoutMs } = sagaGraph(varied)
    expect(timeoutMs).toBe(60_000)
    expect(groups).toEqual([{ id: 'group1', name: 'both', need: 1, members: ['step1x1', 'step1x2'] }])
    const told = edges.map(({ from, to, kind }) => `${from} ${kind} ${to}`)
    for (const edge of ['start start step1x1', 'start start step1x2', 'step1x1 on step2', 'step1x1 skip step2', 'step1x2 back undostep1x2', 'undostep1x2 given-up failed', 'step2 repeat step2', 'step3 skip completed', 'step3 on completed']) expect(told).toContain(edge)
    expect(nodes.filter(({ group }) => group === 'both')).toHaveLength(2)
  })
})
