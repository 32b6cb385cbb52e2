import { randomBytes } from 'node:crypto'
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import type { Transport } from 'trunkline'
import { readBooks } from './books.ts'
import { Chaos, type Victim } from './chaos.ts'
import { RecordLine } from './contracts.ts'
import { type Progress, isReady, readFigures, readProgress } from './figures.ts'
import { type Fleet, InProcessFleet, ProcessFleet } from './fleet.ts'
import { type Totals, writeInvoices } from './generator.ts'
import { Guard } from './guard.ts'
import { Observer } from './observer.ts'
import { areOver, readOrders } from './order-books.ts'
import { type DemoOptions, hasServer } from './options.ts'
import { type PrivateServer, natsServer, postgresServer, rabbitmqServer } from './servers.ts'
import { SERVICES, type ServicePlan } from './service.ts'
import type { DemoResult, LostMessage } from './summary.ts'
import type { ProgressLine } from './terminal.ts'
import { View, priceFailure, readPrices, readSightings, sightingsAfter } from './till-books.ts'
import { type TransportChoice, memoryTransport, transportOf } from './transports.ts'

const LOOK_MS = 200
/** Time without an effect after which dead letters may be the reason. On some brokers listing them is work. */
const QUIET_MS = 1_000
const READY_SECONDS_MAX = 60
const SERVERS = { nats: natsServer, rabbitmq: rabbitmqServer, postgres: postgresServer } as const

/** Runs the whole demo and cleans up behind it, also when `signal` breaks it off. */
export async function runDemo(options: DemoOptions, line: ProgressLine, signal: AbortSignal): Promise<DemoResult> {
  const dir = options.keep ?? mkdtempSync(join(tmpdir(), 'trunkline-demo-'))
  mkdirSync(dir, { recursive: true })
  using guard = new Guard(options.keep === undefined ? dir : undefined)
  let server: PrivateServer | undefined
  try {
    const generated = options.input === undefined ? generate(options, dir) : undefined
    if (options.url === undefined && hasServer(options.transport)) {
      line.say(`starting a private ${options.transport} server`)
      server = await SERVERS[options.transport](dir, guard)
    }
    signal.throwIfAborted()
    const run = new Run({ options, line, signal, dir, server, expected: generated?.totals, input: options.input ?? generated?.file ?? '' })
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
  const url = options.url ?? privateUrl ?? ''
  // On somebody else's broker the demo keeps to names of its own.
  const namespace = options.url === undefined ? 'trunkline' : 'trunkline-demo'
  return options.transport === 'postgres' ? { kind: 'postgres', url, schema: namespace.replace('-', '_') } : { kind: options.transport, url, namespace }
}

interface RunParts {
  readonly options: DemoOptions
  readonly line: ProgressLine
  readonly signal: AbortSignal
  readonly dir: string
  /** The demo's own broker; undefined where there is none, or one that belongs to somebody else. */
  readonly server: PrivateServer | undefined
  readonly input: string
  readonly expected: Totals | undefined
}

/** How the part with the services ended. */
interface RunEnd {
  readonly serviceKills: number
  readonly brokerKills: number
  readonly answer: DemoResult['answer']
  readonly deadLetters: readonly LostMessage[]
  readonly problem: string | undefined
}

/** One run, from the first process to the summary. */
class Run {
  readonly #parts: RunParts
  readonly #id = randomBytes(5).toString('hex')
  readonly #startMs = performance.now()
  readonly #door: string
  #chaos: Chaos | undefined
  #givenUp: readonly LostMessage[] = []
  #listing: Promise<void> | undefined
  readonly #view = new View()
  #seenUpTo = 0

  constructor(parts: RunParts) {
    this.#parts = parts
    this.#door = join(parts.dir, 'shop-is-open')
  }

  async through(choice: TransportChoice | undefined): Promise<DemoResult> {
    const { options, server, signal } = this.#parts
    const memoryFleet = choice === undefined ? new InProcessFleet() : undefined
    await using fleet: Fleet = memoryFleet ?? new ProcessFleet(choice ?? { kind: 'sqlite', file: '' })
    const transport = async (): Promise<Transport> => (choice === undefined ? memoryTransport((memoryFleet ?? new InProcessFleet()).broker) : await transportOf(choice))
    const observer = new Observer(transport, this.#id)
    // A broker that is not there is found here, before anything is started.
    await observer.deadLetters()
    await this.#startServices(fleet)
    if (options.hasChaos) await this.#beginChaos(fleet)
    writeFileSync(this.#door, '')
    const problem = await this.#untilHandled(fleet, observer)
    await this.#chaos?.end()
    await this.#listing
    const answer = problem === undefined ? await observer.balance(signal) : undefined
    const deadLetters = await observer.deadLetters()
    if (server === undefined && options.url !== undefined) await observer.removeDeadLetters()
    await fleet.stop()
    return this.#result({ serviceKills: fleet.kills, brokerKills: this.#chaos?.brokerKills ?? 0, answer, deadLetters, problem })
  }

  #result(end: RunEnd): DemoResult {
    const { options, dir, expected } = this.#parts
    const [figures, books, progress] = [readFigures(dir), readBooks(dir), readProgress(dir)]
    const { deadLetters, answer } = end
    const orders = readOrders(dir, this.#id)
    const [prices, sightings] = [readPrices(dir), readSightings(dir)]
    const unexpected = deadLetters.find(({ type }) => type !== RecordLine.type)
    let { problem } = end
    if (unexpected !== undefined) problem ??= `${unexpected.group} gave up a message: ${unexpected.reason}`
    problem ??= books.mistakes[0]
    if (!areOver(orders)) problem ??= `of ${orders.placed} orders ${orders.started - orders.open} have ended`
    if (answer !== undefined && (answer.balance !== figures.reported || answer.balance !== books.balance)) problem ??= `billing says ${answer.balance}, its ledger ${books.balance}, and reporting heard ${figures.reported}`
    if (expected !== undefined && !matches(expected, figures)) problem ??= 'the figures are not those of the generated invoices'
    if (prices.failed > 0) problem ??= `${prices.failed} questions for a price failed, such as one with: ${priceFailure(dir) ?? ''}`
    const seconds = Math.round((performance.now() - this.#startMs) / 100) / 10
    return { ...end, figures, orders, books, progress, prices, sightings, transport: options.transport, seconds, expected, problem }
  }

  /** The consumers first: an event goes to the groups that exist when it is published. */
  async #startServices(fleet: Fleet): Promise<void> {
    const { options, line, input } = this.#parts
    const consumers = SERVICES.filter((name) => name !== 'shop' && name !== 'till' && name !== options.without)
    const instances = consumers.flatMap((service) => Array.from({ length: options.services }, (_, at) => ({ service, instance: at + 1 })))
    line.show(`starting ${instances.length + 2} services`)
    for (const { service, instance } of instances) await fleet.start(service, this.#plan(instance))
    await this.#untilReady(fleet, instances)
    const rate = options.invoicesPerSecond === undefined ? {} : { invoicesPerSecond: options.invoicesPerSecond }
    await fleet.start('till', { ...this.#plan(1), input })
    await fleet.start('shop', { ...this.#plan(1), input, door: this.#door, ...rate })
    await this.#untilReady(fleet, [{ service: 'shop', instance: 1 }, { service: 'till', instance: 1 }])
  }

  async #untilReady(fleet: Fleet, instances: readonly { readonly service: (typeof SERVICES)[number]; readonly instance: number }[]): Promise<void> {
    const { dir, signal } = this.#parts
    const endMs = performance.now() + READY_SECONDS_MAX * 1_000
    while (!instances.every(({ service, instance }) => isReady(dir, service, instance))) {
      if (fleet.failure !== undefined) throw new Error(fleet.failure)
      if (performance.now() > endMs) throw new Error(`the services were not ready after ${READY_SECONDS_MAX} s`)
      await delay(50, undefined, { signal })
    }
  }

  #plan(instance: number): ServicePlan {
    return { dir: this.#parts.dir, run: this.#id, instance }
  }

  async #beginChaos(fleet: Fleet): Promise<void> {
    const { options, server, line } = this.#parts
    if (options.transport === 'rabbitmq' && server !== undefined) {
      // 3.10 can bring a quorum queue that was declared only just now back empty after a SIGKILL. A restart in order makes it known to the disk.
      line.show('restarting the broker in order, so that its new queues are on disk')
      await server.restart()
    }
    // Where a file is the broker, its death is that of all who use it.
    const file: Victim | undefined = options.transport === 'sqlite' ? { killAndRestart: () => fleet.killAll() } : undefined
    this.#chaos = new Chaos(fleet, server ?? file, performance.now())
  }

  /** Resolves when everything published was handled or given up; with a text, when that does not come about. */
  async #untilHandled(fleet: Fleet, observer: Observer): Promise<string | undefined> {
    const { options, line, dir, signal } = this.#parts
    const { stallSeconds, limitSeconds } = options
    let last = ''
    let movedMs = performance.now()
    for (;;) {
      const nowMs = performance.now()
      const progress = readProgress(dir)
      const orders = readOrders(dir, this.#id)
      this.#lookAround()
      const ended = orders.started - orders.open
      const text = this.#text(progress, `${ended} of ${orders.placed}`, fleet)
      line.show(text)
      const failure = fleet.failure ?? this.#chaos?.failure
      if (failure !== undefined) return failure
      if (progress.isShopFinished && this.#isHandled(progress) && areOver(orders)) return undefined
      const moved = JSON.stringify({ ...progress, orders, retries: 0 })
      if (moved !== last) {
        last = moved
        movedMs = nowMs
      }
      if (progress.isShopFinished && nowMs - movedMs >= QUIET_MS) this.#listDeadLetters(observer)
      if (nowMs - movedMs > stallSeconds * 1_000) return `nothing has moved for ${stallSeconds} s: ${text}`
      if (nowMs - this.#startMs > limitSeconds * 1_000) return `not finished after ${limitSeconds} s: ${text}`
      this.#chaos?.strike(nowMs, { ...progress, shop: progress.published + progress.refused, orders: ended })
      await delay(LOOK_MS, undefined, { signal })
    }
  }

  /** Tells who came and went since the last look. Without chaos everybody comes once, which the line says. */
  #lookAround(): void {
    const { options, line, dir } = this.#parts
    for (const sighting of sightingsAfter(dir, this.#seenUpTo)) {
      this.#seenUpTo = sighting.n
      const text = this.#view.see(sighting)
      if (text !== undefined && options.hasChaos) line.say(`${((performance.now() - this.#startMs) / 1_000).toFixed(1)} s | ${text}${sighting.reason === '' ? '' : `: ${sighting.reason}`}`)
    }
  }

  /** Beside the rest: a broker that is dead at this moment answers late, or not at all. */
  #listDeadLetters(observer: Observer): void {
    this.#listing ??= observer.deadLetters().then(
      (givenUp) => void (this.#givenUp = givenUp),
      () => undefined,
    ).finally(() => (this.#listing = undefined))
  }

  #isHandled(progress: Progress): boolean {
    const { published, refused, stock, billing, reporting } = progress
    const of = (group: string): number => this.#givenUp.filter((letter) => letter.group === group).length
    const isThrough = of(RecordLine.type) >= refused
    const isStockThrough = stock + of('stock.movements') >= published
    const isBillingThrough = billing + of('billing.post-entry') >= stock
    return isThrough && isStockThrough && isBillingThrough && reporting + of('reporting.figures') >= published + billing
  }

  #text(progress: Progress, orders: string, fleet: Fleet): string {
    const { published, refused, stock, billing, reporting, retries, isShopFinished } = progress
    const seconds = ((performance.now() - this.#startMs) / 1_000).toFixed(1)
    const shop = `shop ${published} published${refused === 0 ? '' : `, ${refused} lines refused`}${isShopFinished ? '' : ' …'}`
    const kills = this.#chaos === undefined ? '' : ` | kills ${fleet.kills} + ${this.#chaos.brokerKills}`
    const { answered, byFallback } = readPrices(this.#parts.dir)
    const prices = `prices ${answered} + ${byFallback} by fallback | ${this.#view.text}`
    return `${seconds} s | ${shop} | stock ${stock} | billing ${billing} | reporting ${reporting} | orders ${orders} | retries ${retries}${kills} | ${prices}`
  }
}

function matches(expected: Totals, found: Totals): boolean {
  return (
    expected.invoices === found.invoices && expected.cancellations === found.cancellations && expected.gross === found.gross && expected.cancelled === found.cancelled
  )
}
