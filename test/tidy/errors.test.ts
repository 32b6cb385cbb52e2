import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { errorDispositions } from '../../src/core/errors.ts'
import { errorPageComplaints, errorPrefixComplaints, errorRows, unusedCodeComplaints } from './error-rules.ts'
import { rootDir, sourceFiles } from './source-file.ts'

const codes = Object.keys(errorDispositions)

describe('the error codes', () => {
  test('are told in docs/errors.md, all of them and no others, with what the bus does next', () => {
    expect(errorPageComplaints(errorRows(readFileSync(join(rootDir, 'docs/errors.md'), 'utf8')), errorDispositions)).toEqual([])
  })

  test('begin with the folder whose rule was broken', () => {
    const folders = readdirSync(join(rootDir, 'src'), { withFileTypes: true }).filter((entry) => entry.isDirectory())
    expect(errorPrefixComplaints(codes, folders.map(({ name }) => name))).toEqual([])
  })

  test('are all in use', () => {
    const texts = sourceFiles('src/').filter(({ path }) => path !== 'src/core/errors.ts').map(({ text }) => text)
    const usedAtHome = ['core.invariant_broken']
    // The rooms of the stores are being built: their codes are there before all of their throwers.
    const isToCome = (code: string): boolean => code.startsWith('store.') || code.startsWith('outbox.')
    expect(unusedCodeComplaints(codes.filter((code) => !usedAtHome.includes(code) && !isToCome(code)), texts)).toEqual([])
  })
})

describe('the rules about error codes', () => {
  const page = '| code | when |\n| --- | --- |\n| `bus.lost` | a link broke | `retry` | wait |\n| `bus.other` | x | `stop` | y |\n'

  test('see a code that only one side knows, and another disposition', () => {
    expect(errorPageComplaints(errorRows(page), { 'bus.lost': 'retry', 'bus.other': 'stop' })).toEqual([])
    expect(errorPageComplaints(errorRows(page), { 'bus.lost': 'retry' })).toEqual(['bus.other is in docs/errors.md alone'])
    const more = { 'bus.lost': 'reject', 'bus.other': 'stop', 'bus.new': 'stop' } as const
    expect(errorPageComplaints(errorRows(page), more)).toEqual([
      'bus.new is not in docs/errors.md',
      'bus.lost is reject in the code and retry in docs/errors.md',
    ])
  })

  test('see a row told twice and an empty cell', () => {
    const twice = `${page}| \`bus.lost\` | again | \`retry\` |  |\n`
    expect(errorPageComplaints(errorRows(twice), { 'bus.lost': 'retry', 'bus.other': 'stop' })).toHaveLength(2)
  })

  test('see a prefix without a folder, and a code out of use', () => {
    expect(errorPrefixComplaints(['bus.lost', 'moon.lost', 'bus', 'bus.Lost'], ['bus'])).toHaveLength(3)
    expect(unusedCodeComplaints(['bus.lost', 'bus.other'], ["fail('bus.lost')"])).toEqual(['bus.other is thrown nowhere'])
  })
})
