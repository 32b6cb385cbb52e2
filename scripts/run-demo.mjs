// The second half of demo.mjs, on a Node that is new enough.

import process from 'node:process'
import { ensureFreshDist } from './fresh-dist.mjs'

if (await ensureFreshDist()) await import('../examples/order-flow/main.ts')
else {
  process.stderr.write('the package could not be built\n')
  process.exit(1)
}
