import { describe, expect, test } from 'vitest'
import { deadLetterOf } from '../../src/bus/dead-letter-of.ts'
import { TrunklineError } from '../../src/core/errors.ts'

const context = { attempts: 3, handler: 'reserve', service: 'shop', instance: 'i-1', nowMs: 0 }

class Hostile extends Error {
  override get message(): string {
    throw new TypeError('no text')
  }

  override get name(): string {
    throw new TypeError('no name')
  }

  override get stack(): string {
    throw new TypeError('no stack')
  }

  override get cause(): unknown {
    throw new TypeError('no cause')
  }
}

describe('deadLetterOf', () => {
  test('says who gave up, when, after how many attempts, and why, with all causes', () => {
    const error = new TrunklineError('bus.rejected', { reason: 'x' }, { cause: Object.assign(new TypeError('inner'), { code: 'ECONNRESET', cause: 'deepest' }) })
    expect(deadLetterOf(error, context)).toEqual({
      reason: 'bus.rejected', attempts: 3, handler: 'reserve', service: 'shop', instance: 'i-1', at: '1970-01-01T00:00:00.000Z',
      errors: [
        { name: 'TrunklineError', message: 'The handler gave the message up: x. Redrive it when the reason is gone.', code: 'bus.rejected', stack: expect.any(String) },
        { name: 'TypeError', message: 'inner', code: 'ECONNRESET', stack: expect.any(String) },
        { name: 'string', message: 'deepest' },
      ],
    })
  })

  test.each<readonly [string, unknown]>([
    ['undefined', undefined], ['null', null], ['text', 'x'], ['a frozen object', Object.freeze({ a: 1 })], ['an object without prototype', Object.create(null)], ['a symbol', Symbol('s')],
    ['an error whose parts are no text', Object.assign(new Error('x'), { message: 5, name: Symbol('n'), stack: {}, code: 7 })], ['an error that cannot be read', new Hostile()],
  ])('describes %s that a handler threw (B48)', (_name, thrown) => {
    const record = deadLetterOf(thrown, context)
    expect(record.reason).toBe('bus.handler_failed')
    expect(record.errors).toHaveLength(1)
    expect(JSON.parse(JSON.stringify(record))).toEqual(record)
  })

  test('ends at eight causes, at a cycle, and at 2,048 characters of text', () => {
    let chain: Error = new Error('0')
    for (let depth = 1; depth < 50; depth++) chain = new Error(`${depth}`, { cause: chain })
    expect(deadLetterOf(chain, context).errors.map(({ message }) => message)).toEqual(['49', '48', '47', '46', '45', '44', '43', '42'])
    const cycle = new Error('round')
    cycle.cause = cycle
    expect(deadLetterOf(cycle, context).errors).toHaveLength(1)
    const long = deadLetterOf(new Error('x'.repeat(100_000)), context).errors[0]
    expect([long?.message.length, (long?.stack?.length ?? 0) <= 2_048 * 6]).toEqual([2_048, true])
  })

  test('makes control characters visible, so that a record cannot forge a terminal or a log line', () => {
    const [error] = deadLetterOf(Object.assign(new Error('a\nb\u001b[2J'), { name: 'E\r' }), context).errors
    expect([error?.message, error?.name]).toEqual(['a\\u000ab\\u001b[2J', 'E\\u000d'])
    const [header, ...frames] = (error?.stack ?? '').split('\n')
    expect(header).toMatch(/^E.*: a\\u000ab\\u001b\[2J$/)
    expect(frames.length).toBeGreaterThan(2)
  })

  test('keeps the lines of a stack, and lets nothing in a message pass for one of them', () => {
    const [plain] = deadLetterOf(new Error('boom'), context).errors
    expect(plain?.stack).toMatch(/^Error: boom\n {4}at .+\n {4}at /)
    const [forged] = deadLetterOf(new Error('boom\n    at innocent (file.js:1:1)'), context).errors
    expect(forged?.stack).toMatch(/^Error: boom\\u000a {4}at innocent \(file\.js:1:1\)\n {4}at /)
  })

  test('never ends a text in the middle of a character', () => {
    for (const shift of ['', 'x']) {
      const [error] = deadLetterOf(new Error(`${shift}${'😀'.repeat(3_000)}`), context).errors
      expect([error?.message.isWellFormed(), error?.stack?.isWellFormed()]).toEqual([true, true])
    }
  })
})
