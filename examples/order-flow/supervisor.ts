import { randomBytes } from 'node:crypto'
import { mkdirSync, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { type Bus, type Transport, createBus, silentLogger } from 'trunkline'
import { GetBalance, RecordLine } from './contracts.ts'
import { type Progress, isReady, readFigures, readProgress } from './figures.ts'
import { type Fleet, InProcessFleet, ProcessFleet } from './fleet.ts'
import { type Totals, writeInvoices } from './generator.ts'
import { Guard } from './guard.ts'
import type { DemoOptions } from './options.ts'
import { type PrivateServer, natsServer, rabbitmqServer } from './servers.ts'
import { SERVICES, type ServicePlan } from './service.ts'
import type { DemoResult, LostMessage } from './summary.ts'
import type { ProgressLine } from './terminal.ts'
import { type TransportChoice, memoryTransport, transportOf } from './transports.ts'

const LOOK_MS = 200
const KILL_MS = 1_000
const READY_SECONDS_MAX = 60
const ASK_TRIES = 20

/** Runs the whole demo and cleans up behind it, also when `signal` breaks it off. */
export async function runDemo(options: DemoOptions, line: ProgressLine, signal: AbortSignal): Promise<DemoResult> {
  const dir = options.keep ?? mkdtempSync(join(tmpdir(), 'trunkline-demo-'))
  mkdirSync(dir, { recursive: true })
  using guard = new Guard(options.keep === undefined ? dir : undefined)
  let server: PrivateServer | undefined
  try {
    const generated = options.input === undefined ? generate(options, dir) : undefined
    if (options.url === undefined && (options.transport === 'nats' || options.transport === 'rabbitmq')) {
      line.say(`starting a private ${options.transport} server`)
      server = await (options.transport === 'nats' ? natsServer : rabbitmqServer)(dir, guard)
    }
    signal.throwIfAborted()
    const run = new Run({ options, line, signal, dir, expected: generated?.totals, input: options.input ?? generated?.file ?? '' })
    return await run.through(choiceOf(options, dir, server?.url))
  } finally {
    line.clear()
    await server?.close()
    if (options.keep === undefined) rmSync(dir, { recursive: true, force: true, maxRetries: 5, retryDelay: 100 })
  }
}

function generate(options: DemoOptions, dir: string): { readonly file: string; readonly totals: Totals } {
  const file = join(dir, 'invoices.csv')
  return { file, totals: writeInvoices(file, options.seed, options.invoices) }
}

/** Undefined for memory, whose broker is a value of this process. */
function choiceOf(options: DemoOptions, dir: string, privateUrl: string | undefined): TransportChoice | undefined {
  if (options.transport === 'memory') return undefined
  if (options.transport === 'sqlite') return { kind: 'sqlite', file: join(dir, 'bus.db') }
  // On somebody else's broker the demo keeps to names of its own.
  const namespace = options.url === undefined ? 'trunkline' : 'trunkline-demo'
  return { kind: options.transport, url: options.url ?? privateUrl ?? '', namespace }
}

interface RunParts {
  readonly options: DemoOptions
  readonly line: ProgressLine
  readonly signal: AbortSignal
  readonly dir: string
  readonly input: string
  readonly expected: Totals | undefined
}

/** One run, from the first process to the summary. */
class Run {
  readonly #parts: RunParts
  readonly #id = randomBytes(5).toString('hex')
  readonly #startMs = performance.now()

  constructor(parts: RunParts) {
    this.#parts = parts
  }

  async through(choice: TransportChoice | undefined): Promise<DemoResult> {
    const memoryFleet = choice === undefined ? new InProcessFleet() : undefined
    await using fleet: Fleet = memoryFleet ?? new ProcessFleet(choice ?? { kind: 'sqlite', file: '' })
    const transport = memoryFleet === undefined && choice !== undefined ? await transportOf(choice) : memoryTransport((memoryFleet ?? new InProcessFleet()).broker)
    await using bus = await supervisorBus(transport)
    await this.#startServices(fleet)
    const problem = await this.#untilHandled(fleet, bus)
    const answer = problem === undefined ? await this.#askBalance(bus) : undefined
    const deadLetters = await this.#deadLetters(bus)
    if (this.#parts.options.url !== undefined) await this.#removeDeadLetters(bus)
    await fleet.stop()
    return this.#result({ fleet, answer, deadLetters, problem })
  }

  #result(end: { readonly fleet: Fleet; readonly answer: DemoResult['answer']; readonly deadLetters: readonly LostMessage[]; readonly problem: string | undefined }): DemoResult {
    const { options, dir, expected } = this.#parts
    const { deadLetters, answer } = end
    const figures = readFigures(dir)
    const result = {
      figures,
      progress: readProgress(dir),
      deadLetters,
      answer,
      transport: options.transport,
      seconds: Math.round((performance.now() - this.#startMs) / 100) / 10,
      kills: end.fleet.kills,
      expected,
    }
    const unexpected = deadLetters.find(({ type }) => type !== RecordLine.type)
    let { problem } = end
    if (unexpected !== undefined) problem ??= `${unexpected.group} gave up a message: ${unexpected.reason}`
    if (answer !== undefined && answer.balance !== figures.reported) problem ??= `billing says ${answer.balance}, reporting heard ${figures.reported}`
    if (expected !== undefined && !matches(expected, result.figures)) problem ??= 'the figures are not those of the generated invoices'
    return { ...result, problem }
  }

  /** The consumers first: an event goes to the groups that exist when it is published. */
  async #startServices(fleet: Fleet): Promise<void> {
    const { options, line, dir, signal } = this.#parts
    const wanted = SERVICES.filter((name) => name !== 'shop' && name !== options.without)
    const instances = wanted.flatMap((service) => Array.from({ length: options.services }, (_, at) => ({ service, instance: at + 1 })))
    line.show(`starting ${instances.length + 1} services`)
    for (const { service, instance } of instances) await fleet.start(service, this.#plan(instance))
    const endMs = performance.now() + READY_SECONDS_MAX * 1_000
    while (!instances.every(({ service, instance }) => isReady(dir, service, instance))) {
      if (fleet.failure !== undefined) throw new Error(fleet.failure)
      if (performance.now() > endMs) throw new Error(`the services were not ready after ${READY_SECONDS_MAX} s`)
      await delay(50, undefined, { signal })
    }
    await fleet.start('shop', { ...this.#plan(1), input: this.#parts.input, ...(options.invoicesPerSecond === undefined ? {} : { invoicesPerSecond: options.invoicesPerSecond }) })
  }

  #plan(instance: number): ServicePlan {
    return { dir: this.#parts.dir, run: this.#id, instance }
  }

  /** Resolves when everything published was handled or given up; with a text, when that does not come about. */
  async #untilHandled(fleet: Fleet, bus: Bus): Promise<string | undefined> {
    const { options, line, dir, signal } = this.#parts
    const { stallSeconds, limitSeconds } = options
    let last = ''
    let movedMs = performance.now()
    let nextKillMs = performance.now() + KILL_MS
    for (;;) {
      const nowMs = performance.now()
      const progress = readProgress(dir)
      line.show(this.#text(progress, fleet))
      if (fleet.failure !== undefined) return fleet.failure
      if (progress.isShopFinished && (await this.#isHandled(progress, bus))) return undefined
      const moved = JSON.stringify({ ...progress, retries: 0 })
      if (moved !== last) {
        last = moved
        movedMs = nowMs
      }
      if (nowMs - movedMs > stallSeconds * 1_000) return `nothing has moved for ${stallSeconds} s: ${this.#text(progress, fleet)}`
      if (nowMs - this.#startMs > limitSeconds * 1_000) return `not finished after ${limitSeconds} s: ${this.#text(progress, fleet)}`
      if (options.hasChaos && nowMs >= nextKillMs && fleet.killOne(Math.random())) nextKillMs = nowMs + KILL_MS
      await delay(LOOK_MS, undefined, { signal })
    }
  }

  async #isHandled(progress: Progress, bus: Bus): Promise<boolean> {
    const { published, refused, stock, billing, reporting } = progress
    if (refused === 0 && stock === published && billing === stock && reporting === published + billing) return true
    // Only now: on some brokers listing dead letters is work.
    const given = await this.#deadLetters(bus)
    const of = (group: string): number => given.filter((letter) => letter.group === group).length
    const isThrough = of(RecordLine.type) >= refused
    const isStockThrough = stock + of('stock.movements') >= published
    const isBillingThrough = billing + of('billing.post-entry') >= stock
    return isThrough && isStockThrough && isBillingThrough && reporting + of('reporting.figures') >= published + billing
  }

  #text(progress: Progress, fleet: Fleet): string {
    const { published, refused, stock, billing, reporting, retries, isShopFinished } = progress
    const seconds = ((performance.now() - this.#startMs) / 1_000).toFixed(1)
    const shop = `shop ${published} published${refused === 0 ? '' : `, ${refused} lines refused`}${isShopFinished ? '' : ' …'}`
    return `${seconds} s | ${shop} | stock ${stock} | billing ${billing} | reporting ${reporting} | retries ${retries} | kills ${fleet.kills}`
  }

  /** Asks again while the last victim of chaos is still on its way back. */
  async #askBalance(bus: Bus): Promise<DemoResult['answer']> {
    for (let attempt = 1; ; attempt++) {
      try {
        return await bus.ask(GetBalance, {}, { timeoutMs: 5_000 })
      } catch (error) {
        if (attempt === ASK_TRIES) throw error
        await delay(250, undefined, { signal: this.#parts.signal })
      }
    }
  }

  /** One for each message and group: a message that was published twice is one all the same. */
  async #deadLetters(bus: Bus): Promise<readonly LostMessage[]> {
    const found = new Map<string, LostMessage>()
    for await (const { group, message, record } of bus.deadLetters.all()) {
      if (!message.id.startsWith(`${this.#id}.`)) continue
      const reason = record.errors.at(-1)?.message ?? record.reason
      found.set(`${group} ${message.id}`, { id: message.id, group, type: message.type, reason })
    }
    return [...found.values()]
  }

  async #removeDeadLetters(bus: Bus): Promise<void> {
    const ids: string[] = []
    for await (const { id, message } of bus.deadLetters.all()) if (message.id.startsWith(`${this.#id}.`)) ids.push(id)
    for (const id of ids) await bus.deadLetters.skip(id)
  }
}

function matches(expected: Totals, found: Totals): boolean {
  return (
    expected.invoices === found.invoices && expected.cancellations === found.cancellations && expected.gross === found.gross && expected.cancelled === found.cancelled
  )
}

async function supervisorBus(transport: Transport): Promise<Bus> {
  const bus = createBus({ service: { name: 'supervisor' }, transport, logger: silentLogger })
  await bus.start()
  return bus
}
