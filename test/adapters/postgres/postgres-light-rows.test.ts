import { expect, test } from 'vitest'
import { arrivalFrom, PgLightRows } from '../../../src/adapters/postgres/postgres-light-rows.ts'
import { fullWireMessage, wireMessage } from '../wire-messages.ts'

test('reads no message out of notifications of others', () => {
  for (const payload of ['', 'hello', '|||', 'request', 'deed|1|a', '{"kind":"request"}']) {
    const arrival = arrivalFrom(payload)
    expect(arrival === undefined || arrival.message === undefined).toBe(true)
  }
})

test('never sends a payload that is too long for a notification, and keeps large messages beside', () => {
  const small = fullWireMessage()
  const large = wireMessage({ body: Buffer.alloc(6_000) })
  const { values } = new PgLightRows('"s"').send(
    [
      { kind: 'reply', target: 'address', replyTo: `address/${'t'.repeat(300)}`, message: small },
      { kind: 'request', target: 'type', replyTo: 'address/1', message: large },
      { kind: 'none', target: 'address', replyTo: 'address/2', message: undefined },
    ],
    0, ['', '', ''],
  )
  const [, , heads, payloads, starts, lengths, stored] = values
  expect(payloads).toEqual([expect.any(String), null, ''])
  expect(starts).toEqual([null, 1, null])
  expect(Buffer.isBuffer(stored) && stored.length === Number(Array.isArray(lengths) ? lengths[1] : 0)).toBe(true)
  const texts = Array.isArray(heads) && Array.isArray(payloads) ? heads.map((head, index) => `${head}||${payloads[index] ?? ''}`) : []
  expect(texts.every((text) => Buffer.byteLength(text) < 8_000)).toBe(true)
  expect(arrivalFrom(texts[0] ?? '')).toMatchObject({ kind: 'reply', replyTo: `address/${'t'.repeat(300)}`, row: undefined, message: { id: small.id } })
  expect(arrivalFrom(texts[2] ?? '')).toMatchObject({ kind: 'none', replyTo: 'address/2', message: undefined })
  expect(arrivalFrom(`${Array.isArray(heads) ? heads[1] : ''}|77`)).toMatchObject({ kind: 'request', row: '77' })
})
