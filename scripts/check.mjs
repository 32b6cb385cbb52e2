// The quick check: `npm run check`.

import process from 'node:process'
import { runCheckParts } from './check-parts.mjs'
import { summarise } from './parts.mjs'

const { passed, failed } = summarise(await runCheckParts())
console.log(`${passed} passed, ${failed} failed`)
process.exitCode = failed === 0 && passed > 0 ? 0 : 1
