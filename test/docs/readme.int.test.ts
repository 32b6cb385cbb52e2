import { spawnSync } from 'node:child_process'
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { expect, test } from 'vitest'

const root = join(dirname(fileURLToPath(import.meta.url)), '..', '..')
const readme = readFileSync(join(root, 'README.md'), 'utf8')

test('the quick start runs as it stands and prints what its comment says', () => {
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

test('the table of capabilities is what the code says', () => {
  const { status, stderr } = spawnSync(process.execPath, [join(root, 'scripts', 'write-docs.mjs'), '--check'], { encoding: 'utf8' })
  expect({ status, stderr }).toEqual({ status: 0, stderr: '' })
})

test('every document that the README links to exists', () => {
  const links = [...readme.matchAll(/\]\(([^)#:]+)\)/g)].map((match) => match[1] ?? '')
  expect(links.length).toBeGreaterThan(5)
  for (const link of links) expect(() => readFileSync(join(root, link))).not.toThrow()
})
