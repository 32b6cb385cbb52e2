import { describe, expect, test } from 'vitest'
import { z } from 'zod'
import { type Fact, type SagaDefinition, noInstance, saga } from '../../src/index.ts'
import { type SagaUnit, handleInput } from '../../src/saga/engine.ts'
import { SagaFamily, madeMessage } from '../../src/saga/family.ts'
import { rejection } from '../bus/bus-rig.ts'
import { TrunklineError } from '../../src/index.ts'
import { Charge, Charged, Placed, Reserved, SagaRig, order, orderId } from './saga-rig.ts'

/** A unit of work on a stream that is empty; what is appended is looked at and goes nowhere. */
class EmptyUnit implements SagaUnit {
  readonly facts: Fact[] = []
  readonly sent: string[] = []
  readonly #isTaken: boolean

  constructor(isTaken = false) {
    this.#isTaken = isTaken
  }

  send(_contract: unknown, _data: unknown, options?: { readonly id?: string }): void {
    this.sent.push(options?.id ?? '')
  }

  publish(): void {}

  schedule(): Promise<string> {
    return Promise.resolve('')
  }

  cancel(): Promise<boolean> {
    return Promise.resolve(false)
  }

  append(stream: string, _expected: unknown, facts: readonly Fact[]): ReturnType<SagaUnit['append']> {
    if (this.#isTaken) return Promise.reject(new TrunklineError('store.wrong_revision', { stream, expected: 'noStream', actual: '5' }))
    this.facts.push(...facts)
    return Promise.resolve({ revision: BigInt(facts.length - 1), position: undefined, isRepeated: false })
  }

  readStream(): ReturnType<SagaUnit['readStream']> {
    return Promise.resolve({ events: [], cursor: undefined, isEnd: true })
  }

  load(): Promise<never> {
    return Promise.reject(new TypeError('the stream is short'))
  }

  saveSnapshot(): Promise<void> {
    return Promise.resolve()
  }
}

const family = new SagaFamily('shop', [order])

async function placed(id: string): Promise<EmptyUnit> {
  const unit = new EmptyUnit()
  const message = madeMessage(Placed, { orderId: 'o-1', cents: 1 }, { id, source: '/test', correlationId: 'flow' })
  await handleInput(unit, family, 'o-1', { kind: 'message', message }, 5)
  return unit
}

describe('a transition', () => {
  test('that is made again has the same ids of events and messages', async () => {
    const [first, again] = [await placed('m-1'), await placed('m-1')]
    expect(again.facts.map(({ id }) => id)).toEqual(first.facts.map(({ id }) => id))
    expect(again.sent).toEqual(first.sent)
  })

  test('by another message at the same revision has other ids of events: a store must not take the second for a repetition of the first', async () => {
    const [first, other] = [await placed('m-1'), await placed('m-2')]
    const ids = new Set(first.facts.map(({ id }) => id))
    expect(other.facts.some(({ id }) => ids.has(id))).toBe(false)
  })

  test('that finds the stream elsewhere is a conflict, which the unit of work runs again', async () => {
    const message = madeMessage(Placed, { orderId: 'o-1', cents: 1 }, { id: 'm-1', source: '/test', correlationId: 'flow' })
    expect(await rejection(handleInput(new EmptyUnit(true), family, 'o-1', { kind: 'message', message }, 5))).toMatchObject({ code: 'store.conflict' })
    expect(noInstance().status).toBe('none')
  })
})

describe('a long line', () => {
  const long: SagaDefinition = Array.from({ length: 40 }, (_, at) => `step-${at}`)
    .reduce((line, name) => line.step(name, { timeoutMs: 60_000 }, (step) => step.send(Charge, ({ n }) => ({ orderId: 'o-1', cents: n })).on(Charged, { correlate: orderId, apply: ({ n }) => ({ n: n + 1 }) })),
      saga('long', { state: z.object({ n: z.int() }) }).startedBy(Placed, { correlate: orderId, state: () => ({ n: 0 }) }))
    .end()

  test('is not taken for a loop of messages, and is read from its snapshot', async () => {
    await using rig = new SagaRig()
    const { bus, sagas, store } = rig.process([long])
    bus.handle(Charge, async ({ data }) => await bus.publish(Charged, { orderId: data.orderId }))
    await bus.start()
    await bus.publish(Placed, { orderId: 'o-1', cents: 1 })
    await rig.clock.advance(10_000)
    expect(bus.stats().deadLettered).toBe(0)
    const view = await sagas.instance('long', 'o-1').inspect()
    expect(view).toMatchObject({ status: 'ended', outcome: 'completed', state: { n: 40 } })
    expect(view.eventCount).toBeGreaterThan(200)
    expect((await store.events.load(new SagaFamily('shop', [long]).decider, 'o-1')).count).toBeLessThan(200)
    await bus.publish(Reserved, { orderId: 'o-1', shelf: '' })
  })
})
