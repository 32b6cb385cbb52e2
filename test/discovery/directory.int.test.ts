import { rmSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { createBus, silentLogger } from '../../src/index.ts'
import { type TransportSpec, openTransport } from '../conformance/transport-spec.ts'
import { natsServer } from '../servers/nats-server.ts'
import { postgresServer } from '../servers/postgres-server.ts'
import { rabbitmqServer } from '../servers/rabbitmq-server.ts'
import { type ServerProcess, privateFolder } from '../servers/server-process.ts'
import { pause } from '../servers/until.ts'
import { type TcpProxy, tcpProxy } from '../servers/tcp-proxy.ts'
import { Slow } from './fixtures/member.ts'
import { Fleet, type FleetProcess } from './fleet.ts'

/** A place where a fleet meets; `cut` is the way there through a network that can be broken. */
interface Place extends AsyncDisposable {
  readonly spec: TransportSpec
  readonly cut: { readonly spec: TransportSpec; readonly proxy: TcpProxy } | undefined
}

async function served(server: ServerProcess, specOf: (url: string) => TransportSpec): Promise<Place> {
  await server.start()
  const proxy = await tcpProxy(server.url)
  return {
    spec: specOf(server.url),
    cut: { spec: specOf(proxy.url), proxy },
    [Symbol.asyncDispose]: async () => {
      await proxy.close()
      await server.close()
    },
  }
}

const PLACES: Readonly<Record<string, () => Promise<Place>>> = {
  sqlite: () => {
    const dir = privateFolder('discovery')
    const close = (): Promise<void> => Promise.resolve(rmSync(dir, { recursive: true, force: true, maxRetries: 5, retryDelay: 50 }))
    return Promise.resolve({ spec: { kind: 'sqlite', file: join(dir, 'bus.db') }, cut: undefined, [Symbol.asyncDispose]: close })
  },
  nats: async () => await served(await natsServer(), (servers) => ({ kind: 'nats', servers, namespace: 'fleet' })),
  postgres: async () => await served(await postgresServer({ config: ['max_connections = 300'] }), (url) => ({ kind: 'postgres', url, schema: 'fleet', listen: true })),
  rabbitmq: async () => await served(await rabbitmqServer(), (url) => ({ kind: 'rabbitmq', url, namespace: 'fleet' })),
}

// Those of the gate; `DISCOVERY_ON=rabbitmq,postgres` runs the same on others.
// The gate halves the interval that services have, to be done sooner; `DISCOVERY_BEAT_MS=4000` measures what they get.
const beatMs = Number(process.env['DISCOVERY_BEAT_MS'] ?? 2_000)
const transports = (process.env['DISCOVERY_ON'] ?? 'sqlite,nats').split(',')

const names = (prefix: string, count: number): string[] => Array.from({ length: count }, (_, index) => `${prefix}-${index}`)

async function accusationsOf(processes: readonly FleetProcess[]): Promise<readonly string[]> {
  const views = await Promise.all(processes.map((one) => one.views()))
  return views.flatMap((one) => Object.values(one).flatMap(({ accusations }) => accusations))
}

describe.each(transports)('discovery on %s', (transport) => {
  const placeOf = (): Promise<Place> => {
    const make = PLACES[transport]
    if (make === undefined) throw new Error(`no such transport: ${transport}`)
    return make()
  }

  test('twenty instances: five are killed, one stands still for longer than its lease, and nobody else is accused', { timeout: 150_000 }, async () => {
    await using place = await placeOf()
    await using fleet = new Fleet(place.spec, beatMs)
    const groups = [names('stock', 7), names('shop', 7)]
    const doomed = names('doomed', 5)
    const observers = groups.map((instances) => fleet.spawn(instances))
    const victims = doomed.map((instance) => fleet.spawn([instance]))
    const sleeper = fleet.spawn(['sleeper-0'])
    const all = [...groups.flat(), ...doomed, 'sleeper-0']
    await Promise.all([...observers, ...victims, sleeper].map((one) => one.ready))
    // A late joiner completes within 2 s, 5 s on RabbitMQ.
    const joinedMs = await fleet.agrees([...observers, ...victims, sleeper], all, [], transport === 'rabbitmq' ? 5_000 : 2_000)

    await using asking = createBus({ service: { name: 'asking' }, transport: openTransport(place.spec), logger: silentLogger })
    await asking.start()
    // RabbitMQ itself ends the connection of a process that stands still, and an answer that is not stored goes with it.
    const keepsLink = transport !== 'rabbitmq'
    const answer = keepsLink ? asking.ask(Slow('sleeper'), { ms: 500 }, { timeoutMs: 120_000 }) : Promise.resolve({ by: 'sleeper-0' })
    await pause(100)
    sleeper.stopInPlace()
    await Promise.all(victims.map((one) => one.kill()))
    const living = groups.flat()
    const detectedMs = await fleet.agrees(observers, living, [...doomed, 'sleeper-0'], 30_000)

    sleeper.goOn()
    const returnedMs = await fleet.agrees([...observers, sleeper], [...living, 'sleeper-0'], doomed, 30_000)
    // The call that was under way all the time has not been failed by anybody.
    expect(await answer).toEqual({ by: 'sleeper-0' })
    const mayBeAccused = [...doomed, 'sleeper-0'].flatMap((instance) => [`instance-suspect ${instance}`, `instance-down ${instance}`])
    expect((await accusationsOf(observers)).filter((one) => !mayBeAccused.includes(one))).toEqual([])
    const ofLiving = (await accusationsOf([sleeper])).filter((one) => living.some((instance) => one.endsWith(` ${instance}`)))
    expect(ofLiving).toEqual([])
    console.info(`${transport}: joined in ${Math.round(joinedMs)} ms, six gone seen everywhere in ${Math.round(detectedMs)} ms, the sleeper back in ${Math.round(returnedMs)} ms`)
  })

  test('a storm of restarts ends in the right view everywhere', { timeout: 120_000 }, async () => {
    await using place = await placeOf()
    await using fleet = new Fleet(place.spec, 1_000)
    const steady = fleet.spawn(names('steady', 2))
    const restless = [names('stock', 6), names('shop', 6), names('mail', 6)]
    let processes = restless.map((instances) => fleet.spawn(instances))
    await Promise.all([steady, ...processes].map((one) => one.ready))
    for (let round = 0; round < 2; round++) {
      await Promise.all(processes.map((one) => one.kill()))
      processes = restless.map((instances) => fleet.spawn(instances))
      await Promise.all(processes.map((one) => one.ready))
    }
    const convergedMs = await fleet.agrees([steady, ...processes], [...names('steady', 2), ...restless.flat()], [], 30_000)
    console.info(`${transport}: right everywhere ${Math.round(convergedMs)} ms after the last of two storms`)
  })

  test('an instance that is cut off accuses nobody, and is back when the network is', { timeout: 120_000 }, async () => {
    await using place = await placeOf()
    const { cut } = place
    // A file has no network that could be cut; there the whole fleet goes on.
    if (cut === undefined) return
    await using fleet = new Fleet(place.spec, 1_000)
    const others = fleet.spawn(names('stock', 6))
    const away = fleet.spawn(['away-0'], cut.spec)
    await Promise.all([others.ready, away.ready])
    const all = [...names('stock', 6), 'away-0']
    await fleet.agrees([others, away], all, [], 5_000)
    cut.proxy.halfOpen()
    await fleet.agrees([others], names('stock', 6), ['away-0'], 30_000)
    const { 'away-0': own } = await away.views()
    expect(own?.view).toBe('stale')
    expect(own?.accusations).toEqual([])
    cut.proxy.heal()
    cut.proxy.cut()
    await fleet.agrees([others, away], all, [], 30_000)
    expect(await accusationsOf([away])).toEqual([])
  })
})
