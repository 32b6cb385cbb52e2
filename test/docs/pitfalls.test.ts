import { existsSync, readFileSync, readdirSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { conformanceCases, storeCases } from '../../src/testing/index.ts'

const root = join(import.meta.dirname, '..', '..')
/** Pitfalls of each kind; every one has a row. */
const COUNTS: Readonly<Record<string, number>> = { P: 25, O: 10, I: 12, L: 12, E: 13 }
/** What cannot happen, because Trunkline has no such feature. */
const WITHOUT_TEST: readonly string[] = ['P-18']

interface Row {
  readonly number: string
  readonly cells: readonly string[]
}

function rowsOf(page: string): readonly Row[] {
  return page.split('\n').flatMap((line) => {
    const [, number = '', ...cells] = /^\| [A-Z]-\d\d \|/.test(line) ? line.split('|').map((cell) => cell.trim()) : []
    return number === '' ? [] : [{ number, cells: cells.slice(0, -1) }]
  })
}

/** The tests that a row names: file and title. */
function testsOf(cell: string): readonly { readonly file: string; readonly title: string }[] {
  let file = ''
  return cell.split('<br>').flatMap((part) => {
    const [, path, title] = /^(?:`([^`]+)` )?“(.+)”$/.exec(part) ?? []
    file = path ?? file
    return title === undefined ? [] : [{ file, title }]
  })
}

const caseNames = new Set([...conformanceCases, ...storeCases].map(({ name }) => name))

/** What is wrong with a test that is named; undefined where it is there and runs. */
function complaint(file: string, title: string, read: (file: string) => string | undefined): string | undefined {
  const text = read(file)
  if (text === undefined) return `${file} does not exist`
  // As it stands in the source, whatever the quotes around it and the escapes in it.
  const plain = text.replaceAll('\\', '')
  const isSuite = file.startsWith('src/testing/')
  if (!isSuite && !/^test\/.*\.test(?:-d)?\.ts$/.test(file)) return `${file} is no test`
  const before = isSuite ? 'name: ' : '(?:test|it)(?:\\.concurrent)?(?:\\.each[^\\n]*\\)?|\\b)\\(|\\]\\)\\('
  const quoted = title.replaceAll(/[.*+?^${}()|[\]\\]/g, '\\$&')
  if (!new RegExp(`(?:${before})(['"\`])${quoted}\\1,`).test(plain)) return `${file} has no test “${title}”`
  return isSuite && !caseNames.has(title) ? `the case “${title}” of ${file} is in no suite` : undefined
}

function fileOf(file: string): string | undefined {
  return existsSync(join(root, file)) ? readFileSync(join(root, file), 'utf8') : undefined
}

const rows = rowsOf(readFileSync(join(root, 'docs/pitfalls.md'), 'utf8'))

describe('the page about pitfalls', () => {
  test('has a row for every number, once, in order', () => {
    const all = Object.entries(COUNTS).flatMap(([kind, count]) => Array.from({ length: count }, (_, index) => `${kind}-${String(index + 1).padStart(2, '0')}`))
    expect(rows.map(({ number }) => number)).toEqual(all)
  })

  test('says in each row what goes wrong, what is done about it, and which test shows it', () => {
    expect(rows.filter(({ cells }) => cells.length !== 3 || cells.some((cell) => cell === ''))).toEqual([])
    expect(rows.filter(({ cells }) => testsOf(cells[2] ?? '').length === 0).map(({ number }) => number)).toEqual(WITHOUT_TEST)
    for (const { number, cells } of rows) {
      const cell = cells[2] ?? ''
      const [tests, parts] = [testsOf(cell), cell.split('<br>')] as const
      expect(WITHOUT_TEST.includes(number) || tests.length === parts.length, `${number} has a part that names no test`).toBe(true)
    }
  })

  test('names tests that exist', () => {
    expect(rows.flatMap(({ number, cells }) => testsOf(cells[2] ?? '').flatMap(({ file, title }) => {
      const problem = complaint(file, title, fileOf)
      return problem === undefined ? [] : [`${number}: ${problem}`]
    }))).toEqual([])
  })

  test('has every number of its kinds that the source names', () => {
    const known = new Set(rows.map(({ number }) => number))
    const files = readdirSync(join(root, 'src'), { recursive: true, encoding: 'utf8' }).filter((file) => file.endsWith('.ts'))
    const named = files.flatMap((file) => [...readFileSync(join(root, 'src', file), 'utf8').matchAll(/\b[POILE]-\d\d\b/g)].map(([number]) => number))
    expect(named.length).toBeGreaterThan(30)
    expect(named.filter((number) => !known.has(number))).toEqual([])
  })
})

describe('the rule about named tests', () => {
  const read = (file: string): string | undefined => (file === 'test/a.test.ts' || file === 'test/a.ts' ? "test('what it\\'s like', () => {})\ntest.each([\n  [1],\n])('%s is odd', () => {})\n// test: a comment" : undefined)

  test.each([
    ['test/a.test.ts', "what it's like", undefined],
    ['test/a.test.ts', '%s is odd', undefined],
    ['test/a.test.ts', 'a comment', 'test/a.test.ts has no test “a comment”'],
    ['test/a.test.ts', 'what it', 'test/a.test.ts has no test “what it”'],
    ['test/b.test.ts', 'what', 'test/b.test.ts does not exist'],
    ['test/a.ts', "what it's like", 'test/a.ts is no test'],
  ])('%s “%s”', (file, title, expected) => {
    expect(complaint(file, title, read)).toBe(expected)
  })
})
