import { readFileSync } from 'node:fs'
import { dirname, join, posix } from 'node:path'
import { beforeAll, describe, expect, test } from 'vitest'
import { freePort } from '../servers/free-port.ts'
import { Consumer, packLibrary, tool, type PackedLibrary } from './packed.ts'

const rootDir = dirname(dirname(import.meta.dirname))
const CLIENTS = ['nats', 'amqplib', '@nats-io/transport-node', '@nats-io/nats-core', 'node:sqlite', 'better-sqlite3', 'pg', '@eventstore/db-client']

let library: PackedLibrary

beforeAll(async () => {
  library = await packLibrary()
})

/** A program that opens a bus on a transport and prints the code of what went wrong, and what to install. */
function openingProgram(subpath: string, transport: string): string {
  return `
    import { createBus } from 'trunkline'
    import * as adapter from 'trunkline/${subpath}'
    try {
      const bus = createBus({ service: { name: 'consumer' }, transport: adapter.${transport} })
      await bus.start()
      await bus.stop()
      console.log(JSON.stringify({ code: 'none' }))
    } catch (error) {
      console.log(JSON.stringify({ code: error.code, message: error.message, details: error.details }))
    }
    process.exit(0)
  `
}

interface Outcome {
  readonly code: string
  readonly message?: string
  readonly details?: { readonly install?: string }
}

describe('the tarball', () => {
  test('holds code, sources, examples and pages, and nothing else', () => {
    const isOurs = /^(?:dist\/.+\.(?:js|d\.ts)(?:\.map)?|src\/.+\.ts|docs\/[\w-]+\.md|examples\/.+\.(?:ts|txt|csv|yaml)|examples\/kubernetes\/Dockerfile|(?:README|CHANGELOG|CONTRIBUTING)\.md|LICENSE|package\.json)$/
    const strangers = library.files.filter((path) => !isOurs.test(path))
    expect(strangers).toEqual([])
    expect(library.files).toEqual(expect.arrayContaining(['README.md', 'LICENSE', 'CHANGELOG.md', 'package.json', 'dist/index.js', 'dist/index.d.ts', 'src/index.ts']))
  })

  test('holds every page and folder that its README and its pages link to', () => {
    const pages = library.files.filter((path) => path === 'README.md' || path.startsWith('docs/'))
    expect(pages.length).toBeGreaterThan(7)
    const broken = pages.flatMap((page) => {
      const links = [...readFileSync(join(rootDir, page), 'utf8').matchAll(/\]\(([^)#:]+)(?:#[^)]*)?\)/g)].map((match) => posix.join(posix.dirname(page), match[1] ?? ''))
      return links.filter((link) => !library.files.some((path) => path === link || path.startsWith(`${link}/`))).map((link) => `${page} → ${link}`)
    })
    expect(broken).toEqual([])
  })

  test('satisfies publint', async () => {
    const { stdout } = await tool('publint', ['run', library.tarball, '--strict'], rootDir)
    expect(stdout).toContain('All good!')
  })

  test('has types for every entry that resolve as its code does', async () => {
    const { stdout } = await tool('attw', [library.tarball, '--profile', 'esm-only', '--no-emoji', '--format', 'ascii'], rootDir)
    const entries = stdout.split('\n').filter((line) => line.startsWith('"trunkline'))
    const resolved = stdout.split('\n').filter((line) => /^(?:node16 \(from ESM\)|bundler): /.test(line))
    const manifest: { readonly exports: object } = JSON.parse(readFileSync(join(rootDir, 'package.json'), 'utf8'))
    expect(entries).toHaveLength(Object.keys(manifest.exports).length)
    expect(resolved).toHaveLength(2 * entries.length)
    expect(resolved.filter((line) => !line.includes(': OK'))).toEqual([])
  })
})

describe('an installation without optional peers', () => {
  let consumer: Consumer

  beforeAll(async () => {
    consumer = new Consumer(library.tarball)
    await consumer.install(['zod'])
  })

  test.each(['trunkline', 'trunkline/memory', 'trunkline/eventstoredb', 'trunkline/sqlite', 'trunkline/nats', 'trunkline/postgres', 'trunkline/rabbitmq', 'trunkline/discovery', 'trunkline/gateway', 'trunkline/testing'])('imports %s', async (specifier) => {
    const names = await consumer.evaluate<readonly string[]>(`console.log(JSON.stringify(Object.keys(await import('${specifier}'))))`)
    expect(names.length).toBeGreaterThan(0)
    expect(names).not.toContain('default')
  })

  test('hides everything that is no entry', async () => {
    const code = await consumer.evaluate<string>("console.log(JSON.stringify(await import('trunkline/dist/bus/bus.js').then(() => 'open', (error) => error.code)))")
    expect(code).toBe('ERR_PACKAGE_PATH_NOT_EXPORTED')
  })

  test('carries a message over memory', async () => {
    const got = await consumer.evaluate<unknown>(`
      import { createBus, event } from 'trunkline'
      import { memory } from 'trunkline/memory'
      import { z } from 'zod'
      const Placed = event('sales.order-placed', { schema: z.object({ orderId: z.string() }) })
      const bus = createBus({ service: { name: 'consumer' }, transport: memory() })
      const got = new Promise((resolve) => bus.on(Placed, { group: 'audit' }, (message) => resolve(message.data)))
      await bus.start()
      await bus.publish(Placed, { orderId: 'o-1' })
      console.log(JSON.stringify(await got))
      await bus.stop()
    `)
    expect(got).toEqual({ orderId: 'o-1' })
  })

  test.each([
    ['nats', "nats({ servers: 'nats://127.0.0.1:4' })", 'nats'],
    ['rabbitmq', "rabbitmq({ url: 'amqp://127.0.0.1:4' })", 'amqplib'],
    ['eventstoredb', "eventStoreDbTransport({ hosts: '127.0.0.1:4', tls: false })", '@eventstore/db-client'],
  ])('says what to install when %s is opened', async (subpath, transport, missing) => {
    const outcome = await consumer.evaluate<Outcome>(openingProgram(subpath, transport))
    expect(outcome).toMatchObject({ code: 'core.peer_missing', details: { package: missing, install: `npm install ${missing}` } })
    expect(outcome.message).toContain(`npm install ${missing}`)
  })

  test('type-checks every entry, library declarations and declarations of its own included', async () => {
    const source = `
      import { command, createBus, event, query, type Bus } from 'trunkline'
      import * as memory from 'trunkline/memory'
      import * as eventstoredb from 'trunkline/eventstoredb'
      import * as sqlite from 'trunkline/sqlite'
      import * as nats from 'trunkline/nats'
      import * as postgres from 'trunkline/postgres'
      import * as rabbitmq from 'trunkline/rabbitmq'
      import * as discovery from 'trunkline/discovery'
      import * as gateway from 'trunkline/gateway'
      import * as testing from 'trunkline/testing'
      import { z } from 'zod'
      export const Placed = event('sales.order-placed', { schema: z.object({ orderId: z.string() }) })
      export const Reserve = command('stock.reserve', { schema: z.object({ sku: z.string() }) })
      export const Quote = query('pricing.quote-price', {
        request: z.object({ sku: z.string() }), response: z.object({ cents: z.int() }), errors: { unknownSku: z.object({ sku: z.string() }) },
      })
      export const bus: Bus = createBus({ service: { name: 'consumer' }, transport: memory.memory() })
      bus.handle(Reserve, (message) => { message.data.sku.toUpperCase() })
      bus.answer(Quote, (message) => ({ cents: message.data.sku.length }))
      export const cents: Promise<number> = bus.ask(Quote, { sku: 's-1' }).then((reply) => reply.cents)
      bus.on(Placed, { group: 'audit' }, (message) => message.data.orderId.toUpperCase())
      // @ts-expect-error -- the schema has no such field, and the types know it
      bus.on(Placed, { group: 'audit' }, (message) => message.data.price)
      export const entries: readonly object[] = [memory, eventstoredb, sqlite, nats, postgres, rabbitmq, discovery, gateway, testing]
    `
    expect(await consumer.typeCheck(source)).toBe('')
    // What the README says that a project needs is enough.
    const told = /<!-- tsconfig[^>]*-->\n```jsonc\n\/\/[^\n]*\n(.*?)```/s.exec(readFileSync(join(rootDir, 'README.md'), 'utf8'))?.[1] ?? ''
    const { compilerOptions }: { readonly compilerOptions: object } = JSON.parse(told)
    expect(await consumer.typeCheck(source, compilerOptions)).toBe('')
  })

  test('is told by the compiler what a subscription lacks', async () => {
    const source = (options: string): string => `
      import { createBus, event } from 'trunkline'
      import { memory } from 'trunkline/memory'
      import { z } from 'zod'
      const Placed = event('sales.order-placed', { schema: z.object({ orderId: z.string() }) })
      createBus({ service: { name: 'consumer' }, transport: memory() }).on(Placed, ${options}, (message) => message.data.orderId)
    `
    expect(await consumer.typeCheck(source('{}'))).toContain("Property 'group' is missing in type '{}'")
    expect(await consumer.typeCheck(source("{ inFlightMax: 4 }"))).toContain("Property 'group' is missing")
    expect(await consumer.typeCheck(source("{ group: 'audit', inflightMax: 4 }"))).toContain("'inflightMax' does not exist in type 'GroupOptions'")
  })
})

describe('an installation with one optional peer', () => {
  test.each([
    ['nats', 'nats', 'nats({ servers: "nats://127.0.0.1:PORT", openTimeoutMs: 500 })'],
    ['@nats-io/transport-node', 'nats', 'nats({ servers: "nats://127.0.0.1:PORT", openTimeoutMs: 500 })'],
    ['amqplib', 'rabbitmq', 'rabbitmq({ url: "amqp://127.0.0.1:PORT", openTimeoutMs: 500 })'],
    ['@eventstore/db-client', 'eventstoredb', 'eventStoreDbTransport({ hosts: "127.0.0.1:PORT", tls: false, openTimeoutMs: 500 })'],
  ])('of %s gets as far as the network', async (peer, subpath, transport) => {
    const consumer = new Consumer(library.tarball)
    await consumer.install(['zod', peer])
    const nobody = String(await freePort())
    const outcome = await consumer.evaluate<Outcome>(openingProgram(subpath, transport.replace('PORT', nobody)))
    expect(outcome.code).toBe('bus.connection_lost')
  })
})

describe('an installation with every optional peer', () => {
  let consumer: Consumer

  beforeAll(async () => {
    consumer = new Consumer(library.tarball)
    await consumer.install(['zod', 'nats', '@nats-io/transport-node', 'amqplib', 'pg', '@eventstore/db-client'])
  })

  test.each(['trunkline', 'trunkline/memory', 'trunkline/eventstoredb', 'trunkline/nats', 'trunkline/postgres', 'trunkline/rabbitmq', 'trunkline/discovery', 'trunkline/gateway', 'trunkline/testing'])('loads no client when %s is imported', async (specifier) => {
    const loaded = await consumer.packagesLoadedBy(specifier)
    expect(loaded).toContain('trunkline')
    expect(loaded.filter((name) => CLIENTS.includes(name))).toEqual([])
  })

  test('notices a client that is loaded', async () => {
    expect(await consumer.packagesLoadedBy('nats')).toContain('nats')
    expect(await consumer.packagesLoadedBy('amqplib')).toContain('amqplib')
    expect(await consumer.packagesLoadedBy('node:sqlite')).toContain('node:sqlite')
  })
})
