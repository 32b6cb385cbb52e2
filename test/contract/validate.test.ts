import { describe, expect, test } from 'vitest'
import { z } from 'zod'
import type { Schema, SchemaResult } from '../../src/contract/schema.ts'
import { validated, validatorOf } from '../../src/contract/validate.ts'

/** A schema of no library at all, as small as the standard allows. */
const schemaOf = (validate: (value: unknown) => SchemaResult<unknown> | Promise<SchemaResult<unknown>>): Schema => ({ '~standard': { version: 1, vendor: 'test', validate } })
const check = (schema: Schema, value: unknown): unknown => validated('a.b', 'consume', validatorOf('a.b', schema), value)

describe('validated', () => {
  test('gives the value as the schema gives it', () => {
    expect(check(z.object({ a: z.string().default('x') }), { b: 1 })).toEqual({ a: 'x' })
    expect(check(schemaOf((value) => ({ value: [value] })), 5)).toEqual([5])
  })

  test('names path and rule of what does not fit, for any library', () => {
    expect(() => check(z.object({ lines: z.array(z.object({ price: z.int() })) }), { lines: [{ price: 'much' }] })).toThrow(
      expect.objectContaining({ code: 'contract.payload_invalid', details: { type: 'a.b', during: 'consume', issues: [{ path: 'lines.0.price', rule: expect.stringContaining('number') }] } }),
    )
    const issues = [{ message: 'bad', path: ['a', { key: 0 }, { key: Symbol('s') }] }, { message: 'all of it' }]
    expect(() => check(schemaOf(() => ({ issues })), 1)).toThrow(
      expect.objectContaining({ details: expect.objectContaining({ issues: [{ path: 'a.0.Symbol(s)', rule: 'bad' }, { path: '', rule: 'all of it' }] }) }),
    )
  })

  test('keeps 20 issues at most and makes control characters of the data visible', () => {
    const issues = Array.from({ length: 500 }, () => ({ message: 'evil\nline', path: ['a\u001b[31m'] }))
    expect(() => check(schemaOf(() => ({ issues })), 1)).toThrow(
      expect.objectContaining({ details: expect.objectContaining({ issues: Array.from({ length: 20 }, () => ({ path: 'a\\u001b[31m', rule: 'evil\\u000aline' })) }) }),
    )
  })

  test('takes a schema that throws for data that does not fit, and keeps what it threw', () => {
    const cause = new TypeError('cannot read x')
    expect(() => check(schemaOf(() => { throw cause }), 1)).toThrow(
      expect.objectContaining({ code: 'contract.payload_invalid', cause, details: expect.objectContaining({ issues: [{ path: '', rule: 'the schema itself threw: cannot read x' }] }) }),
    )
  })

  test('refuses a schema that waits, whatever its promise comes to', async () => {
    const code = { code: 'contract.definition_invalid', disposition: 'stop' }
    expect(() => check(schemaOf((value) => Promise.resolve({ value })), 1)).toThrow(expect.objectContaining(code))
    expect(() => check(schemaOf(() => Promise.reject(new Error('late'))), 1)).toThrow(expect.objectContaining(code))
    expect(() => check(z.string().refine(() => Promise.resolve(true)), 'x')).toThrow(expect.objectContaining(code))
    // A rejection that nobody takes would end the process in a later turn of the loop.
    await new Promise((resolve) => setImmediate(resolve))
  })
})
