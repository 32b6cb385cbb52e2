import { existsSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { natsServer } from '../servers/nats-server.ts'
import { postgresServer } from '../servers/postgres-server.ts'
import { rabbitmqServer } from '../servers/rabbitmq-server.ts'
import { type ServerProcess, privateFolder } from '../servers/server-process.ts'
import { Member } from './fleet.ts'
import { Ledger, type Reckoning } from './ledger.ts'
import type { Planted, Role, StoreKind, TransportKind } from './plan.ts'

/** What to torture, and how much. */
export interface TortureOptions {
  readonly store: StoreKind
  readonly transport: TransportKind
  readonly kills: number
  readonly perSecond?: number
  readonly accounts?: number
  readonly planted?: Planted
  /** Shares of the kills; default 60 % services, 20 % relays, 20 % brokers and databases. */
  readonly mix?: { readonly service: number; readonly relay: number; readonly server: number }
  readonly seed?: number
  /** Longest wait for the last effects, in milliseconds. Default 90,000. */
  readonly restMs?: number
  /** Tells how it goes on. */
  readonly say?: (text: string) => void
}

/** How it ended. */
export interface TortureResult extends Reckoning {
  readonly store: StoreKind
  readonly transport: TransportKind
  readonly kills: number
  readonly killed: Readonly<Record<string, number>>
  readonly seconds: number
  /** Milliseconds from a kill to the next effects. */
  readonly recoveryMs: { readonly p50: number; readonly max: number }
  /** Where it did not come to rest. */
  readonly problem: string | undefined
}

const CREW: Readonly<Record<Role, number>> = { producer: 2, ledger: 2, audit: 2, relay: 2 }
/** New effects that count as progress. */
const PROGRESS = 15
const PROGRESS_MS_MAX = 60_000
const REST_MS_MAX = 90_000
const LOOK_MS = 50

/** Kills processes, brokers and databases at random while money is moved, then counts every cent and every effect. */
export async function torture(options: TortureOptions): Promise<TortureResult> {
  const run = new Run(options)
  try {
    return await run.through()
  } finally {
    await run.close()
  }
}

class Run {
  readonly #options: TortureOptions
  readonly #dir = privateFolder('torture')
  readonly #servers: ServerProcess[] = []
  readonly #members: Member[] = []
  readonly #killed: Record<string, number> = { service: 0, relay: 0, server: 0, frozen: 0 }
  readonly #recoveries: number[] = []
  readonly #startMs = performance.now()
  #ledger: Ledger | undefined
  #seed: number

  constructor(options: TortureOptions) {
    this.#options = options
    this.#seed = options.seed ?? 1
  }

  /** mulberry32, so that a seed kills in the same order. */
  #random(): number {
    this.#seed = (this.#seed + 0x6d2b79f5) >>> 0
    let mixed = this.#seed
    mixed = Math.imul(mixed ^ (mixed >>> 15), mixed | 1)
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61)
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 0x1_0000_0000
  }

  #say(text: string): void {
    this.#options.say?.(text)
  }

  async through(): Promise<TortureResult> {
    const { store, transport, kills } = this.#options
    const addresses = await this.#startServers()
    const ledger = new Ledger(store, addresses.store)
    this.#ledger = ledger
    await ledger.setUp(this.#options.accounts ?? 12)
    await this.#startCrew(addresses)
    let problem = await this.#progress(undefined)
    // 3.10 can bring a quorum queue that was only just declared back empty after a SIGKILL.
    if (problem === undefined && transport === 'rabbitmq') await this.#servers.at(-1)?.restart()
    for (let kill = 1; kill <= kills && problem === undefined; kill++) {
      const victim = await this.#strike()
      this.#say(`kill ${kill} of ${kills}: ${victim}`)
      problem = await this.#progress(performance.now())
      if (problem !== undefined) problem = `after kill ${kill} (${victim}): ${problem}`
    }
    problem = (await this.#comeToRest(ledger)) ?? problem
    const reckoning = await ledger.reckon()
    const sorted = this.#recoveries.toSorted((left, right) => left - right)
    return {
      ...reckoning, store, transport, kills: this.#recoveries.length, killed: this.#killed, problem,
      seconds: Math.round((performance.now() - this.#startMs) / 100) / 10,
      recoveryMs: { p50: sorted[Math.floor(sorted.length / 2)] ?? 0, max: sorted.at(-1) ?? 0 },
    }
  }

  async #startServers(): Promise<{ readonly store: string; readonly transport: string }> {
    const { store, transport } = this.#options
    const started = async (server: ServerProcess): Promise<string> => {
      this.#servers.push(server)
      await server.start()
      return server.url
    }
    const storeAddress = store === 'sqlite' ? join(this.#dir, 'torture.db') : await started(await postgresServer())
    if (transport === store) return { store: storeAddress, transport: storeAddress }
    if (transport === 'nats') return { store: storeAddress, transport: await started(await natsServer()) }
    if (transport === 'rabbitmq') return { store: storeAddress, transport: await started(await rabbitmqServer()) }
    throw new Error(`the pair ${store} and ${transport} is not tortured`)
  }

  async #startCrew(addresses: { readonly store: string; readonly transport: string }): Promise<void> {
    const { store, transport, planted = 'none', perSecond = 40, accounts = 12 } = this.#options
    const shared = { store, transport, planted, perSecond, accounts, storeAddress: addresses.store, transportAddress: addresses.transport, stopFile: join(this.#dir, 'stop') }
    // The groups first: an event goes to those that exist when it is published.
    for (const roles of [['audit', 'ledger', 'relay'], ['producer']] as const) {
      const members = roles.flatMap((role) => Array.from({ length: CREW[role] }, (_, at) => new Member({ ...shared, role, instance: at + 1 }, join(this.#dir, `${role}-${at + 1}.log`))))
      this.#members.push(...members)
      for (const member of members) member.start()
      const endMs = performance.now() + PROGRESS_MS_MAX
      while (!members.every(({ readies }) => readies > 0)) {
        if (performance.now() > endMs) throw new Error(`${roles.join(', ')} did not start: ${this.#lastWords()}`)
        await delay(LOOK_MS)
      }
    }
  }

  /** A fifth of the processes is frozen for a while instead of killed. */
  async #strike(): Promise<string> {
    const { service, relay, server: servers } = this.#options.mix ?? { service: 60, relay: 20, server: 20 }
    const dice = this.#random() * (service + relay + servers)
    if (dice < servers && this.#servers.length > 0) {
      const server = this.#servers[Math.floor(this.#random() * this.#servers.length)]
      if (server !== undefined) {
        this.#killed['server'] = (this.#killed['server'] ?? 0) + 1
        await server.kill9()
        await delay(this.#random() * 500)
        await server.start()
        return `server on port ${server.port}`
      }
    }
    const isRelay = dice < servers + relay && relay > 0
    if (service + relay === 0) return 'nobody'
    const candidates = this.#members.filter(({ plan }) => (plan.role === 'relay') === isRelay)
    const member = candidates[Math.floor(this.#random() * candidates.length)]
    if (member === undefined) return 'nobody'
    const kind = isRelay ? 'relay' : 'service'
    this.#killed[kind] = (this.#killed[kind] ?? 0) + 1
    if (this.#random() < 0.2) {
      this.#killed['frozen'] = (this.#killed['frozen'] ?? 0) + 1
      member.freeze()
      await delay(500 + this.#random() * 3_000)
      member.thaw()
      return `${member.name} frozen`
    }
    member.kill()
    return member.name
  }

  /** Waits for new effects; a text where none came. */
  async #progress(sinceMs: number | undefined): Promise<string | undefined> {
    const beginMs = performance.now()
    let first: number | undefined
    while (performance.now() - beginMs < PROGRESS_MS_MAX) {
      const effects = await this.#ledger?.effects()
      if (effects !== undefined) {
        first ??= effects
        if (effects >= first + PROGRESS) {
          if (sinceMs !== undefined) this.#recoveries.push(Math.round(performance.now() - sinceMs))
          return undefined
        }
      }
      await delay(LOOK_MS)
    }
    return `no progress for ${PROGRESS_MS_MAX / 1_000} s: ${this.#lastWords()}`
  }

  async #comeToRest(ledger: Ledger): Promise<string | undefined> {
    writeFileSync(join(this.#dir, 'stop'), '')
    const { restMs = REST_MS_MAX } = this.#options
    const endMs = performance.now() + restMs
    const producers = this.#members.filter(({ plan }) => plan.role === 'producer')
    while (!(producers.every(({ isDone }) => isDone) && (await ledger.isComplete()))) {
      if (performance.now() > endMs) return `not every transfer had its effects ${restMs / 1_000} s after the last one was asked for`
      await delay(200)
    }
    // What comes twice comes late: redeliveries of what was in flight when somebody died.
    await delay(5_000)
    return undefined
  }

  #lastWords(): string {
    return this.#members.map((member) => {
      const file = join(this.#dir, `${member.name}.log`)
      return existsSync(file) ? `${member.name}: ${readFileSync(file, 'utf8').slice(-400)}` : ''
    }).join('\n')
  }

  async close(): Promise<void> {
    await Promise.all(this.#members.map((member) => member.stop()))
    await this.#ledger?.close()
    for (const server of this.#servers) await server.close()
  }
}
