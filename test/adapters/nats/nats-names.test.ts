import fc from 'fast-check'
import { expect, test } from 'vitest'
import { consumerName, groupToken, NatsNames, subjectTail } from '../../../src/adapters/nats/nats-names.ts'
import { bucketOf } from '../../../src/contract/names.ts'
import { messageOf } from './nats-rig.ts'

const names = new NatsNames('shop')

/** True where a subject fits a filter, as the server sees it. */
function fits(filter: string, subject: string): boolean {
  const [wanted, tokens] = [filter.split('.'), subject.split('.')]
  const isOpen = wanted.at(-1) === '>'
  if (isOpen ? tokens.length < wanted.length : tokens.length !== wanted.length) return false
  return wanted.every((token, index) => token === '*' || token === '>' || token === tokens[index])
}

test('a keyed message is in exactly the lane of its bucket, with any number of lanes', () => {
  fc.assert(
    fc.property(fc.string({ minLength: 1 }), fc.constantFrom('event' as const, 'command' as const), (key, kind) => {
      const subject = names.subjectOf(kind, messageOf('sales.order-placed', { key }))
      for (const lanes of [1, 8, 64]) {
        for (const types of [['sales.order-placed'], ['sales.order-placed', 'sales.other']]) {
          const filters = Array.from({ length: lanes }, (_, lane) => names.laneFilter(kind, types, lane, lanes))
          expect(filters.flatMap((filter, lane) => (fits(filter, subject) ? [lane] : []))).toEqual([Math.floor((bucketOf(key) * lanes) / 64)])
        }
      }
      expect(fits(names.typeFilter(kind, 'sales.order-placed'), subject)).toBe(true)
    }),
  )
})

test('a message without a key is in one of the lanes, too', () => {
  const subject = names.subjectOf('event', messageOf('sales.order-placed'))
  const filters = Array.from({ length: 8 }, (_, lane) => names.laneFilter('event', ['sales.order-placed'], lane, 8))
  expect(filters.filter((filter) => fits(filter, subject))).toHaveLength(1)
})

test('broadcast interest takes broadcasts and events of its type and nothing of other planes', () => {
  const filter = names.broadcastFilter('sales.order-placed')
  const subjects = [
    names.broadcast('sales.order-placed'),
    names.subjectOf('event', messageOf('sales.order-placed', { key: 'k' })),
    names.request('sales.order-placed'),
    names.retry('e-g', 'sales.order-placed'),
    names.hold('e-g', 3, 'e'),
    names.dead('e-g', 'sales.order-placed', 'id'),
  ]
  expect(subjects.map((subject) => fits(filter, subject))).toEqual([true, true, false, false, false, false])
})

test('groups, types and commands of one spelling have names of their own, and no name has a separator', () => {
  expect(groupToken('event', 'a.b')).not.toBe(groupToken('command', 'a.b'))
  const name = consumerName(groupToken('event', 'billing.charge'), 'sales.order-placed')
  expect(name).toMatch(/^[A-Za-z0-9=_-]+$/)
  fc.assert(
    fc.property(fc.string(), (type) => {
      expect(subjectTail(type)).toMatch(/^[A-Za-z0-9=_-]+\.[A-Za-z0-9=_-]+$/)
    }),
  )
})
