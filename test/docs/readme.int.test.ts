import { spawnSync } from 'node:child_process'
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { expect, test } from 'vitest'
import { ensureFreshDist } from '../../scripts/fresh-dist.mjs'

const root = join(dirname(fileURLToPath(import.meta.url)), '..', '..')
const readme = readFileSync(join(root, 'README.md'), 'utf8')

test('the quick start runs as it stands and prints what its comment says', async () => {
  expect(await ensureFreshDist()).toBe(true)
  const block = /<!-- quick-start[^>]*-->\n```ts\n([\s\S]*?)```/.exec(readme)?.[1] ?? ''
  expect(block.trim().split('\n').length).toBeLessThanOrEqual(30)
  // Inside the package, so that `trunkline` resolves to the build of this checkout.
  mkdirSync(join(root, '.tmp'), { recursive: true })
  const folder = mkdtempSync(join(root, '.tmp', 'readme-'))
  try {
    writeFileSync(join(folder, 'quick-start.ts'), block)
    const { status, stdout, stderr } = spawnSync(process.execPath, ['quick-start.ts'], { cwd: folder, encoding: 'utf8', timeout: 30_000 })
    expect({ status, stdout, stderr }).toEqual({ status: 0, stdout: '{ left: 7 }\n', stderr: '' })
  } finally {
    rmSync(folder, { recursive: true, force: true })
  }
})

test('the tables of capabilities and errors are what the code says', () => {
  const { status, stderr } = spawnSync(process.execPath, [join(root, 'scripts', 'write-docs.mjs'), '--check'], { encoding: 'utf8' })
  expect({ status, stderr }).toEqual({ status: 0, stderr: '' })
})

test('every block of the recipes is a program without type errors', () => {
  const blocks = [...readFileSync(join(root, 'docs/recipes.md'), 'utf8').matchAll(/```ts\n([\s\S]*?)```/g)].map((match) => match[1] ?? '')
  expect(blocks.length).toBeGreaterThan(5)
  mkdirSync(join(root, '.tmp'), { recursive: true })
  const folder = mkdtempSync(join(root, '.tmp', 'recipes-'))
  try {
    for (const [at, block] of blocks.entries()) writeFileSync(join(folder, `recipe-${at}.ts`), `${block}\nexport {}\n`)
    const paths = { trunkline: ['../../src/index.ts'], 'trunkline/testing': ['../../src/testing/index.ts'], 'trunkline/*': ['../../src/adapters/*/index.ts'] }
    writeFileSync(join(folder, 'tsconfig.json'), JSON.stringify({ extends: '../../tsconfig.json', compilerOptions: { rootDir: '../..', paths }, include: ['*.ts'] }))
    const { status, stdout } = spawnSync(join(root, 'node_modules', '.bin', 'tsc'), ['-p', folder], { encoding: 'utf8', env: { ...process.env, PATH: `${join(root, 'node_modules', '.bin')}:${process.env['PATH']}` } })
    expect({ status, stdout }).toEqual({ status: 0, stdout: '' })
  } finally {
    rmSync(folder, { recursive: true, force: true })
  }
})

test('every document that the README links to exists', () => {
  const links = [...readme.matchAll(/\]\(([^)#:]+)(?:#[^)]*)?\)/g)].map((match) => match[1] ?? '')
  expect(links.length).toBeGreaterThan(5)
  expect(links.filter((link) => !existsSync(join(root, link)))).toEqual([])
})
