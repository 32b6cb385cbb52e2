import { spawnSync } from 'node:child_process'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'

const root = join(import.meta.dirname, '..', '..')

/** Runs a program that imports the library from its sources; gives what it wrote to its two outputs. */
function run(program: string): { readonly stdout: string; readonly lines: readonly Record<string, unknown>[] } {
  const { stdout, stderr, status } = spawnSync(process.execPath, ['--input-type=module', '--disable-warning=ExperimentalWarning', '--eval', program], { cwd: root, encoding: 'utf8', timeout: 30_000 })
  expect({ status, stderr: status === 0 ? '' : stderr }).toEqual({ status: 0, stderr: '' })
  return { stdout, lines: stderr.split('\n').filter((line) => line !== '').map((line): Record<string, unknown> => JSON.parse(line)) }
}

/** A bus whose handler fails once in the way that is given. */
const program = (options: string): string => `
  import { z } from 'zod'
  import { createBus, event, silentLogger } from './src/index.ts'
  import { memory } from './src/adapters/memory/index.ts'
  const Placed = event('sales.order-placed', { schema: z.object({ orderId: z.string() }) })
  const bus = createBus({ service: { name: 'shop' }, transport: memory(), ${options} })
  const over = Promise.withResolvers()
  bus.observe((happened) => { if (happened.kind === 'delivery-dead-lettered') over.resolve() })
  bus.on(Placed, { group: 'ledger', retry: { attemptsMax: 1 } }, (message, context) => {
    context.logger.info('looking at it')
    context.logger.warn({ orderId: message.data.orderId }, 'a strange order')
    throw new Error('card declined')
  })
  await bus.start()
  await bus.publish(Placed, { orderId: 'o-1' }, { id: 'm-1' })
  await over.promise
  await bus.stop()
  console.log('done')
`

describe('without a logger', () => {
  test('failures are told on standard error, as lines of JSON with the ids of the message, and nothing else is', () => {
    const { stdout, lines } = run(program(''))
    expect(stdout).toBe('done\n')
    expect(lines).toEqual([
      expect.objectContaining({ level: 40, service: 'shop', messageId: 'm-1', type: 'sales.order-placed', group: 'shop.ledger', orderId: 'o-1', msg: 'a strange order' }),
      expect.objectContaining({ level: 50, service: 'shop', messageId: 'm-1', err: expect.objectContaining({ message: 'card declined', stack: expect.stringContaining('    at ') }) }),
    ])
  })

  test('nothing is told where the silent one was given', () => {
    expect(run(program('logger: silentLogger'))).toEqual({ stdout: 'done\n', lines: [] })
  })

  test('pino is loaded when a bus starts that needs it, and not before', () => {
    const watch = (start: string): string => `
      import { registerHooks } from 'node:module'
      const urls = []
      registerHooks({ load(url, context, next) { urls.push(url); return next(url, context) } })
      const { createBus, silentLogger } = await import('./src/index.ts')
      const { memory } = await import('./src/adapters/memory/index.ts')
      ${start}
      console.log(urls.some((url) => url.includes('/node_modules/pino/')))
    `
    const started = (options: string): string => `const bus = createBus({ service: { name: 'shop' }, transport: memory(), ${options} }); await bus.start(); await bus.stop()`
    expect(run(watch(`createBus({ service: { name: 'shop' }, transport: memory() })`)).stdout).toBe('false\n')
    expect(run(watch(started('logger: silentLogger'))).stdout).toBe('false\n')
    expect(run(watch(started(''))).stdout).toBe('true\n')
  })
})
