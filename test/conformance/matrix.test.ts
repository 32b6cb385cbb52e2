import { readFileSync } from 'node:fs'
import { expect, test } from 'vitest'
import { conformanceMatrix, storeMatrix } from '../../src/testing/index.ts'
import { storeSubjects } from './store-subjects.ts'
import { subjects } from './subjects.ts'

test('docs/conformance.md tells what the cases and the declared capabilities say', () => {
  const page = readFileSync(new URL('../../docs/conformance.md', import.meta.url), 'utf8')
  expect(page, 'run: npx node scripts/write-conformance-doc.mjs').toBe(`${conformanceMatrix(subjects)}\n${storeMatrix(storeSubjects)}`)
})
