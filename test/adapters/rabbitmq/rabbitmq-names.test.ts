import { expect, test } from 'vitest'
import { RabbitNames, routingKeyOf } from '../../../src/adapters/rabbitmq/rabbitmq-names.ts'
import { wire } from './rabbitmq-fixture.ts'

test('no two things share a name', () => {
  const names = new RabbitNames('ns')
  const group = names.group('event', 'command.stock', 'sales.order-placed')
  const all = [
    names.events, names.commands, names.light, names.unrouted, names.dead, names.deadLock, names.due, names.delay(0), names.delay(1), group, names.suspects(group),
    names.group('command', 'stock.reserve', 'stock.reserve'), names.lane('event', 'stock.reserve', 0), names.lane('command', 'stock.reserve', 0), names.hold(names.lane('event', 'stock.reserve', 0)),
    names.lock(names.lane('event', 'stock.reserve', 0)), names.members('event', 'stock.reserve'), names.members('command', 'stock.reserve'), names.order('event', 'stock.reserve'),
    names.query('stock.reserve'), names.inbox('i'), names.broadcast('i', 1), names.broadcast('i', 2),
  ]
  expect(new Set(all).size).toBe(all.length)
})

test('long names keep within what AMQP allows, suffixes included, and stay apart', () => {
  const names = new RabbitNames('n'.repeat(60))
  const type = `${'c'.repeat(50)}.${'t'.repeat(49)}`
  const long = [1, 2].map((n) => names.group('event', `${'s'.repeat(60)}.${'g'.repeat(59)}${n}`, type))
  for (const name of long) expect(names.suspects(names.hold(name)).length).toBeLessThanOrEqual(255)
  expect(long[0]).not.toBe(long[1])
})

test('routing keys hold the type and the bucket, never the key', () => {
  expect(routingKeyOf(wire('sales.order-placed'))).toBe('sales.order-placed.-.-')
  expect(routingKeyOf(wire('sales.order-placed', { key: '#.*' }))).toMatch(/^sales\.order-placed\.[0-7]\.[0-7]$/)
})

test('only inboxes take answers', () => {
  const names = new RabbitNames('ns')
  expect([names.inbox('i'), 'amq.rabbitmq.reply-to.g1.x', 'amq.gen-x'].map((queue) => names.isInbox(queue))).toEqual([true, true, true])
  expect([names.dead, 'ns.inbox', 'other.inbox:i', names.group('event', 'a.b', 'c.d'), ''].some((queue) => names.isInbox(queue))).toBe(false)
})
