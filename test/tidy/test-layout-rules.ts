import { matchesGlob } from 'node:path'

/** Rooms of test/ whose files stand for something else than one source file. */
const FREE_ROOMS = ['tidy', 'conformance', 'package', 'servers', 'scripts', 'examples', 'demo', 'bench', 'docs', 'types', 'wire', 'esdb-double', 'torture', 'sim'] as const

const SUFFIX = /(?:\.int|\.sim|\.property)?\.test\.ts$|\.test-d\.ts$/

/** A real server's behaviour concerns the whole adapter: `test/adapters/nats/nats-restart.int.test.ts`. */
const ABOUT_ADAPTER = /^test\/adapters\/([^/]+)\/\1-[a-z0-9-]+\.int\.test\.ts$/

/** Tests that name no source file: `test/bus/lanes.int.test.ts` needs `src/bus/lanes.ts`. */
export function testNameComplaints(paths: readonly string[]): readonly string[] {
  const all = new Set(paths)
  return paths.filter(isTest).flatMap((path) => {
    const room = path.split('/')[1] ?? ''
    if (FREE_ROOMS.some((free) => free === room) || ABOUT_ADAPTER.test(path)) return []
    const source = path.replace(/^test\//, 'src/').replace(SUFFIX, '.ts')
    return all.has(source) ? [] : [`${path} names no source file: ${source}`]
  })
}

/** Adapters that do not run the conformance suite. Memory needs no server, so its run is a unit test. */
export function conformanceComplaints(paths: readonly string[]): readonly string[] {
  const adapters = new Set(paths.flatMap((path) => /^src\/adapters\/([^/]+)\/index\.ts$/.exec(path)?.[1] ?? []))
  return [...adapters].flatMap((adapter) => {
    const endings = adapter === 'memory' ? ['.test.ts', '.int.test.ts'] : ['.int.test.ts']
    const isThere = endings.some((ending) => paths.includes(`test/conformance/${adapter}${ending}`))
    return isThere ? [] : [`${adapter} has no test/conformance/${adapter}${endings[0] ?? ''}`]
  })
}

/** Source and test files whose name is not in kebab-case, or says nothing. */
export function fileNameComplaints(paths: readonly string[]): readonly string[] {
  const mine = paths.filter((path) => /^(?:src|test|scripts)\/.*\.(?:ts|mjs)$/.test(path))
  return mine.flatMap((path) => {
    const name = path.slice(path.lastIndexOf('/') + 1).replace(/(?:\.int|\.sim|\.property)?\.test\.ts$|\.test-d\.ts$|\.ts$|\.mjs$/, '')
    if (!/^[a-z0-9]+(?:-[a-z0-9]+)*$/.test(name)) return [`${path} is not in kebab-case`]
    return /^(?:utils?|helpers?|common|misc|shared)$/.test(name) ? [`${path} does not say what it holds`] : []
  })
}

/** Tests that are switched off, or run alone: a hidden gap either way. */
export function skippedTestComplaints(path: string, code: string): readonly string[] {
  const found = /\b(?:test|it|describe)\s*(?:\.\w+)*\.(?:skip|only|todo|skipIf|runIf|fails)\b|\bretry\s*:\s*[1-9]/.exec(code)
  return found === null ? [] : [`${path} hides a test: ${found[0]}`]
}

const SHARED = /\bvi\.(?:useFakeTimers|setSystemTime|stubGlobal|stubEnv|mock|doMock)\b|\bvi\.spyOn\(\s*(?:globalThis|process|console|Date|Math)\b|\bnew TwoClocks\b/

/** Unit tests that change what all files in their process share, and are none of those that have a process of their own. */
export function sharedProcessComplaints(path: string, code: string, alone: readonly string[]): readonly string[] {
  if (!isTest(path) || path.includes('.int.') || alone.some((glob) => matchesGlob(path, glob))) return []
  const found = SHARED.exec(code)
  return found === null ? [] : [`${path} changes its process for every other file, and is not in ALONE of vitest.config.ts: ${found[0]}`]
}

function isTest(path: string): boolean {
  return path.startsWith('test/') && SUFFIX.test(path)
}
