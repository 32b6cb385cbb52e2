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
/** Deaths that nobody ordered, before the demo gives up. */
const CRASHES_MAX = 10
/** Time that a process serves before chaos may kill it. */
const SPARED_MS = 1_500

/** The running services, wherever they run. */
export interface Fleet extends AsyncDisposable {
  /** Starts one instance; it may not be ready yet when this returns. */
  start(service: ServiceName, plan: ServicePlan): Promise<void>
  /** Why the fleet cannot go on, or undefined. */
  readonly failure: string | undefined
  /** Instances that were killed. */
  readonly kills: number
  /**
   * Kills one process, chosen by a number from 0 below 1; it is started again at once. Those that still start or
   * have just begun to serve are spared, or a busy machine would never get any further. False where no other is left.
   */
  killOne(choice: number): boolean
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

  killOne(choice: number): boolean {
    const settled = this.#members.filter((member) => member.isSettled)
    const victim = settled[Math.floor(choice * settled.length)]
    if (victim === undefined) return false
    this.kills++
    victim.kill()
    return true
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
  #servesSinceMs: number | undefined
  #crashes = 0
  failure: string | undefined

  constructor(order: ProcessOrder) {
    this.#order = order
    this.#logFile = join(order.plan.dir, `${order.service}-${order.plan.instance}.log`)
    this.#spawn()
  }

  /** True once it has served for a while. */
  get isSettled(): boolean {
    return this.#servesSinceMs !== undefined && performance.now() - this.#servesSinceMs >= SPARED_MS
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
    this.#isExpected = false
    child.once('message', () => (this.#servesSinceMs = performance.now()))
    this.#ended = new Promise<void>((resolve) => {
      child.once('error', () => resolve())
      child.once('exit', () => resolve())
    }).then(() => this.#wasEnded())
  }

  async #wasEnded(): Promise<void> {
    this.#child = undefined
    this.#servesSinceMs = undefined
    if (!this.#isWanted) return
    if (!this.#isExpected) {
      if (++this.#crashes > CRASHES_MAX) {
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

  async stop(): Promise<void> {
    await Promise.all(this.#services.splice(0).map((service) => service.stop()))
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.stop()
  }
}
