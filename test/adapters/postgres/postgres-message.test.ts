import { expect, test } from 'vitest'
import { attributesText, idOf, messageFrom } from '../../../src/adapters/postgres/postgres-message.ts'
import { fullWireMessage, wireMessage } from '../wire-messages.ts'

test('every attribute comes back as it was, or absent as it was', () => {
  for (const message of [fullWireMessage(), wireMessage(), wireMessage({ outcome: 'error.sold-out', defect: 'odd', headers: { 'a\u0000b': '\ud800' } })]) {
    expect(messageFrom(attributesText(message), message.body, 'place')).toEqual(message)
    expect(idOf(attributesText(message))).toBe(message.id)
  }
})

test('the text holds nothing that a column of PostgreSQL refuses', () => {
  const text = attributesText(wireMessage({ id: 'a\u0000\ud800', headers: { name: '\udc00\u0000' } }))
  expect(text).not.toContain('\u0000')
  expect(text.isWellFormed()).toBe(true)
})

test('a row that someone else has written comes back with a defect and the id of its place', () => {
  for (const text of ['', 'no JSON', '{}', '[]', '[1,2,3]', 'null']) {
    expect(messageFrom(text, Buffer.alloc(0), 'row-7')).toMatchObject({ id: 'row-7', defect: expect.any(String) })
    expect(idOf(text)).toBeUndefined()
  }
})
