import { execFile } from 'node:child_process'
import { cpSync, mkdirSync, symlinkSync, writeFileSync } from 'node:fs'
import { delimiter, join } from 'node:path'
import { promisify } from 'node:util'
import { beforeAll, expect, test } from 'vitest'
import { privateFolder } from '../servers/server-process.ts'
import { rootDir } from './source-file.ts'

const run = promisify(execFile)
const PREAMBLE = 'export interface Shape { readonly size: number }\nexport async function work(): Promise<number> { return 1 }\n'

/** Rule, and a line that breaks it. */
const PLANTED: Readonly<Record<string, string>> = {
  'eslint(eqeqeq)': 'export const a = (x: number, y: string | number): boolean => x == y',
  'eslint(no-unused-vars)': 'export const a = (): void => { const b = 1 }',
  'eslint(no-var)': 'var a = 1; export const b: number = a',
  'eslint(prefer-const)': 'let a = 1; export const b: number = a',
  'import(no-default-export)': 'export default 1',
  'typescript(ban-ts-comment)': "// @ts-ignore\nexport const a: number = 'x'",
  'typescript(consistent-type-imports)': "import { Shape } from './other.ts'\nexport const a = (x: Shape): number => x.size",
  'typescript(no-explicit-any)': 'export const a = (x: any): void => { void x }',
  'typescript(no-floating-promises)': "import { work } from './other.ts'\nexport const a = (): void => { work() }",
  'typescript(no-misused-promises)': "import { work } from './other.ts'\nexport const a = (x: number[]): void => { x.forEach(async () => { await work() }) }",
  'typescript(no-non-null-assertion)': 'export const a = (x: string | undefined): number => x!.length',
  'typescript(no-unnecessary-type-assertion)': 'export const a = (x: number): number => x as number',
  'typescript(no-unsafe-assignment)': "export const a: number = JSON.parse('1')",
  'typescript(no-unsafe-call)': "export const a = (): unknown => JSON.parse('1').run()",
  'typescript(no-unsafe-member-access)': "export const a = (): unknown => JSON.parse('1').size",
  'typescript(only-throw-error)': "export const a = (): never => { throw 'text' }",
  'typescript(prefer-promise-reject-errors)': "export const a = async (): Promise<void> => { await Promise.reject('text') }",
  'typescript(return-await)': "import { work } from './other.ts'\nexport async function a(): Promise<number> { return work() }",
  'typescript(switch-exhaustiveness-check)': "export function a(x: 'b' | 'c'): number { switch (x) { case 'b': return 1 } return 0 }",
  'unicorn(prefer-node-protocol)': "import { readFileSync } from 'fs'\nexport const a: typeof readFileSync = readFileSync",
  'vitest(no-focused-tests)': "import { test } from 'vitest'\ntest.only('a', () => {})",
}

let output = ''

beforeAll(async () => {
  const dir = privateFolder('lint')
  mkdirSync(join(dir, 'src'))
  cpSync(join(rootDir, '.oxlintrc.json'), join(dir, '.oxlintrc.json'))
  cpSync(join(rootDir, 'tsconfig.json'), join(dir, 'tsconfig.json'))
  symlinkSync(join(rootDir, 'node_modules'), join(dir, 'node_modules'))
  writeFileSync(join(dir, 'src', 'other.ts'), PREAMBLE)
  Object.values(PLANTED).forEach((text, at) => writeFileSync(join(dir, 'src', `planted-${at}.ts`), `${text}\n`))
  const env = { ...process.env, PATH: `${join(rootDir, 'node_modules', '.bin')}${delimiter}${process.env['PATH'] ?? ''}` }
  const ended = await run('oxlint', ['--type-aware', '--deny-warnings', '-f', 'unix', 'src'], { cwd: dir, env }).catch((error: { readonly stdout: string }) => error)
  output = ended.stdout
})

test.each(Object.keys(PLANTED))('%s fires', (rule) => {
  const file = `planted-${Object.keys(PLANTED).indexOf(rule)}.ts`
  expect(output.split('\n').filter((line) => line.includes(`/${file}:`) && line.includes(rule))).not.toEqual([])
})

test('no rule fires on ordinary code', () => {
  expect(output).not.toContain('other.ts')
})
