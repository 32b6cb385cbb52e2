import { spawnSync } from 'node:child_process'
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { expect, test } from 'vitest'
import { ensureFreshDist } from '../../scripts/fresh-dist.mjs'

const root = join(dirname(fileURLToPath(import.meta.url)), '..', '..')
const readme = readFileSync(join(root, 'README.md'), 'utf8')

test.each([
  { mark: 'quick-start', linesMax: 30, prints: '{ left: 7 }\n' },
  { mark: 'commit-once', linesMax: 25, prints: 'o-1 is on its way\n' },
])('the block $mark runs as it stands and prints what its comments say', async ({ mark, linesMax, prints }) => {
  expect(await ensureFreshDist()).toBe(true)
  const block = new RegExp(`<!-- ${mark}[^>]*-->\\n\`\`\`ts\\n([\\s\\S]*?)\`\`\``).exec(readme)?.[1] ?? ''
  expect(block.trim().split('\n').length).toBeLessThanOrEqual(linesMax)
  // Inside the package, so that `trunkline` resolves to the build of this checkout.
  mkdirSync(join(root, '.tmp'), { recursive: true })
  const folder = mkdtempSync(join(root, '.tmp', 'readme-'))
  try {
    writeFileSync(join(folder, 'block.ts'), block)
    const { status, stdout, stderr } = spawnSync(process.execPath, ['block.ts'], { cwd: folder, encoding: 'utf8', timeout: 30_000 })
    expect({ status, stdout, stderr }).toEqual({ status: 0, stdout: prints, stderr: '' })
  } finally {
    rmSync(folder, { recursive: true, force: true })
  }
}, 120_000)

test('the tables of capabilities and errors are what the code says', () => {
  const { status, stderr } = spawnSync(process.execPath, [join(root, 'scripts', 'write-docs.mjs'), '--check'], { encoding: 'utf8' })
  expect({ status, stderr }).toEqual({ status: 0, stderr: '' })
})

function blocksOf(page: string): readonly string[] {
  return [...readFileSync(join(root, page), 'utf8').matchAll(/```ts\n([\s\S]*?)```/g)].map((match) => match[1] ?? '')
}

test.each([
  ['every block of the recipes is a program', blocksOf('docs/recipes.md')],
  ['all blocks of the page on the outbox are one program', [blocksOf('docs/outbox.md').join('\n')]],
  ['all blocks of the page on the gateway are one program', [blocksOf('docs/gateway.md').join('\n')]],
  ['all blocks of the page on the event store are one program', [blocksOf('docs/store.md').join('\n')]],
  ['all blocks of the page on policies are one program', [blocksOf('docs/resilience.md').join('\n')]],
  ['all blocks of the page on sagas are one program', [blocksOf('docs/saga.md').join('\n')]],
  ['all blocks of the page on discovery are one program', [blocksOf('docs/discovery.md').join('\n')]],
  ['all blocks of the page on health are one program', [blocksOf('docs/health.md').join('\n')]],
  ['all blocks of the page on settings are one program', [blocksOf('docs/settings.md').join('\n')]],
])('%s without type errors', (_name, programs) => {
  for (const program of programs) expect(program).toMatch(/^import /)
  mkdirSync(join(root, '.tmp'), { recursive: true })
  const folder = mkdtempSync(join(root, '.tmp', 'programs-'))
  try {
    for (const [at, program] of programs.entries()) writeFileSync(join(folder, `program-${at}.ts`), `${program}\nexport {}\n`)
    const paths = { trunkline: ['../../src/index.ts'], 'trunkline/testing': ['../../src/testing/index.ts'], 'trunkline/discovery': ['../../src/discovery/index.ts'], 'trunkline/gateway': ['../../src/gateway/index.ts'], 'trunkline/*': ['../../src/adapters/*/index.ts'] }
    writeFileSync(join(folder, 'tsconfig.json'), JSON.stringify({ extends: '../../tsconfig.json', compilerOptions: { rootDir: '../..', paths }, include: ['*.ts'] }))
    const { status, stdout } = spawnSync(join(root, 'node_modules', '.bin', 'tsc'), ['-p', folder], { encoding: 'utf8', env: { ...process.env, PATH: `${join(root, 'node_modules', '.bin')}:${process.env['PATH']}` } })
    expect({ status, stdout }).toEqual({ status: 0, stdout: '' })
  } finally {
    rmSync(folder, { recursive: true, force: true })
  }
}, 120_000)

test('every document that the README links to exists', () => {
  const links = [...readme.matchAll(/\]\(([^)#:]+)(?:#[^)]*)?\)/g)].map((match) => match[1] ?? '')
  expect(links.length).toBeGreaterThan(5)
  expect(links.filter((link) => !existsSync(join(root, link)))).toEqual([])
})
