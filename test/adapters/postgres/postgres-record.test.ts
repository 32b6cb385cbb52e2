import { expect, test } from 'vitest'
import { messageOf, packed, recordOf } from '../../../src/adapters/postgres/postgres-record.ts'
import { fullWireMessage, wireMessage } from '../wire-messages.ts'

test('reads what it wrote, wherever it stands in a run of records', () => {
  const messages = [fullWireMessage(), wireMessage({ body: Buffer.from([0, 255, 128]) }), wireMessage({ id: 'käse \u0000 \ud800', body: Buffer.alloc(0) })]
  const records = messages.map(recordOf)
  const run = packed(records)
  expect(run.byteLength).toBe(records.reduce((sum, { bytes }) => sum + bytes, 0))
  let at = 0
  for (const [index, message] of messages.entries()) {
    const { bytes } = records[index] ?? { bytes: 0 }
    const read = messageOf(run.subarray(at, at + bytes), 'place')
    expect({ ...read, body: Buffer.from(read.body).toString('hex') }).toEqual({ ...message, body: Buffer.from(message.body).toString('hex') })
    at += bytes
  }
})

test('makes a message with a defect of bytes that are none of its own', () => {
  for (const bytes of [Buffer.alloc(0), Buffer.from([0, 0]), Buffer.from([255, 255, 255, 255, 1]), Buffer.from('{"id":1}'), Buffer.from([0, 0, 0, 2, 0x5b, 0x5d, 7])]) {
    const read = messageOf(bytes, 'place-1')
    expect(read.defect).toBeDefined()
    expect(read.id).toBe('place-1')
  }
})
