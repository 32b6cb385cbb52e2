// Writes docs/conformance.md. Run it with the Node that npm ci installed: npx node scripts/write-conformance-doc.mjs

import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { conformanceMatrix, storeMatrix } from '../src/testing/index.ts'
import { storeSubjects } from '../test/conformance/store-subjects.ts'
import { subjects } from '../test/conformance/subjects.ts'
import { rootDir } from './parts.mjs'

const file = join(rootDir, 'docs', 'conformance.md')
writeFileSync(file, `${conformanceMatrix(subjects)}\n${storeMatrix(storeSubjects)}`)
console.log(`wrote ${file}`)
