import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { repositoryPaths, rootDir } from './source-file.ts'
import { lockComplaints, machinePathComplaints, registryComplaints, unpinnedComplaints } from './tracked-file-rules.ts'

const TEXT = /(?:\.(?:ts|mjs|js|cjs|json|md|yml|yaml|txt|sh|csv|html|css|sql|toml|py)|^\.ci\/run|^LICENSE|^\.\w+)$/
const texts = repositoryPaths()
  .filter((path) => TEXT.test(path) && path !== 'package-lock.json' && !path.startsWith('test/tidy/tracked-file'))
  .map((path) => ({ path, text: readFileSync(join(rootDir, path), 'utf8') }))

describe('the files of the repository', () => {
  test('name no folder of one machine', () => {
    expect(texts.flatMap(({ path, text }) => machinePathComplaints(path, text))).toEqual([])
  })

  test('name no registry but the public one', () => {
    expect(texts.flatMap(({ path, text }) => registryComplaints(path, text))).toEqual([])
  })

  test('lock every package by checksum, from the public registry', () => {
    expect(lockComplaints(readFileSync(join(rootDir, 'package-lock.json'), 'utf8'))).toEqual([])
  })

  test('pin every dependency', () => {
    expect(unpinnedComplaints(readFileSync(join(rootDir, 'package.json'), 'utf8'))).toEqual([])
  })
})

describe('the rules about files', () => {
  test.each(["const a = '/work/main'", 'see /root/.npmrc', '(/home/someone/x)', 'cd /Users/a/b'])('refuse %s', (text) => {
    expect(machinePathComplaints('a.md', text)).toEqual(['a.md:1 names a folder of one machine'])
  })

  test.each(['https://example.org/home/page', 'src/home/a.ts', 'a/work/b', 'homework/', '`${dir}/home/x`'])('accept %s', (text) => {
    expect(machinePathComplaints('a.md', text)).toEqual([])
  })

  test('see another registry', () => {
    expect(registryComplaints('.npmrc', 'registry=https://example.org/')).toHaveLength(1)
    expect(registryComplaints('a.md', 'https://npm.example.org/x')).toHaveLength(1)
    expect(registryComplaints('a.md', 'https://registry.npmjs.org/x and https://example.org')).toEqual([])
    const entry = { version: '1.0.0', integrity: 'sha512-x' }
    const lock = (extra: object): string => JSON.stringify({ packages: { '': {}, 'node_modules/a': { ...entry, ...extra } } })
    expect(lockComplaints(lock({ resolved: 'https://npm.example.org/a.tgz' }))).toHaveLength(1)
    expect(lockComplaints(lock({ integrity: undefined }))).toHaveLength(1)
    expect(lockComplaints(lock({ resolved: 'https://registry.npmjs.org/a.tgz' }))).toEqual([])
  })

  test('see a range where a version is wanted, and leave peers their ranges', () => {
    const manifest = { dependencies: { a: '^1.0.0' }, devDependencies: { b: '1.2.3', c: 'latest' }, peerDependencies: { d: '^1.0.0' } }
    expect(unpinnedComplaints(JSON.stringify(manifest))).toEqual(['a is not pinned: ^1.0.0', 'c is not pinned: latest'])
  })
})
