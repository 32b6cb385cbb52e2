import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { ERROR_CHAIN_MAX, ERROR_TEXT_MAX } from '../../../src/core/limits.ts'
import type { DeadLetterRecord } from '../../../src/bus/port.ts'
import { DEAD_LETTER_RECORD_BYTES_MAX, decodeDeadLetterRecord, encodeDeadLetterRecord } from '../../../src/bus/protocol/dead-letter-record.ts'

const full: DeadLetterRecord = {
  reason: 'bus.attempts_exhausted',
  errors: [{ name: 'TypeError', message: 'größer als 5 €', code: 'E_BIG', stack: 'TypeError: x\n    at y (z.ts:1:2)' }, { name: 'Error', message: 'cause' }],
  attempts: 5,
  handler: 'bookInvoice',
  service: 'billing',
  instance: '0198-77',
  at: '2026-01-02T03:04:05.678Z',
}

test('gives back what was written', () => {
  expect(decodeDeadLetterRecord(encodeDeadLetterRecord(full))).toEqual(full)
})

test('writes one line of printable ASCII', () => {
  const text = encodeDeadLetterRecord({ ...full, handler: '\u007f\u0080 𝒳 \ud800' })
  expect(text).toMatch(/^[\u0020-\u007e]*$/)
  expect(text).toContain('gr\\u00f6\\u00dfer')
})

test('drops stacks first and keeps messages whole', () => {
  const errors = full.errors.map((error) => ({ ...error, stack: 'x'.repeat(5_000) }))
  const found = decodeDeadLetterRecord(encodeDeadLetterRecord({ ...full, errors }))
  expect(found.errors).toEqual([{ name: 'TypeError', message: 'größer als 5 €', code: 'E_BIG' }, { name: 'Error', message: 'cause' }])
})

test('shortens messages then, and keeps the reason and every error', () => {
  const errors = Array.from({ length: ERROR_CHAIN_MAX }, (_, index) => ({ name: `E${index}`, message: '€'.repeat(ERROR_TEXT_MAX) }))
  const text = encodeDeadLetterRecord({ ...full, errors })
  const found = decodeDeadLetterRecord(text)
  expect(text.length).toBeLessThanOrEqual(DEAD_LETTER_RECORD_BYTES_MAX)
  expect(found.reason).toBe(full.reason)
  expect(found.errors.map(({ name }) => name)).toEqual(errors.map(({ name }) => name))
  expect(found.errors[0]?.message).toMatch(/^€+…$/)
})

test('stays within its limit whatever the record holds', () => {
  const text = fc.tuple(fc.string({ unit: 'binary', maxLength: 20 }), fc.nat({ max: 100 })).map(([part, times]) => part.repeat(times))
  const error = fc.record({ name: text, message: text, code: text, stack: text })
  const record = fc.record({
    reason: text, errors: fc.array(error, { maxLength: 9, size: 'max' }), attempts: fc.nat(), handler: text, service: text, instance: text, at: text,
  })
  fc.assert(
    fc.property(record, (one) => {
      const written = encodeDeadLetterRecord(one)
      expect(written.length).toBeLessThanOrEqual(DEAD_LETTER_RECORD_BYTES_MAX)
      expect(written).toMatch(/^[\u0020-\u007e]*$/)
      decodeDeadLetterRecord(written)
    }),
    { numRuns: 10, endOnFailure: true },
  )
})

describe('what is not a record', () => {
  test.each([undefined, '', '{', 'null', '7', '"x"', '[]', '{}', '{"reason":5}', '{"reason":""}'])('becomes a foreign one: %s', (text) => {
    expect(decodeDeadLetterRecord(text)).toMatchObject({ reason: 'contract.message_foreign', attempts: 0, at: '1970-01-01T00:00:00.000Z' })
  })

  test('keeps the parts that can be read', () => {
    const text = JSON.stringify({ reason: 'x\u0007y', errors: [null, 5, { name: 3, message: 'm', stack: 'a\n\u0007b' }], attempts: -1, at: {} })
    expect(decodeDeadLetterRecord(text)).toEqual({
      reason: 'x\\u0007y', errors: [{ name: '', message: 'm', stack: 'a\n\\u0007b' }], attempts: 0, handler: '', service: '', instance: '', at: '',
    })
  })

  test('never throws', () => {
    fc.assert(
      fc.property(fc.oneof(fc.string(), fc.json()), (text) => {
        expect(typeof decodeDeadLetterRecord(text).reason).toBe('string')
      }),
    )
  })
})
