import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { errorDispositions } from '../../src/index.ts'
import { problemStatuses } from '../../src/gateway/index.ts'

const page = readFileSync(join(import.meta.dirname, '..', '..', 'docs', 'gateway.md'), 'utf8')
const rows = [...page.matchAll(/^\| (\d{3}) \| (.+?) \|$/gm)].map(([, status, codes = '']) => ({ status: Number(status), codes: [...codes.matchAll(/`([a-z]+\.[a-z_]+)`/g)].map((match) => match[1] ?? '') }))

test('every error has a status of the caller or of ours', () => {
  expect(Object.keys(problemStatuses).toSorted()).toEqual(Object.keys(errorDispositions).toSorted())
  expect(Object.values(problemStatuses).filter((status) => !Number.isInteger(status) || status < 400 || status > 504)).toEqual([])
})

test('the page has every status that is not 500, with its codes', () => {
  const told = Object.fromEntries(rows.flatMap(({ status, codes }) => codes.map((code) => [code, status])))
  expect(rows.length).toBeGreaterThan(10)
  expect(told).toEqual(Object.fromEntries(Object.entries(problemStatuses).filter(([, status]) => status !== 500)))
})
