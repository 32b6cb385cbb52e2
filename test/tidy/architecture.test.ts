import { describe, expect, test } from 'vitest'
import { arrowComplaints, cycleComplaints, packageComplaints, unresolvedComplaints } from './architecture-rules.ts'
import { sourceFile, sourceFiles } from './source-file.ts'

const files = sourceFiles('src/')

describe('the source', () => {
  test('is found', () => {
    expect(files.length).toBeGreaterThan(10)
  })

  test('has arrows between its rooms in one direction', () => {
    expect(files.flatMap(arrowComplaints)).toEqual([])
  })

  test('imports a technology from its own adapter alone, and an optional peer only when it is wanted', () => {
    expect(files.flatMap(packageComplaints)).toEqual([])
  })

  test('has no circle of imports', () => {
    expect(cycleComplaints(files)).toEqual([])
  })

  test('imports files that exist', () => {
    expect(unresolvedComplaints(files)).toEqual([])
  })
})

describe('the arrow rule', () => {
  test.each([
    ['src/core/a.ts', '../contract/b.ts'],
    ['src/contract/a.ts', '../bus/b.ts'],
    ['src/bus/a.ts', '../store/b.ts'],
    ['src/store/a.ts', '../bus/b.ts'],
    ['src/bus/a.ts', '../outbox/b.ts'],
    ['src/outbox/a.ts', '../saga/b.ts'],
    ['src/discovery/a.ts', '../outbox/b.ts'],
    ['src/discovery/a.ts', '../resilience/b.ts'],
    ['src/bus/a.ts', '../adapters/memory/b.ts'],
    ['src/testing/a.ts', '../adapters/nats/b.ts'],
    ['src/adapters/nats/a.ts', '../rabbitmq/b.ts'],
    ['src/adapters/nats/a.ts', '../shared.ts'],
    ['src/adapters/nats/a.ts', '../../bus/bus.ts'],
    ['src/adapters/nats/a.ts', '../../bus/deep/port.ts'],
    ['src/adapters/nats/a.ts', '../../testing/b.ts'],
    ['src/adapters/nats/a.ts', '../../index.ts'],
    ['src/index.ts', './adapters/memory/index.ts'],
    ['src/index.ts', './testing/index.ts'],
    ['src/stray.ts', './core/a.ts'],
    ['src/cli/a.ts', '../adapters/nats/index.ts'],
    ['src/bus/a.ts', '../../test/b.ts'],
    ['src/unknown/a.ts', '../core/b.ts'],
  ])('refuses %s importing %s', (path, specifier) => {
    expect(arrowComplaints(sourceFile(path, `import { x } from '${specifier}'\n`))).toHaveLength(1)
    expect(arrowComplaints(sourceFile(path, `import type { X } from '${specifier}'\n`))).toHaveLength(1)
    expect(arrowComplaints(sourceFile(path, `export { x } from '${specifier}'\n`))).toHaveLength(1)
  })

  test.each([
    ['src/bus/a.ts', '../contract/b.ts'],
    ['src/saga/a.ts', '../outbox/b.ts'],
    ['src/adapters/nats/a.ts', '../../bus/port.ts'],
    ['src/adapters/nats/a.ts', '../../bus/protocol/lanes.ts'],
    ['src/adapters/nats/a.ts', './b.ts'],
    ['src/testing/a.ts', '../adapters/memory/index.ts'],
    ['src/index.ts', './bus/index.ts'],
  ])('accepts %s importing %s', (path, specifier) => {
    expect(arrowComplaints(sourceFile(path, `import { x } from '${specifier}'\n`))).toEqual([])
  })

  test('lets the command line load an adapter by name at run time', () => {
    expect(arrowComplaints(sourceFile('src/cli/a.ts', "const a = await import('../adapters/nats/index.ts')\n"))).toEqual([])
  })
})

describe('the package rule', () => {
  test.each([
    ['src/bus/a.ts', "import type { X } from 'nats'"],
    ['src/adapters/rabbitmq/a.ts', "import type { X } from '@nats-io/transport-node'"],
    ['src/adapters/nats/a.ts', "import { connect } from 'nats'"],
    ['src/adapters/rabbitmq/a.ts', "import amqp from 'amqplib'"],
    ['src/store/a.ts', "import { DatabaseSync } from 'node:sqlite'"],
    ['src/bus/a.ts', "import { x } from 'left-pad'"],
    ['src/bus/a.ts', "import { x } from 'fs'"],
  ])('refuses in %s: %s', (path, statement) => {
    expect(packageComplaints(sourceFile(path, `${statement}\n`))).toHaveLength(1)
  })

  test.each([
    ['src/adapters/nats/a.ts', "const client = await import('nats')"],
    ['src/adapters/sqlite/a.ts', "import { DatabaseSync } from 'node:sqlite'"],
    ['src/core/a.ts', "import { createHash } from 'node:crypto'"],
  ])('accepts in %s: %s', (path, statement) => {
    expect(packageComplaints(sourceFile(path, `${statement}\n`))).toEqual([])
  })
})

describe('the circle rule', () => {
  test('sees a circle that is closed by a type', () => {
    const circle = [
      sourceFile('src/bus/a.ts', "import { b } from './b.ts'\n"),
      sourceFile('src/bus/b.ts', "import { c } from './c.ts'\n"),
      sourceFile('src/bus/c.ts', "import type { A } from './a.ts'\n"),
    ]
    expect(cycleComplaints(circle)).toEqual(['src/bus/a.ts → src/bus/b.ts → src/bus/c.ts → src/bus/a.ts is a circle'])
  })

  test('sees a file that imports itself, and an import of no file', () => {
    const self = sourceFile('src/bus/a.ts', "import { a } from './a.ts'\nimport { b } from './b.js'\n")
    expect(cycleComplaints([self])).toHaveLength(1)
    expect(unresolvedComplaints([self])).toEqual(['src/bus/a.ts:2 no such file: ./b.js'])
  })
})
