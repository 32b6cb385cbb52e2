import { expect, test } from 'vitest'
import { SettingChanged } from '../../../src/discovery/index.ts'
import { defined } from '../../../src/contract/contract.ts'
import { SettingValues } from '../../../src/discovery/settings/setting-contracts.ts'

const change = { name: 'pricing.policy', scope: { zone: 'eu' }, value: { marginPct: 3 }, isCleared: false, by: 'ada', reason: '', revision: 4 }

test('a change comes back as it was', () => {
  expect(defined(SettingChanged).decode(1, defined(SettingChanged).encode(change).body)).toEqual(change)
  const answer = { changes: [change, { ...change, value: null, isCleared: true }], isComplete: true }
  expect(defined(SettingValues).decodeReply(defined(SettingValues).encodeReply(answer))).toEqual(answer)
})

test.each([
  null, { ...change, name: 5 }, { ...change, scope: { region: 'eu' } }, { ...change, scope: { zone: 5 } }, { ...change, scope: null }, { ...change, revision: -1 }, { ...change, revision: 'x' },
  { ...change, isCleared: 'no' }, { ...change, by: 'x'.repeat(2_001) }, { ...change, value: undefined },
])('what others send is checked: %o', (data) => {
  expect(() => defined(SettingChanged).decode(1, Buffer.from(JSON.stringify(data)))).toThrow(expect.objectContaining({ code: 'contract.payload_invalid' }))
  expect(() => defined(SettingValues).decodeReply(Buffer.from(JSON.stringify({ changes: [data], isComplete: true })))).toThrow(expect.objectContaining({ code: 'contract.payload_invalid' }))
})
