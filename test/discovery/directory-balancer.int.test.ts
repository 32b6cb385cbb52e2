import { rmSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { z } from 'zod'
import { sqlite } from '../../src/adapters/sqlite/index.ts'
import { discovery } from '../../src/discovery/index.ts'
import { type Bus, command, createBus, resilience, silentLogger } from '../../src/index.ts'
import { type TransportSpec, openTransport } from '../conformance/transport-spec.ts'
import { natsServer } from '../servers/nats-server.ts'
import { postgresServer } from '../servers/postgres-server.ts'
import { rabbitmqServer } from '../servers/rabbitmq-server.ts'
import { type ServerProcess, privateFolder } from '../servers/server-process.ts'

const Refund = command('payments.refund', { schema: z.object({ id: z.string() }), response: z.object({ by: z.string() }) })

interface Place extends AsyncDisposable {
  readonly spec: TransportSpec
}

async function served(server: ServerProcess, spec: (url: string) => TransportSpec): Promise<Place> {
  await server.start()
  return { spec: spec(server.url), [Symbol.asyncDispose]: () => server.close() }
}

const PLACES: Readonly<Record<string, (dir: string) => Promise<Place>>> = {
  sqlite: (dir) => Promise.resolve({ spec: { kind: 'sqlite', file: join(dir, 'bus.db') }, [Symbol.asyncDispose]: () => Promise.resolve() }),
  nats: async () => await served(await natsServer(), (servers) => ({ kind: 'nats', servers, namespace: 'refunds' })),
  postgres: async () => await served(await postgresServer(), (url) => ({ kind: 'postgres', url, schema: 'refunds', listen: true })),
  rabbitmq: async () => await served(await rabbitmqServer(), (url) => ({ kind: 'rabbitmq', url, namespace: 'refunds' })),
}

/** Two instances with one file between them: `a` never answers the first time, and each takes one command of a caller at a time. */
async function paying(spec: TransportSpec, file: string): Promise<{ readonly shop: Bus; readonly effects: string[]; readonly stop: () => Promise<void> }> {
  const effects: string[] = []
  const buses = ['a', 'b'].map((instance) => {
    const store = sqlite({ file })
    const bus = createBus({
      service: { name: 'payments' }, transport: openTransport(spec), outbox: store.outbox, discovery: discovery({ instance, beatMs: 500 }), logger: silentLogger,
      resilience: resilience({ provider: { perCaller: { inFlightMax: 1, waitingMax: 0 } } }), defaults: { drainTimeoutMs: 500 },
    })
    bus.handle(Refund, { within: store, prepare: async ({ data }) => (data.id === 'hangs' && instance === 'a' ? await new Promise(() => {}) : undefined) }, ({ data }) => {
      effects.push(`${instance} ${data.id}`)
      return { by: instance }
    })
    return bus
  })
  const directory = discovery({ beatMs: 500 })
  const shop = createBus({ service: { name: 'shop' }, transport: openTransport(spec), discovery: directory, logger: silentLogger })
  for (const bus of [...buses, shop]) await bus.start()
  await directory.waitFor('payments', 2, { timeoutMs: 20_000 })
  return { shop, effects, stop: async () => void (await Promise.all([...buses, shop].map((bus) => bus.stop()))) }
}

const toA = { by: (all: readonly [{ readonly instance: string }, ...{ readonly instance: string }[]]) => all.find(({ instance }) => instance === 'a') ?? all[0] } as never

describe.each(Object.entries(PLACES))('on %s', (_name, placeOf) => {
  test('a balanced command goes to the instance that was chosen, to another one where that has no room, and twice only where it may', { timeout: 90_000 }, async () => {
    const dir = privateFolder('refunds')
    await using place = await placeOf(dir)
    const { shop, effects, stop } = await paying(place.spec, join(dir, 'payments.db'))
    expect(await shop.ask(Refund, { id: 'first' }, { balance: toA })).toEqual({ by: 'a' })
    // It hangs at a, and is asked of b with the same id; what comes meanwhile finds no room at a.
    const hanging = shop.ask(Refund, { id: 'hangs' }, { balance: toA, isIdempotent: true, timeoutMs: 4_000 })
    const meanwhile = await shop.ask(Refund, { id: 'meanwhile' }, { balance: toA, timeoutMs: 4_000 })
    expect([meanwhile, await hanging]).toEqual([{ by: 'b' }, { by: 'b' }])
    expect(effects).toEqual(['a first', 'b meanwhile', 'b hangs'])
    await stop()
    rmSync(dir, { recursive: true, force: true, maxRetries: 5, retryDelay: 50 })
  })
})
