import fc from 'fast-check'
import { expect, test } from 'vitest'
import { attributesText, messageFrom } from '../../../src/adapters/sqlite/sqlite-message.ts'
import { fullWireMessage, wireMessage } from '../wire-messages.ts'

test('a message comes back as it was written', () => {
  const text = fc.string({ unit: 'binary' })
  const maybe = fc.option(text, { nil: undefined })
  const headers = fc.option(fc.dictionary(fc.stringMatching(/^[a-z][a-z0-9-]{0,9}$/), text, { noNullPrototype: true }), { nil: undefined })
  fc.assert(
    fc.property(text, text, maybe, maybe, maybe, headers, fc.nat(), fc.uint8Array(), (id, type, key, tenant, defect, given, hops, body) => {
      const message = wireMessage({ id, type, key, tenant, defect, headers: given, hops, body })
      expect(messageFrom(attributesText(message), body, 'place')).toStrictEqual(message)
    }),
  )
})

test('every attribute is kept', () => {
  const message = fullWireMessage({ defect: 'a defect' })
  expect(Object.values(message)).not.toContain(undefined)
  expect(messageFrom(attributesText(message), message.body, 'place')).toStrictEqual(message)
})

test.each(['', 'null', '{}', '[', '[1,2,3]', '"text"', '[null,null,null]'])('a row that holds %j comes back with a defect', (attributes) => {
  expect(messageFrom(attributes, Buffer.from('x'), 'place-1')).toMatchObject({
    id: 'place-1', source: '', type: '', defect: 'the row holds no attributes of a message',
  })
})
