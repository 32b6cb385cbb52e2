import { expect, test } from 'vitest'
import { CircuitChanged, IntakeChanged, LoadChanged } from '../../src/index.ts'
import { defined } from '../../src/contract/contract.ts'

const from = { service: 'shop', instance: 'i-1' }

test('what is announced is read back as it was, without what does not belong to it', () => {
  const announced = { ...from, name: 'pricing.quote', state: 'open', retryAfterMs: 5 }
  const { body } = defined(CircuitChanged).encode({ ...announced, more: 1 })
  expect(defined(CircuitChanged).decode(1, body)).toEqual(announced)
})

test.each([
  [CircuitChanged, { ...from, name: 'a', state: 'broken', retryAfterMs: 5 }], [CircuitChanged, { ...from, name: 'a', state: 'open', retryAfterMs: '5' }],
  [LoadChanged, { ...from, name: 5, state: 'normal', reason: '' }], [LoadChanged, { ...from, name: 'x'.repeat(501), state: 'normal', reason: '' }],
  [IntakeChanged, { group: 'a', state: 'paused', reason: '' }], [IntakeChanged, null],
])('what others send is checked', (contract, data) => {
  expect(() => defined(contract).decode(1, Buffer.from(JSON.stringify(data)))).toThrow(expect.objectContaining({ code: 'contract.payload_invalid' }))
})
