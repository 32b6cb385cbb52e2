import { expect, test } from 'vitest'
import { diskSpace } from '../../src/discovery/index.ts'
import { processMemory } from '../../src/discovery/health-findings.ts'

const { signal } = new AbortController()

test('reads the free space of the disk, also for a file that does not exist yet', async () => {
  expect(await diskSpace({ path: `${import.meta.dirname}/not-there.db`, freeBytesMin: 1, freeBytesDown: 0 })(signal)).toEqual({ state: 'up', reasons: [] })
  expect(await diskSpace({ path: import.meta.dirname, freeBytesMin: Number.MAX_SAFE_INTEGER })(signal)).toMatchObject({ state: 'degraded' })
  expect(await diskSpace({ path: import.meta.dirname, freeBytesMin: Number.MAX_SAFE_INTEGER, freeBytesDown: Number.MAX_SAFE_INTEGER })(signal)).toMatchObject({ state: 'down' })
})

test('reads the memory of the process and its limits', () => {
  const { residentBytes, residentBytesMax, heapBytes, heapBytesMax } = processMemory()
  expect(residentBytes).toBeGreaterThan(1_000_000)
  expect(residentBytes).toBeLessThan(residentBytesMax)
  expect(heapBytes).toBeLessThan(heapBytesMax)
})
