import { describe, expect, test } from 'vitest'
import { copyOf, eventIdOf, eventOf, markOf, messageOf, storedOf, type EsdbEvent } from '../../../src/adapters/eventstoredb/eventstoredb-event.ts'
import { fullWireMessage, wireMessage } from '../wire-messages.ts'

/** What a client gives back of an event that was written. */
function stored(event: ReturnType<typeof eventOf>): EsdbEvent {
  const isJson = event.contentType === 'application/json'
  const data: unknown = isJson ? JSON.parse(JSON.stringify(event.data)) : event.data
  const found = storedOf({
    event: {
      streamId: 's', id: event.id, revision: 3n, type: event.type, data, metadata: JSON.parse(JSON.stringify(event.metadata)), isJson, created: new Date(0),
      position: { commit: 9n, prepare: 9n },
    },
  })
  if (found === undefined) throw new Error('an event that is there')
  return found
}

describe('a body', () => {
  test.each(['{"a":1,"b":[true,null,"ü"]}', '"text"', '[]', '{ "a": 1 }', '{"a":1.0}', '{"a":1,"a":2}', '{"2":1,"1":2}', '12', 'null', 'no json', '', '{"a":-0}'])('%j comes back byte by byte', (text) => {
    const body = Buffer.from(text)
    expect(Buffer.from(stored(eventOf('i', wireMessage({ body }))).body)).toEqual(body)
  })

  test('that is no UTF-8 comes back byte by byte', () => {
    const body = Buffer.from([0x7b, 0xff, 0x00, 0x7d])
    expect(Buffer.from(stored(eventOf('i', wireMessage({ body }))).body)).toEqual(body)
  })
})

test('a message keeps everything, and marks beside it', () => {
  const event = stored(eventOf('i', fullWireMessage(), { attempts: '3' }))
  const message = messageOf(event)
  expect({ ...message, headers: { ...message.headers }, body: Buffer.from(message.body) }).toEqual({ ...fullWireMessage(), body: Buffer.from(fullWireMessage().body) })
  expect([markOf(event, 'attempts'), markOf(event, 'other')]).toEqual(['3', undefined])
})

test('a copy has new marks and loses the old ones; what has no id is known by its first place', () => {
  const foreign: EsdbEvent = { stream: 's', revision: 3n, position: 9n, storedAtMs: 0, id: 'i', type: 't', metadata: { odd: 5, 'trunkline-attempts': '1' }, body: Buffer.from('x') }
  const copy = stored(copyOf('j', foreign, { due: '7' }))
  expect([copy.metadata['odd'], markOf(copy, 'attempts'), markOf(copy, 'due')]).toEqual([5, undefined, '7'])
  expect([messageOf(foreign).id, messageOf({ ...copy, stream: 'elsewhere' }).id]).toEqual(['s:3', 's:3'])
  expect(messageOf(foreign).defect).toBeDefined()
})

test('ids of events are UUIDs that repeat for the same message in the same place alone', () => {
  const [one, other] = [wireMessage({ id: 'a' }), wireMessage({ id: 'a', source: '/others' })]
  expect(eventIdOf(one, 's')).toMatch(/^[0-9a-f]{8}-[0-9a-f]{4}-5[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/)
  expect(eventIdOf(one, 's')).toBe(eventIdOf(wireMessage({ id: 'a' }), 's'))
  expect(new Set([eventIdOf(one, 's'), eventIdOf(other, 's'), eventIdOf(one, 't')]).size).toBe(3)
})

test('a link whose target is gone is nothing (guard 23)', () => {
  expect(storedOf({ link: { streamId: 's', id: 'i', revision: 0n, type: '$>', data: '', isJson: false, created: new Date(0) } })).toBeUndefined()
})
