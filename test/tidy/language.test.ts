import { describe, expect, test } from 'vitest'
import {
  castCountComplaints, castLines, castReasonComplaints, commentComplaints, determinismComplaints, exportComplaints, throwComplaints,
  typeEscapeComplaints,
} from './language-rules.ts'
import { sourceFile, sourceFiles, type SourceFile } from './source-file.ts'

const files = sourceFiles('src/')

describe('the source', () => {
  test('takes time and chance from core alone', () => {
    expect(files.flatMap(determinismComplaints)).toEqual([])
  })

  test('throws only its own error', () => {
    expect(files.flatMap(throwComplaints)).toEqual([])
  })

  test('names what it exports', () => {
    expect(files.flatMap(exportComplaints)).toEqual([])
  })

  test('goes round the type checker nowhere', () => {
    expect(files.flatMap(typeEscapeComplaints)).toEqual([])
  })

  test('casts rarely, and says why', () => {
    expect(files.flatMap(castReasonComplaints)).toEqual([])
    expect(castCountComplaints(files)).toEqual([])
  })

  test('leaves no unfinished notes and draws no banners', () => {
    expect([...files, ...sourceFiles('test/').filter(({ path }) => !path.startsWith('test/tidy/'))].flatMap(commentComplaints)).toEqual([])
  })
})

type Rule = (file: SourceFile) => readonly string[]

const PLANTED: readonly (readonly [string, Rule, readonly string[], readonly string[]])[] = [
  [
    'time and chance',
    determinismComplaints,
    [
      'const a = Date.now()', 'const a = Date.now', 'const a = new Date()', 'const a = new Date', 'setTimeout(f, 1)', 'globalThis.setTimeout(f)', 'setInterval(f, 1)',
      'setImmediate(f)', 'performance.now()', 'process.hrtime.bigint()', 'Math.random()', 'crypto.randomUUID()', 'AbortSignal.timeout(5)',
      "import { setTimeout as sleep } from 'node:timers/promises'", 'const x = `${Date.now()}`',
    ],
    [
      'const a = host.clock.now()', 'const a = new Date(ms)', 'socket.setTimeout(1)', '// Date.now()', "const a = 'Math.random()'", 'queueMicrotask(f)',
    ],
  ],
  [
    'throwing',
    throwComplaints,
    ["throw new Error('x')", 'throw new TypeError()', "throw 'x'", 'throw { a: 1 }', 'reject(new Error())'],
    ["throw new TrunklineError('a', {})", 'throw error', 'throw malformed(type)', "// throw new Error('x')", 'reject(error)'],
  ],
  [
    'exports',
    exportComplaints,
    ["export * from './a.ts'", "export * as a from './a.ts'", 'export default 1', 'export { a as default }'],
    ["export { a } from './a.ts'", 'export const a = 1'],
  ],
  [
    'type escapes',
    typeEscapeComplaints,
    ['let a: any', 'f<any>()', 'a as any', 'let a: any[]', '// @ts-ignore', '// @ts-expect-error', '// @ts-nocheck'],
    ['Promise.any(a)', 'AbortSignal.any([a])', '// any', "const a = 'any'", 'const company = 1'],
  ],
  [
    'comments',
    commentComplaints,
    ['// TODO later', '/* FIXME */', '// XXX', '// ---------- part', ' * ========'],
    ['// to do nothing', '// a -- b', 'const todo = 1'],
  ],
]

describe.each(PLANTED)('the rule about %s', (_name, rule, bad, good) => {
  test.each(bad)('refuses %s', (text) => {
    expect(rule(sourceFile('src/bus/a.ts', `${text}\n`))).not.toEqual([])
  })

  test.each(good)('accepts %s', (text) => {
    expect(rule(sourceFile('src/bus/a.ts', `${text}\n`))).toEqual([])
  })
})

describe('the rule about casts', () => {
  test('counts casts, and neither imports nor const', () => {
    const text = "import * as a from 'a'\nimport { b as c } from 'b'\nexport { c as d }\ntype M<T> = { [K in keyof T as Exclude<K, 1>]: T[K] }\nconst e = { f: 1 } as const\nconst g = e as unknown as Other\n"
    expect(castLines(sourceFile('src/bus/a.ts', text))).toEqual([6, 6])
  })

  test('wants a reason, and few of them', () => {
    const bare = sourceFile('src/bus/a.ts', 'const a = 1\nconst b = 2\nconst c = 3\nconst d = b as Other\n')
    const explained = sourceFile('src/bus/a.ts', '// The server never sends anything else.\nconst d = b as Other\n')
    expect(castReasonComplaints(bare)).toHaveLength(1)
    expect(castReasonComplaints(explained)).toEqual([])
    expect(castCountComplaints([explained, bare])).toHaveLength(1)
  })

  test('spares core from the rule about time', () => {
    expect(determinismComplaints(sourceFile('src/core/clock.ts', 'Date.now()\n'))).toEqual([])
  })
})
