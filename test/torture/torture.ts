import { copyFileSync, existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { basename, join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { doubleProcess } from '../esdb-double/double-process.ts'
import { natsServer } from '../servers/nats-server.ts'
import { postgresServer } from '../servers/postgres-server.ts'
import { rabbitmqServer } from '../servers/rabbitmq-server.ts'
import { type ServerProcess, privateFolder } from '../servers/server-process.ts'
import { Member } from './fleet.ts'
import type { Ledger, Progress } from './ledger.ts'
import { LEASE_MS, OPENING_CENTS, type Planted, type Role, type StoreKind, type TransportKind, type WorkerPlan } from './plan.ts'
import { PLACES, type Reckoning, reckon } from './reckoning.ts'
import { SAGA_PLACES, reckonSagas } from './saga-reckoning.ts'
import { RowLedger } from './row-ledger.ts'
import { StreamLedger, sagaMeaning, transferMeaning } from './stream-ledger.ts'
import { MIX, type Mix, type Target, randomOf, targetsOf } from './strikes.ts'

/** What to torture, and how much. */
export interface TortureOptions {
  readonly store: StoreKind
  readonly transport: TransportKind
  readonly kills: number
  /** Transfers a second that each of two producers asks for. Default 20; 5 as sagas, and over EventStoreDB, where all units of a store take turns; 1 as sagas there. */
  readonly perSecond?: number
  readonly accounts?: number
  readonly planted?: Planted
  /** Each transfer is a saga with compensations. Default false. */
  readonly isSagas?: boolean
  /** Shares of the kills; default 60 % services, 20 % relays, 20 % brokers and databases. */
  readonly mix?: Mix
  readonly seed?: number
  /** Longest wait for the last effects, in milliseconds. Default 90,000. */
  readonly restMs?: number
  /** Ends the killing; what was done until then is reckoned. */
  readonly signal?: AbortSignal
  /** Keeps what processes and servers have logged. */
  readonly logsDir?: string | undefined
  /** Tells how it goes on. */
  readonly say?: (text: string) => void
}

/** Half of the kills took no longer than `p50` milliseconds, none longer than `max`. */
export interface Recovery {
  readonly p50: number
  readonly max: number
}

/** How it ended. */
export interface TortureResult extends Reckoning {
  readonly store: StoreKind
  readonly transport: TransportKind
  readonly kills: number
  readonly killed: Readonly<Record<Target, number>>
  /** Processes and servers that stood still for longer than a lease, beside the kills. */
  readonly frozen: number
  readonly seconds: number
  /** From a SIGKILL until there were new effects everywhere; the restart of a server is part of it. */
  readonly recoveryMs: Recovery & { readonly of: Readonly<Record<Target, Recovery>> }
  /** Where it did not come to rest. */
  readonly problem: string | undefined
}

interface Addresses {
  readonly store: string
  readonly transport: string
}

/** So many of each role. */
const CREW = 2
/** New effects at each place that count as progress. */
const PROGRESS = 5
const PROGRESS_MS_MAX = 60_000
const REST_MS_MAX = 90_000
const LOOK_MS = 50
/** Every so many kills something is frozen as well, for longer than a lease. */
const FREEZE_EVERY = 5

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
  readonly #logsDir: string
  readonly #servers: ServerProcess[] = []
  readonly #members: Member[] = []
  readonly #killed: Record<Target, number> = { service: 0, relay: 0, server: 0 }
  readonly #recoveries: Record<Target, number[]> = { service: [], relay: [], server: [] }
  readonly #freezes: Promise<void>[] = []
  readonly #random: () => number
  readonly #startMs = performance.now()
  #ledger: Ledger | undefined

  constructor(options: TortureOptions) {
    this.#options = options
    this.#random = randomOf(options.seed ?? 1)
    this.#logsDir = options.logsDir ?? this.#dir
    mkdirSync(this.#logsDir, { recursive: true })
  }

  #say(text: string): void {
    this.#options.say?.(`${((performance.now() - this.#startMs) / 1_000).toFixed(1)} s: ${text}`)
  }

  async through(): Promise<TortureResult> {
    const { store, transport, kills } = this.#options
    const addresses = await this.#startServers()
    const { isSagas = false } = this.#options
    const places = isSagas ? ['ended'] : PLACES
    const ledger: Ledger = store === 'eventstoredb' ? new StreamLedger(addresses.store, places, isSagas ? sagaMeaning : transferMeaning) : new RowLedger(store === 'sqlite', addresses.store, places)
    this.#ledger = ledger
    await ledger.setUp(this.#options.accounts ?? 12)
    await this.#startCrew(addresses)
    let problem = await this.#progress(ledger)
    // 3.10 can bring a quorum queue that was only just declared back empty after a SIGKILL.
    if (problem === undefined && transport === 'rabbitmq') {
      await this.#servers.at(-1)?.restart()
      problem = await this.#progress(ledger)
    }
    for (const [at, target] of targetsOf(kills, this.#options.mix ?? MIX, this.#servers.length > 0, this.#random).entries()) {
      if (problem !== undefined || this.#options.signal?.aborted === true) break
      problem = await this.#kill(ledger, at + 1, target)
    }
    problem = (await this.#comeToRest(ledger)) ?? problem
    this.#say('it has come to rest')
    const books = await ledger.books()
    if (this.#options.logsDir !== undefined) writeFileSync(join(this.#logsDir, 'books.json'), JSON.stringify({ ...books, cents: [...books.cents] }))
    const reckoning = this.#options.isSagas === true ? reckonSagas(books, OPENING_CENTS) : reckon(books, OPENING_CENTS)
    return { ...reckoning, ...this.#figures(), problem }
  }

  #figures(): Omit<TortureResult, keyof Reckoning | 'problem'> {
    const { store, transport } = this.#options
    const { service, relay, server } = this.#recoveries
    const all = [...service, ...relay, ...server]
    return {
      store, transport, kills: all.length, killed: this.#killed, frozen: this.#freezes.length,
      seconds: Math.round((performance.now() - this.#startMs) / 100) / 10,
      recoveryMs: { ...recoveryOf(all), of: { service: recoveryOf(service), relay: recoveryOf(relay), server: recoveryOf(server) } },
    }
  }

  async #startServers(): Promise<Addresses> {
    const { store, transport } = this.#options
    const started = async (server: ServerProcess): Promise<string> => {
      this.#servers.push(server)
      await server.start()
      return server.url
    }
    const storeAddress = store === 'sqlite' ? join(this.#dir, 'torture.db') : await started(store === 'postgres' ? await postgresServer() : await doubleProcess())
    if (transport === store) return { store: storeAddress, transport: storeAddress }
    if (transport === 'nats') return { store: storeAddress, transport: await started(await natsServer()) }
    if (transport === 'rabbitmq') return { store: storeAddress, transport: await started(await rabbitmqServer()) }
    throw new Error(`the pair ${store} and ${transport} is not tortured`)
  }

  async #startCrew(addresses: Addresses): Promise<void> {
    const { store, transport, planted = 'none', isSagas = false, perSecond = isSagas && store === 'eventstoredb' ? 1 : isSagas || store === 'eventstoredb' ? 5 : 20, accounts = 12 } = this.#options
    const shared: Omit<WorkerPlan, 'role' | 'instance'> = {
      store, transport, planted, isSagas, perSecond, accounts, storeAddress: addresses.store, transportAddress: addresses.transport, stopFile: join(this.#dir, 'stop'),
    }
    // The groups first: an event goes to those that exist when it is published.
    const groups: readonly Role[] = [isSagas ? 'sagas' : 'audit', 'ledger', 'relay']
    for (const roles of [groups, ['producer'] as const]) {
      const members = roles.flatMap((role) => Array.from({ length: CREW }, (_, at) =>
        new Member({ ...shared, role, instance: at + 1 }, { log: join(this.#logsDir, `${role}-${at + 1}.log`), compiledDir: join(this.#dir, 'compiled') })))
      this.#members.push(...members)
      for (const member of members) member.start()
      const endMs = performance.now() + PROGRESS_MS_MAX
      while (!members.every(({ readies }) => readies > 0)) {
        if (performance.now() > endMs) throw new Error(`${roles.join(', ')} did not start: ${this.#lastWords()}`)
        await delay(LOOK_MS)
      }
    }
    this.#say('all have started')
  }

  /** One kill, and what is seen after it; a text where nothing goes on. */
  async #kill(ledger: Ledger, kill: number, target: Target): Promise<string | undefined> {
    // Not always right after the recovery from the one before.
    await delay(this.#random() * 300)
    if (kill % FREEZE_EVERY === 0) this.#freezes.push(this.#freeze().catch(() => undefined))
    const sinceMs = performance.now()
    const victim = await this.#strike(target)
    const restartMs = performance.now() - sinceMs
    const problem = await this.#progress(ledger)
    const recoveryMs = Math.round(performance.now() - sinceMs)
    this.#killed[target]++
    this.#say(`kill ${kill} of ${this.#options.kills}: ${victim}${target === 'server' ? `, up after ${Math.round(restartMs)} ms` : ''}, progress after ${recoveryMs} ms`)
    if (problem !== undefined) return `after kill ${kill} (${victim}): ${problem}`
    this.#recoveries[target].push(recoveryMs)
    return undefined
  }

  async #strike(target: Target): Promise<string> {
    if (target === 'server') {
      // In turn, where there are two.
      const server = this.#servers[this.#killed.server % this.#servers.length]
      if (server === undefined) throw new Error('there is no server to kill')
      await server.kill9()
      await delay(this.#random() * 500)
      await server.start()
      return `server on port ${server.port}`
    }
    const member = this.#one(this.#members.filter(({ plan }) => (plan.role === 'relay') === (target === 'relay')))
    member.kill()
    return member.name
  }

  /** While others are killed, something stands still for longer than a lease, and goes on as if nothing had been. */
  async #freeze(): Promise<void> {
    const frozenMs = LEASE_MS + 500 + this.#random() * 2_000
    if (this.#random() < 0.2 && this.#servers.length > 0) {
      const server = this.#one(this.#servers)
      this.#say(`server on port ${server.port} stands still for ${Math.round(frozenMs)} ms`)
      await server.pause()
      await delay(frozenMs)
      server.continue()
      return
    }
    const member = this.#one(this.#members)
    this.#say(`${member.name} stands still for ${Math.round(frozenMs)} ms`)
    member.freeze()
    await delay(frozenMs)
    member.thaw()
  }

  #one<T>(candidates: readonly T[]): T {
    const found = candidates[Math.floor(this.#random() * candidates.length)]
    if (found === undefined) throw new Error('there is nothing to choose from')
    return found
  }

  /** Waits for new effects at every place; a text where none came. */
  async #progress(ledger: Ledger): Promise<string | undefined> {
    const beginMs = performance.now()
    let first: Progress | undefined
    let last: Progress | undefined
    while (performance.now() - beginMs < PROGRESS_MS_MAX) {
      const seen = await ledger.progress()
      first ??= seen
      last = seen ?? last
      if (first !== undefined && seen !== undefined && isBeyond(first, seen, this.#options.isSagas === true ? SAGA_PLACES : PLACES)) return undefined
      await delay(LOOK_MS)
    }
    return `no progress for ${PROGRESS_MS_MAX / 1_000} s, from ${JSON.stringify([...(first ?? [])])} to ${JSON.stringify([...(last ?? [])])}: ${this.#lastWords()}`
  }

  async #comeToRest(ledger: Ledger): Promise<string | undefined> {
    await Promise.all(this.#freezes)
    writeFileSync(join(this.#dir, 'stop'), '')
    const { restMs = REST_MS_MAX } = this.#options
    const endMs = performance.now() + restMs
    const producers = this.#members.filter(({ plan }) => plan.role === 'producer')
    while (!(producers.every(({ isDone }) => isDone) && (await ledger.isComplete()))) {
      if (performance.now() > endMs) return `not every transfer had its effects ${restMs / 1_000} s after the last one was asked for: ${this.#lastWords()}`
      await delay(250)
    }
    // What comes twice comes late: redeliveries of what was in flight when somebody died.
    await delay(5_000)
    return undefined
  }

  #lastWords(): string {
    return this.#members.map((member) => {
      const file = join(this.#logsDir, `${member.name}.log`)
      return existsSync(file) ? `${member.name}: ${readFileSync(file, 'utf8').slice(-600)}` : ''
    }).join('\n')
  }

  async close(): Promise<void> {
    await Promise.all(this.#members.map((member) => member.stop()))
    await this.#ledger?.close()
    for (const [at, server] of this.#servers.entries()) {
      const files = this.#options.logsDir === undefined ? [] : ['server.log', 'data/log.jsonl']
      for (const file of files) if (existsSync(join(server.dir, file))) copyFileSync(join(server.dir, file), join(this.#logsDir, `${at + 1}-${basename(file)}`))
      await server.close()
    }
  }
}

function isBeyond(first: Progress, now: Progress, places: readonly string[]): boolean {
  return places.every((place) => (now.get(place) ?? 0) >= (first.get(place) ?? 0) + PROGRESS)
}

function recoveryOf(times: readonly number[]): Recovery {
  const sorted = times.toSorted((left, right) => left - right)
  return { p50: sorted[Math.floor(sorted.length / 2)] ?? 0, max: sorted.at(-1) ?? 0 }
}
