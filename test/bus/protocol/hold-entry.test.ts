import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { readHoldEntry, writeHoldEntry } from '../../../src/bus/protocol/hold-entry.ts'
import type { HoldEntry } from '../../../src/bus/protocol/lane-port.ts'
import { message, record } from './fake-broker.ts'

const carried = message('a', 'a1')

function headersOf(entry: HoldEntry): Map<string, string> {
  const headers = new Map<string, string>()
  writeHoldEntry(entry, (name, value) => headers.set(name, value))
  return headers
}

function read(headers: ReadonlyMap<string, string>): HoldEntry | undefined {
  return readHoldEntry((name) => headers.get(name), carried)
}

describe('an entry', () => {
  test.each<HoldEntry>([
    { role: 'head', id: 'x-1', message: carried, state: 'retry', attempt: 3, dueAtMs: 1_700_000_000_000, isRedriven: false, record: undefined },
    { role: 'head', id: 'x-2', message: carried, state: 'begun', attempt: 1, dueAtMs: 0, isRedriven: true, record: undefined },
    { role: 'head', id: 'x-3', message: carried, state: 'dead', attempt: 5, dueAtMs: 0, isRedriven: false, record: record() },
    { role: 'follower', id: 'x-4', message: carried, attempt: 0, isSuspect: false },
    { role: 'follower', id: 'x-5', message: carried, attempt: 2, isSuspect: true },
    { role: 'control', id: 'x-6', target: 'x-3', control: 'redrive' },
    { role: 'control', id: 'x-7', target: 'x-3', control: 'remove' },
  ])('is read as it was written: $id', (entry) => {
    const headers = headersOf(entry)
    expect(read(headers)).toEqual(entry)
    for (const [name, value] of headers) {
      expect(name).toMatch(/^trunkline-hold-[a-z]+$/)
      expect(value).toMatch(/^[\u0021-\u007e][\u0020-\u007e]*$/)
    }
  })
})

describe('what another version or program wrote', () => {
  test.each([
    {},
    { 'trunkline-hold-id': '1' },
    { 'trunkline-hold-id': '1', 'trunkline-hold-role': 'tail' },
    { 'trunkline-hold-role': 'follower' },
    { 'trunkline-hold-id': '1', 'trunkline-hold-role': 'control', 'trunkline-hold-control': 'redrive' },
    { 'trunkline-hold-id': '1', 'trunkline-hold-role': 'control', 'trunkline-hold-control': 'burn', 'trunkline-hold-target': '2' },
  ])('is no entry: %o', (headers) => {
    expect(read(new Map(Object.entries(headers)))).toBeUndefined()
  })

  test('is read as far as possible', () => {
    const headers = { 'trunkline-hold-id': '1', 'trunkline-hold-role': 'head', 'trunkline-hold-attempt': '-3', 'trunkline-hold-due': 'soon' }
    expect(read(new Map(Object.entries(headers)))).toMatchObject({ state: 'retry', attempt: 0, dueAtMs: 0, isRedriven: false })
  })

  test('never throws', () => {
    const names = ['role', 'id', 'state', 'attempt', 'due', 'redriven', 'record', 'control', 'target', 'suspect']
    const value = fc.oneof(fc.string(), fc.constantFrom('head', 'follower', 'control', 'dead', 'redrive'))
    fc.assert(
      fc.property(fc.dictionary(fc.constantFrom(...names.map((name) => `trunkline-hold-${name}`)), value), (headers) => {
        read(new Map(Object.entries(headers)))
      }),
    )
  })
})
