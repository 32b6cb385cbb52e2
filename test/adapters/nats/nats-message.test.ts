import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { writeAttributes } from '../../../src/contract/wire.ts'
import { HeaderBlock, headerText, originalLines, parseHeaders, statusOf, statusText } from '../../../src/adapters/nats/nats-headers.ts'
import { answerLines, answerOf, headerLines, messageOf, storedLines } from '../../../src/adapters/nats/nats-message.ts'
import { messageOf as sample } from './nats-rig.ts'

const blockOf = (lines: string): string => Buffer.from(new HeaderBlock(lines).encode()).toString()

/** Text as the bus admits it: no control characters, no lone surrogates. */
const text = fc.string({ unit: 'grapheme', minLength: 1, maxLength: 40 }).filter((value) => !/\p{Cc}/u.test(value) && value.isWellFormed())

describe('messages as header lines', () => {
  test('what is written is read back unchanged', () => {
    const message = fc.record({
      id: text,
      source: text,
      key: fc.option(text, { nil: undefined }),
      correlationId: fc.option(text, { nil: undefined }),
      tracestate: fc.option(text, { nil: undefined }),
      hops: fc.nat({ max: 40 }),
      headers: fc.option(fc.dictionary(fc.stringMatching(/^h[a-z0-9-]{0,8}$/), text, { minKeys: 1, maxKeys: 4 }), { nil: undefined }),
    })
    fc.assert(
      fc.property(message, (changes) => {
        const sent = sample('sales.order-placed', changes)
        const read = messageOf(blockOf(headerLines(sent)), sent.body, 'place')
        expect({ ...read, headers: read.headers && { ...read.headers } }).toEqual({ ...sent, headers: changes.headers && { ...changes.headers } })
      }),
    )
  })

  test('nothing that a value holds can begin another header', () => {
    const read = parseHeaders(blockOf(storedLines(sample('a.b', { id: 'x\r\nNats-Rollup: all', correlationId: 'y\r\n\r\nbody' }))))
    expect(read.others.has('nats-rollup')).toBe(false)
    expect([...read.others.keys()]).toEqual(['nats-msg-id'])
  })

  test('ids of different sources are different to the stream', () => {
    const one = parseHeaders(blockOf(storedLines(sample('a.b', { id: '1', source: '/x' })))).others.get('nats-msg-id')
    const other = parseHeaders(blockOf(storedLines(sample('a.b', { id: '1', source: '/y' })))).others.get('nats-msg-id')
    expect(one).not.toBe(other)
  })

  test('what is no CloudEvent has a defect and the id of its place', () => {
    const read = messageOf('', Buffer.from('{}'), 'STREAM:7')
    expect(read.id).toBe('STREAM:7')
    expect(read.defect).toContain('CloudEvents')
  })

  test('an escape that is no UTF-8 is a defect, not an absent attribute', () => {
    const lines = headerLines(sample('a.b')).replace('ce-correlationid: flow', 'ce-correlationid: %FF%FE')
    expect(messageOf(blockOf(lines), Buffer.from('{}'), 'p').defect).toContain('ce-correlationid')
  })

  test('names in capitals and a repeated name are read as in their first and lower form', () => {
    const lines = headerLines(sample('a.b', { id: 'first' })).replace('ce-id', 'CE-Id')
    expect(messageOf(blockOf(`${lines}ce-id: second\r\n`), Buffer.from('{}'), 'p')).toMatchObject({ id: 'first', defect: undefined })
  })

  test('broker headers and our own notes reach no handler and no copy', () => {
    const lines = `${headerLines(sample('a.b', { headers: { note: 'x' } }))}Nats-Msg-Id: 1\r\ntrunkline-attempts: 3\r\n`
    expect({ ...messageOf(blockOf(lines), Buffer.from('{}'), 'p').headers }).toEqual({ note: 'x' })
    expect(originalLines(blockOf(lines))).not.toMatch(/nats-|trunkline-/i)
    expect(originalLines(blockOf(lines))).toContain('note: x\r\n')
  })

  test('any bytes where headers should be give a message, never an exception', () => {
    fc.assert(
      fc.property(fc.string(), (garbage) => {
        expect(messageOf(garbage, new Uint8Array(0), 'p').defect).toBeDefined()
      }),
    )
  })
})

describe('what is written', () => {
  const full = sample('a.b', {
    version: 2, key: 'k', correlationId: 'c', causationId: 'm', deadline: '2026-01-01T00:00:00.000Z', tenant: 't', traceparent: 'p', tracestate: 's', hops: 3,
    replyTo: 'r', outcome: 'failed', headers: { note: 'x' },
  })

  test('is every attribute in the order of the one mapping, and the headers after them', () => {
    const expected: string[] = []
    writeAttributes(full, (name, value) => expected.push(`ce-${name}: ${value}`))
    expect(headerLines(full).split('\r\n')).toEqual([...expected, 'note: x', ''])
  })

  test('tells a repeated source, type and deadline from new ones', () => {
    const [first, second] = [sample('a.b', { source: '/x' }), sample('a.c', { source: '/y z', deadline: 'd' })]
    for (const message of [first, second, first, second]) {
      expect(messageOf(blockOf(headerLines(message)), message.body, 'p')).toMatchObject({ source: message.source, type: message.type, deadline: message.deadline })
    }
  })
})

describe('an answer', () => {
  const body = Buffer.from('{}')

  test('that succeeded has no headers, and every other one only says how it failed', () => {
    expect(answerLines(sample('a.b'))).toBe('')
    expect(answerOf('', body, 'token')).toMatchObject({ id: 'token', outcome: undefined, defect: undefined, body })
    const lines = answerLines(sample('a.b', { outcome: 'error.sold out' }))
    expect(lines).toBe('ce-outcome: error.sold%20out\r\n')
    expect(answerOf(blockOf(lines), body, 'token')).toMatchObject({ outcome: 'error.sold out', defect: undefined })
  })

  test('is read also where it says all that another message would', () => {
    const lines = headerLines(sample('a.b', { outcome: 'failed', headers: { note: 'ü' } }))
    expect(answerOf(blockOf(lines), body, 'token')).toMatchObject({ outcome: 'failed', defect: undefined })
    expect(answerOf(blockOf('content-type: application/json\r\n'), body, 'token').defect).toBeUndefined()
  })

  test.each([['ce-outcome: %FF\r\n', 'ce-outcome'], ['ce-datacontenttype: text/plain\r\n', 'not JSON'], ['Content-Type: text/plain\r\n', 'not JSON']])('with the header %j has a defect', (lines, problem) => {
    expect(answerOf(blockOf(lines), body, 'token').defect).toContain(problem)
  })
})

describe('header blocks of a client', () => {
  const head = 'NATS/1.0\r\nce-id: 1\r\n\r\n'

  function received(prefix: string, subject: string): Parameters<typeof headerText>[0] {
    const chunk = Buffer.from(`${prefix}${head}body`)
    return {
      subject,
      reply: 'r',
      data: new Uint8Array(chunk.buffer, chunk.byteOffset + prefix.length + head.length, 4),
      size: () => subject.length + 1 + head.length + 4,
    }
  }

  test('are found right before the data, with a right, a wrong and no guess of the subject', () => {
    const message = received('HMSG a.b 1 r 24 28\r\n', 'a.b')
    for (const guess of [undefined, 3, 2, 9]) expect(headerText(message, message.data, 'r', guess)).toBe(head)
  })

  test('are empty where a message has none', () => {
    const data = Buffer.from('MSG a.b 1 4\r\nbody').subarray(-4)
    for (const guess of [undefined, 3, 2]) expect(headerText({ subject: 'a.b', data, size: () => 7 }, data, undefined, guess)).toBe('')
    const message = received('HMSG a.b 1 r 24 28\r\n', 'a.b')
    expect(headerText(message, message.data, 'r', message.subject.length + head.length)).toBe(head)
  })

  test('are rebuilt where a client keeps them elsewhere', () => {
    const headers = Object.assign(new Map([['ce-id', ['1']]]), { code: 0, description: '' })
    expect(headerText({ subject: 'a', data: new Uint8Array(1), headers }, new Uint8Array(1), undefined)).toBe(head)
    const status = Object.assign(new Map<string, string[]>(), { code: 408, description: 'Request Timeout' })
    const text408 = headerText({ subject: 'a', data: new Uint8Array(0), headers: status }, new Uint8Array(0), undefined)
    expect([statusOf(text408), statusText(text408)]).toEqual([408, 'Request Timeout'])
    expect(statusOf(head)).toBe(0)
  })
})
