import { statfs } from 'node:fs/promises'
import { totalmem } from 'node:os'
import { dirname } from 'node:path'
import process from 'node:process'
import { getHeapStatistics } from 'node:v8'

/** What a check found. */
export interface HealthFinding {
  readonly state: 'up' | 'degraded' | 'down'
  readonly reasons: readonly string[]
}

/** A check of the user's own. Nothing given back is well; throwing is not. Its signal aborts when its time is over. */
export type CheckFunction = (signal: AbortSignal) => HealthFinding | undefined | void | PromiseLike<HealthFinding | undefined | void>

/** Memory in bytes, against what may be used. */
export interface MemoryReading {
  readonly residentBytes: number
  readonly residentBytesMax: number
  readonly heapBytes: number
  readonly heapBytesMax: number
}

const WELL: HealthFinding = { state: 'up', reasons: [] }

/** Share of the memory at which the next allocation may end the process. */
const MEMORY_DOWN_SHARE = 0.97
/** Time in which dead letters are counted. */
const DEAD_LETTERS_MS = 300_000

/** The process against the limit of its container, or the machine's memory where it has none. */
export function processMemory(): MemoryReading {
  const constrained = process.constrainedMemory()
  const machine = totalmem()
  const { heap_size_limit: heapBytesMax, used_heap_size: heapBytes } = getHeapStatistics()
  return { residentBytes: process.memoryUsage.rss(), residentBytesMax: constrained > 0 && constrained < machine ? constrained : machine, heapBytes, heapBytesMax }
}

/** How late the event loop was in the last looks. A single hitch, such as a start, is no illness. */
export function loopFinding(latenesses: readonly number[], { loopDelayMs }: { readonly loopDelayMs: number }): HealthFinding {
  const late = latenesses.filter((lateness) => lateness >= loopDelayMs)
  if (late.length < 2) return WELL
  const longestMs = Math.round(Math.max(...late))
  return { state: longestMs >= 10 * loopDelayMs ? 'down' : 'degraded', reasons: [`it was late ${late.length} times in the last ${latenesses.length} looks, by up to ${longestMs} ms`] }
}

/** The memory that is used, against its limits. */
export function memoryFinding({ memory, memoryShare }: { readonly memory: () => MemoryReading; readonly memoryShare: number }): HealthFinding {
  const { residentBytes, residentBytesMax, heapBytes, heapBytesMax } = memory()
  const uses = [['the process', residentBytes, residentBytesMax], ['the heap', heapBytes, heapBytesMax]] as const
  const full = uses.filter(([, bytes, bytesMax]) => bytes >= bytesMax * memoryShare)
  if (full.length === 0) return WELL
  return {
    state: full.some(([, bytes, bytesMax]) => bytes >= bytesMax * MEMORY_DOWN_SHARE) ? 'down' : 'degraded',
    reasons: full.map(([what, bytes, bytesMax]) => `${what} uses ${mebibytes(bytes)} of ${mebibytes(bytesMax)} MiB`),
  }
}

/** Dead letters of the last minutes. Forgets the older ones. */
export function deadLetterFinding(atMs: number[], nowMs: number, { deadLettersMax }: { readonly deadLettersMax: number }): HealthFinding {
  const recent = atMs.findIndex((one) => one > nowMs - DEAD_LETTERS_MS)
  atMs.splice(0, recent < 0 ? atMs.length : recent)
  return atMs.length < deadLettersMax ? WELL : { state: 'degraded', reasons: [`${atMs.length} in five minutes`] }
}

/** Options of `diskSpace`. */
export interface DiskOptions {
  /** A file or folder on the disk that is looked at; the file need not exist yet. */
  readonly path: string
  /** Free bytes below which the service is degraded. Default 1 GiB. */
  readonly freeBytesMin?: number
  /** Free bytes below which it is down: what is to be stored might fail at any time. Default 64 MiB. */
  readonly freeBytesDown?: number
}

/** A check of the free space on a disk, such as that of SQLite's file: `checks: { disk: diskSpace({ path: './shop.db' }) }`. */
export function diskSpace({ path, freeBytesMin = 1_073_741_824, freeBytesDown = 67_108_864 }: DiskOptions): CheckFunction {
  return async () => {
    const { bavail, bsize } = await statfs(path).catch(async () => await statfs(dirname(path)))
    const freeBytes = bavail * bsize
    if (freeBytes >= freeBytesMin) return WELL
    return { state: freeBytes < freeBytesDown ? 'down' : 'degraded', reasons: [`${mebibytes(freeBytes)} MiB are free on the disk of ${path}`] }
  }
}

function mebibytes(bytes: number): number {
  return Math.round(bytes / 1_048_576)
}
