import fc from 'fast-check'
import { expect, test } from 'vitest'
import { RabbitIntake } from '../../../src/adapters/rabbitmq/rabbitmq-intake.ts'
import { systemClock, type Clock } from '../../../src/core/clock.ts'
import { FakeChannel, incoming } from './rabbitmq-fake-channel.ts'

function clockWith(deferred: (() => void)[]): Clock {
  return { ...systemClock, defer: (callback) => deferred.push(callback) }
}

test('acks every settled message exactly once and no other, whatever the order of settling and the turns in between', () => {
  const plan = fc.record({ order: fc.shuffledSubarray(Array.from({ length: 40 }, (_, n) => n + 1)), turns: fc.array(fc.nat(39), { maxLength: 15 }) })
  fc.assert(
    fc.property(plan, ({ order, turns }) => {
      const deferred: (() => void)[] = []
      const channel = new FakeChannel()
      const intake = new RabbitIntake(channel, clockWith(deferred))
      const messages = Array.from({ length: 40 }, (_, n) => incoming(n + 1))
      for (const message of messages) intake.took(message)
      for (const [index, tag] of order.entries()) {
        const message = messages[tag - 1]
        if (message === undefined) continue
        intake.ack(message)
        intake.ack(message)
        if (turns.includes(index)) for (const callback of deferred.splice(0)) callback()
      }
      for (const callback of deferred.splice(0)) callback()
      // As the broker reads them: a tag that is not unacked any more would close the channel.
      const unacked = new Set(messages.map(({ fields }) => fields.deliveryTag))
      for (const { tag, multiple } of channel.acked) {
        expect(unacked.has(tag)).toBe(true)
        for (const other of unacked) if (other === tag || (multiple && other < tag)) unacked.delete(other)
      }
      expect([...unacked].toSorted((a, b) => a - b)).toEqual(messages.map(({ fields }) => fields.deliveryTag).filter((tag) => !order.includes(tag)))
      expect(intake.unackedOf('c')).toBe(40 - order.length)
    }),
  )
})

test('one unbroken run of settled messages leaves as one ack', () => {
  const deferred: (() => void)[] = []
  const channel = new FakeChannel()
  const intake = new RabbitIntake(channel, clockWith(deferred))
  const messages = Array.from({ length: 10 }, (_, n) => incoming(n + 1))
  for (const message of messages) intake.took(message)
  for (const message of messages.slice(0, 6)) intake.ack(message)
  for (const callback of deferred) callback()
  expect(channel.acked).toEqual([{ tag: 6, multiple: true }])
})

test('sends nothing while acks are withheld, and nothing on a channel that is gone', () => {
  const deferred: (() => void)[] = []
  const channel = new FakeChannel()
  const intake = new RabbitIntake(channel, clockWith(deferred))
  for (const message of [incoming(1), incoming(2)]) intake.took(message)
  intake.withholdAcks()
  intake.ack(incoming(1))
  for (const callback of deferred.splice(0)) callback()
  expect([channel.acked.length, intake.unackedOf('c')]).toEqual([0, 2])
  intake.sendAcks()
  expect([channel.acked.length, intake.unackedOf('c')]).toEqual([1, 1])
  intake.lose()
  intake.ack(incoming(2))
  intake.requeue(incoming(2))
  for (const callback of deferred.splice(0)) callback()
  expect([channel.acked.length, channel.nacked.length, intake.signal.aborted]).toEqual([1, 0, true])
})
