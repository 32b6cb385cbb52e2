import { describe, expect, test } from 'vitest'
import { SagaFamily } from '../../src/saga/family.ts'
import { SagaCounters, observationsOf } from '../../src/saga/observation.ts'
import { SAGA_EVENTS_WARN } from '../../src/saga/transition.ts'
import { Play } from './play.ts'
import { Charged, Placed, Refunded, Released, Reserved, order } from './saga-rig.ts'

const one = { orderId: 'o-1' }
const family = new SagaFamily('shop', [order])

describe('those who watch', () => {
  test('are told what happened, and it is counted: a saga that undoes something late has not ended twice', () => {
    const play = new Play(order)
    const counters = new SagaCounters()
    const told: string[] = []
    const tell = (work: () => ReturnType<Play['give']>): void => {
      const before = play.instance
      for (const observation of observationsOf({ family, id: 'o-1', before, transition: work() })) {
        counters.count(observation)
        if (observation.kind !== 'changed') told.push(observation.kind)
      }
    }
    tell(() => play.message(Placed, { ...one, cents: 1 }))
    tell(() => play.message(Reserved, { ...one, shelf: 'A' }))
    tell(() => play.alarm('step:charge'))
    tell(() => play.alarm('undo:charge'))
    tell(() => play.message(Refunded, one))
    tell(() => play.message(Released, one))
    tell(() => play.message(Charged, one))
    tell(() => play.message(Refunded, one))
    expect(told).toEqual(['started', 'compensating', 'compensation-failed', 'ended', 'ended'])
    expect(counters.snapshot()).toMatchObject({ started: 1, compensated: 1, compensations: 1, compensationFailures: 1, transitions: 8 })
  })

  test('count each end under its outcome, once, and each quarantine', () => {
    const counters = new SagaCounters()
    const run = (script: (play: Play, tell: (work: () => ReturnType<Play['give']>) => void) => void): void => {
      const play = new Play(order)
      const tell = (work: () => ReturnType<Play['give']>): void => {
        const before = play.instance
        for (const observation of observationsOf({ family, id: 'o-1', before, transition: work() })) counters.count(observation)
      }
      tell(() => play.message(Placed, { ...one, cents: 1 }))
      script(play, tell)
    }
    run((play, tell) => {
      tell(() => play.message(Reserved, { ...one, shelf: 'A' }))
      tell(() => play.message(Charged, one))
    })
    run((play, tell) => {
      tell(() => play.act('cancel'))
      tell(() => play.message(Released, one))
    })
    run((play, tell) => {
      tell(() => play.act('cancel'))
      // The last of its three tries is not answered either: it is parked, given up, and redone.
      for (let tries = 0; tries < 5; tries++) tell(() => play.alarm('undo:reserve'))
      tell(() => play.act('skip-step', 'reserve'))
      expect(play.instance).toMatchObject({ status: 'ended', outcome: 'failed' })
      tell(() => play.act('retry-step', 'reserve'))
      tell(() => play.message(Released, one))
      expect(play.instance).toMatchObject({ status: 'ended', outcome: 'cancelled' })
    })
    expect(counters.snapshot()).toMatchObject({ started: 3, completed: 1, cancelled: 1, compensated: 0, failed: 1, compensations: 2, compensationFailures: 3, quarantined: 1 })
  })

  test('are warned once when a stream grows long, and told nothing where nothing happened', () => {
    const play = new Play(order)
    play.message(Placed, { ...one, cents: 1 })
    const { instance: before } = play
    const long = { ...before, eventCount: SAGA_EVENTS_WARN - 1 }
    const transition = play.message(Reserved, { ...one, shelf: 'A' })
    const after = { ...transition, instance: { ...transition.instance, eventCount: SAGA_EVENTS_WARN + 3 } }
    expect(observationsOf({ family, id: 'o-1', before: long, transition: after }).map(({ kind }) => kind)).toEqual(['stream-long', 'changed'])
    expect(observationsOf({ family, id: 'o-1', before: after.instance, transition: after }).map(({ kind }) => kind)).toEqual(['changed'])
    expect(observationsOf({ family, id: 'o-1', before, transition: { ...transition, events: [] } })).toEqual([])
  })
})
