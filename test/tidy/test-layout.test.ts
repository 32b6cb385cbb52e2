import { describe, expect, test } from 'vitest'
import { repositoryPaths, sourceFile, sourceFiles } from './source-file.ts'
import { ALONE } from '../../vitest.config.ts'
import { conformanceComplaints, fileNameComplaints, sharedProcessComplaints, skippedTestComplaints, testNameComplaints } from './test-layout-rules.ts'

const paths = repositoryPaths()

describe('the tests', () => {
  test('name the source file they are about', () => {
    expect(testNameComplaints(paths)).toEqual([])
  })

  test('hold the conformance suite for each adapter', () => {
    expect(conformanceComplaints(paths)).toEqual([])
  })

  test('are never switched off', () => {
    expect(sourceFiles('test/').flatMap((file) => skippedTestComplaints(file.path, file.code))).toEqual([])
  })

  test('have a process of their own where they change it', () => {
    expect(sourceFiles('test/').flatMap((file) => sharedProcessComplaints(file.path, file.code, ALONE))).toEqual([])
  })

  test('and the source have names in kebab-case that say something', () => {
    expect(fileNameComplaints(paths)).toEqual([])
  })
})

describe('the rules about tests', () => {
  test('see a test about nothing', () => {
    const known = ['src/bus/bus.ts', 'test/bus/bus.test.ts', 'test/bus/bus.int.test.ts', 'test/bus/bus.test-d.ts', 'test/conformance/any.test.ts']
    expect(testNameComplaints([...known, 'test/adapters/nats/nats-restart.int.test.ts'])).toEqual([])
    expect(testNameComplaints([...known, 'test/adapters/nats/nats-restart.test.ts', 'test/adapters/nats/restart.int.test.ts'])).toHaveLength(2)
    expect(testNameComplaints([...known, 'test/bus/gone.test.ts', 'test/bus/bus-room.ts'])).toEqual([
      'test/bus/gone.test.ts names no source file: src/bus/gone.ts',
    ])
  })

  test('see an adapter without conformance, and one that has it without a real server', () => {
    const adapters = ['src/adapters/memory/index.ts', 'src/adapters/nats/index.ts', 'test/conformance/memory.test.ts']
    expect(conformanceComplaints(adapters)).toHaveLength(1)
    expect(conformanceComplaints([...adapters, 'test/conformance/nats.test.ts'])).toHaveLength(1)
    expect(conformanceComplaints([...adapters, 'test/conformance/nats.int.test.ts'])).toEqual([])
  })

  test.each(['src/bus/busCore.ts', 'test/bus/Bus.test.ts', 'src/bus/utils.ts', 'scripts/helper.mjs', 'src/bus/a_b.ts'])('refuse the file name %s', (path) => {
    expect(fileNameComplaints([path])).toHaveLength(1)
  })

  test.each(['test.skip("a", f)', 'describe.only("a", f)', 'test.concurrent.skipIf(x)("a", f)', 'it.todo("a")', 'test("a", { retry: 2 }, f)'])('refuse %s', (text) => {
    expect(skippedTestComplaints('a', sourceFile('test/a.test.ts', text).code)).toHaveLength(1)
  })

  test.each(['vi.useFakeTimers()', "vi.spyOn(globalThis, 'setTimeout')", 'using clocks = new TwoClocks()', "vi.stubGlobal('a', 1)", "vi.mock('a')"])('refuse %s in a process that others share', (text) => {
    const { code } = sourceFile('test/core/a.test.ts', text)
    expect(sharedProcessComplaints('test/core/a.test.ts', code, ['test/core/b.test.ts'])).toHaveLength(1)
    expect(sharedProcessComplaints('test/core/a.test.ts', code, ['test/core/*.test.ts'])).toEqual([])
    expect(sharedProcessComplaints('test/core/a.int.test.ts', code, [])).toEqual([])
  })

  test('accept ordinary names and tests', () => {
    expect(fileNameComplaints(['src/bus/delivery-runner.ts', 'test/bus/bus.int.test.ts', 'src/index.ts', 'README.md'])).toEqual([])
    expect(skippedTestComplaints('a', 'test.each(x)("a", f); policy.retry({ retry: 0 })')).toEqual([])
  })
})
