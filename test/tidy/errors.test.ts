import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { errorRegistry } from '../../src/core/error-registry.ts'
import { errorPageComplaints, errorPrefixComplaints, errorRows, unusedCodeComplaints } from './error-rules.ts'
import { rootDir, sourceFiles } from './source-file.ts'

const codes = Object.keys(errorRegistry)

describe('the error codes', () => {
  test('are told in docs/errors.md, all of them and no others, with what the bus does next and what to do', () => {
    expect(errorPageComplaints(errorRows(readFileSync(join(rootDir, 'docs/errors.md'), 'utf8')), errorRegistry)).toEqual([])
  })

  test('begin with the folder whose rule was broken', () => {
    const folders = readdirSync(join(rootDir, 'src'), { withFileTypes: true }).filter((entry) => entry.isDirectory())
    expect(errorPrefixComplaints(codes, folders.map(({ name }) => name))).toEqual([])
  })

  test('are all in use', () => {
    const texts = sourceFiles('src/').filter(({ path }) => !/^src\/core\/error(s|-registry)\.ts$/.test(path)).map(({ text }) => text)
    const usedAtHome = ['core.invariant_broken']
    // The rooms of the stores are being built: their codes are there before all of their throwers.
    const isToCome = (code: string): boolean => code.startsWith('store.') || code.startsWith('outbox.')
    expect(unusedCodeComplaints(codes.filter((code) => !usedAtHome.includes(code) && !isToCome(code)), texts)).toEqual([])
  })
})

describe('the rules about error codes', () => {
  const page = '| code | when |\n| --- | --- |\n| `bus.lost` | a link broke | `retry` | wait |\n| `bus.other` | x | `stop` | y |\n'

  const lost = { disposition: 'retry', remedy: 'wait' } as const
  const other = { disposition: 'stop', remedy: 'y' } as const

  test('see a code that only one side knows, another disposition and another remedy', () => {
    expect(errorPageComplaints(errorRows(page), { 'bus.lost': lost, 'bus.other': other })).toEqual([])
    expect(errorPageComplaints(errorRows(page), { 'bus.lost': lost })).toEqual(['bus.other is in docs/errors.md alone'])
    const more = { 'bus.lost': { ...lost, disposition: 'reject' }, 'bus.other': { ...other, remedy: 'z' }, 'bus.new': other } as const
    expect(errorPageComplaints(errorRows(page), more)).toEqual([
      'bus.new is not in docs/errors.md',
      'bus.lost is reject in the code and retry in docs/errors.md',
      'bus.other has another remedy in the code: node scripts/write-docs.mjs',
    ])
  })

  test('see a row told twice and an empty cell', () => {
    const twice = `${page}| \`bus.lost\` | again | \`retry\` |  |\n`
    expect(errorPageComplaints(errorRows(twice), { 'bus.lost': lost, 'bus.other': other })).toHaveLength(2)
  })

  test('see a prefix without a folder, and a code out of use', () => {
    expect(errorPrefixComplaints(['bus.lost', 'moon.lost', 'bus', 'bus.Lost'], ['bus'])).toHaveLength(3)
    expect(unusedCodeComplaints(['bus.lost', 'bus.other'], ["fail('bus.lost')"])).toEqual(['bus.other is thrown nowhere'])
  })
})
