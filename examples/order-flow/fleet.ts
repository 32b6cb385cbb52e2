import { type ChildProcess, spawn } from 'node:child_process'
import { closeSync, openSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { memoryBroker } from 'trunkline/memory'
import type { RunningService, ServiceName, ServicePlan } from './service.ts'
import type { ProcessOrder } from './service-process.ts'
import { startNamed } from './services.ts'
import { type TransportChoice, memoryTransport } from './transports.ts'

const STOP_MS_MAX = 15_000
const RESTART_MS = 300
const LOOK_MS = 50
/** Deaths in a row that nobody ordered, each right after the start, before the demo gives up. */
const CRASHES_MAX = 10
/** Time that a process serves before chaos may kill it, and effects of messages that it must have had by then. */
const SPARED_MS = 1_500
const EFFECTS_MIN = 15
/** After so long it may be killed in any case: it has nothing to do, or does not get anywhere. */
const SPARED_MS_MAX = 10_000
/** The same as multiples of the time that its start took: on a busy machine everything takes longer. */
const SPARED_STARTS = 3
const SPARED_STARTS_MAX = 10

/** Effects of messages that each service has had so far. */
export type Effects = Readonly<Record<Exclude<ServiceName, 'till'>, number>>

/** The running services, wherever they run. */
export interface Fleet extends AsyncDisposable {
  /** Starts one instance; it may not be ready yet when this returns. */
  start(service: ServiceName, plan: ServicePlan): Promise<void>
  /** Why the fleet cannot go on, or undefined. */
  readonly failure: string | undefined
  /** Instances that were killed one by one. */
  readonly kills: number
  /**
   * Kills one process, chosen by a number from 0 below 1; it is started again at once. Those that were started just now, and
   * have not had effects since, are spared, or a busy machine would never get any further. False where no other is left.
   */
  killOne(choice: number): boolean
  /** Tells what the services have done by now; called often while they are killed. */
  look(effects: Effects): void
  /** Kills every process that there is at once; resolves when all serve again. */
  killAll(): Promise<void>
  /** Stops all in order. */
  stop(): Promise<void>
}

/** Every instance as a process of its own. */
export class ProcessFleet implements Fleet {
  readonly #transport: TransportChoice
  readonly #members: Member[] = []
  #isStopping = false
  kills = 0

  constructor(transport: TransportChoice) {
    this.#transport = transport
  }

  get failure(): string | undefined {
    return this.#members.map((member) => member.failure).find((failure) => failure !== undefined)
  }

  start(service: ServiceName, plan: ServicePlan): Promise<void> {
    if (!this.#isStopping) this.#members.push(new Member({ service, plan, transport: this.#transport }))
    return Promise.resolve()
  }

  look(effects: Effects): void {
    for (const member of this.#members) member.look(effects)
  }

  killOne(choice: number): boolean {
    const settled = this.#members.filter((member) => member.isSettled && !member.isOnlooker)
    const victim = settled[Math.floor(choice * settled.length)]
    if (victim === undefined) return false
    this.kills++
    victim.kill()
    return true
  }

  async killAll(): Promise<void> {
    for (const member of this.#members) member.kill()
    while (!this.#isStopping && this.failure === undefined && !this.#members.every((member) => member.isServing)) await delay(LOOK_MS)
  }

  async stop(): Promise<void> {
    this.#isStopping = true
    await Promise.all(this.#members.map((member) => member.stop()))
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.stop()
  }
}

/** One instance through all the processes it has. */
class Member {
  readonly #order: ProcessOrder
  readonly #logFile: string
  #child: ChildProcess | undefined
  #ended: Promise<void> = Promise.resolve()
  #isWanted = true
  #isExpected = false
  #spawnedAtMs = 0
  #servesSinceMs: number | undefined
  #effectsAtStart: number | undefined
  #effects = 0
  #crashes = 0
  failure: string | undefined

  constructor(order: ProcessOrder) {
    this.#order = order
    this.#logFile = join(order.plan.dir, `${order.service}-${order.plan.instance}.log`)
    this.#spawn()
  }

  /** True once it serves. */
  get isServing(): boolean {
    return this.#servesSinceMs !== undefined
  }

  look(effects: Effects): void {
    if (!this.isServing) return
    const { service } = this.#order
    this.#effects = service === 'till' ? 0 : effects[service]
    this.#effectsAtStart ??= this.#effects
  }

  /** True for the till, which looks on while others are killed one by one. */
  get isOnlooker(): boolean {
    return this.#order.service === 'till'
  }

  /** True once it has served for a while and got somewhere. */
  get isSettled(): boolean {
    if (this.#servesSinceMs === undefined || this.#effectsAtStart === undefined) return false
    const servedMs = performance.now() - this.#servesSinceMs
    const startMs = this.#servesSinceMs - this.#spawnedAtMs
    if (servedMs >= Math.max(SPARED_MS_MAX, SPARED_STARTS_MAX * startMs)) return true
    return servedMs >= Math.max(SPARED_MS, SPARED_STARTS * startMs) && this.#effects >= this.#effectsAtStart + EFFECTS_MIN
  }

  kill(): void {
    this.#isExpected = true
    this.#servesSinceMs = undefined
    this.#child?.kill('SIGKILL')
  }

  async stop(): Promise<void> {
    this.#isWanted = false
    this.#child?.kill('SIGTERM')
    const late = setTimeout(() => this.#child?.kill('SIGKILL'), STOP_MS_MAX)
    await this.#ended
    clearTimeout(late)
  }

  #spawn(): void {
    const log = openSync(this.#logFile, 'a')
    const program = join(import.meta.dirname, 'service-process.ts')
    const child = spawn(process.execPath, [...process.execArgv, program, JSON.stringify(this.#order)], { stdio: ['ignore', log, log, 'ipc'] })
    closeSync(log)
    this.#child = child
    this.#spawnedAtMs = performance.now()
    this.#isExpected = false
    child.once('message', () => (this.#servesSinceMs = performance.now()))
    this.#ended = new Promise<void>((resolve) => {
      child.once('error', () => resolve())
      child.once('exit', () => resolve())
    }).then(() => this.#wasEnded())
  }

  async #wasEnded(): Promise<void> {
    this.#child = undefined
    // While a broker is dead, who starts may well give up.
    const hasServed = this.#servesSinceMs !== undefined && performance.now() - this.#servesSinceMs >= SPARED_MS
    this.#crashes = hasServed || this.#isExpected ? 0 : this.#crashes + 1
    this.#servesSinceMs = undefined
    this.#effectsAtStart = undefined
    if (!this.#isWanted) return
    if (!this.#isExpected) {
      if (this.#crashes > CRASHES_MAX) {
        const { service, plan } = this.#order
        this.failure = `${service} ${plan.instance} died ${this.#crashes} times. Its log ends with:\n${readFileSync(this.#logFile, 'utf8').slice(-2_000)}`
        return
      }
      await delay(RESTART_MS)
    }
    if (this.#isWanted) this.#spawn()
  }
}

/** Every instance in this process, on one memory broker. */
export class InProcessFleet implements Fleet {
  readonly broker = memoryBroker()
  readonly #services: RunningService[] = []
  failure: string | undefined
  readonly kills = 0

  async start(service: ServiceName, plan: ServicePlan): Promise<void> {
    this.#services.push(await startNamed(service, { ...plan, transport: memoryTransport(this.broker), failed: this.#failed }))
  }

  readonly #failed = (error: unknown): void => {
    this.failure ??= error instanceof Error ? error.message : String(error)
  }

  killOne(): boolean {
    throw new Error('services inside this process cannot be killed one by one')
  }

  look(): void {
    // Nobody is killed here.
  }

  killAll(): Promise<void> {
    throw new Error('services inside this process cannot be killed without it')
  }

  async stop(): Promise<void> {
    await Promise.all(this.#services.splice(0).map((service) => service.stop()))
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.stop()
  }
}
