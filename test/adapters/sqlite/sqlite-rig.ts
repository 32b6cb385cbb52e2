import { spawn } from 'node:child_process'
import type { ChildProcess } from 'node:child_process'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { DatabaseSync } from 'node:sqlite'
import { sqlite } from '../../../src/adapters/sqlite/index.ts'
import type { SqliteFileOptions } from '../../../src/adapters/sqlite/index.ts'
import type { Delivery, Outbound, Subscription, Transport, TransportHost, TransportState } from '../../../src/bus/port.ts'
import type { Clock } from '../../../src/core/clock.ts'
import { systemClock } from '../../../src/core/clock.ts'
import type { Logger } from '../../../src/core/logger.ts'
import { silentLogger } from '../../../src/core/logger.ts'
import type { Random } from '../../../src/core/random.ts'
import { systemRandom } from '../../../src/core/random.ts'
import type { WireMessage } from '../../../src/core/envelope.ts'
import { wireMessage } from '../wire-messages.ts'

/** A host that writes down what the transport reports. */
export class TestHost implements TransportHost {
  readonly clock: Clock = systemClock
  readonly random: Random = systemRandom
  readonly logger: Logger = silentLogger
  readonly service = 'tests'
  readonly instance: string = `instance-${process.pid}`
  readonly reports: { readonly state: TransportState; readonly reason: string }[] = []

  readonly report = (state: TransportState, reason: string): void => {
    this.reports.push({ state, reason })
  }

  get state(): TransportState | undefined {
    return this.reports.at(-1)?.state
  }
}

let made = 0

/** An event as it is published; each has an id of its own. */
export function event(parts: Partial<WireMessage> = {}): Outbound {
  return { kind: 'event', message: wireMessage({ id: `event-${++made}`, ...parts }) }
}

/** A command as it is sent; each has an id of its own. */
export function command(parts: Partial<WireMessage> = {}): Outbound {
  return { kind: 'command', message: wireMessage({ id: `command-${++made}`, type: 'tests.do-thing', ...parts }) }
}

/** What a group of tests wants. */
export function group(parts: Partial<Subscription> = {}): Subscription {
  return {
    group: 'tests.group',
    kind: 'event',
    types: ['tests.thing-happened'],
    order: 'none',
    from: 'new',
    inFlightMax: 16,
    handlerTimeoutMs: 30_000,
    ...parts,
  }
}

/** Resolves when the condition holds; rejects when it does not in time. */
export async function until(condition: () => boolean | Promise<boolean>, what = 'the condition', waitMs = 20_000): Promise<void> {
  const giveUpAtMs = performance.now() + waitMs
  while (!(await condition())) {
    if (performance.now() > giveUpAtMs) throw new Error(`${what} did not hold within ${waitMs} ms`)
    await new Promise((resolve) => setTimeout(resolve, 5))
  }
}

/** Deliveries as they come, for tests that take them one by one. */
export class Inbox {
  readonly all: Delivery[] = []
  #taken = 0

  readonly sink = (delivery: Delivery): void => {
    this.all.push(delivery)
  }

  /** Ids of everything that came, in order. */
  get ids(): readonly string[] {
    return this.all.map((delivery) => delivery.message.id)
  }

  async next(waitMs?: number): Promise<Delivery> {
    await until(() => this.all.length > this.#taken, 'the next delivery', waitMs)
    const delivery = this.all[this.#taken++]
    if (delivery === undefined) throw new Error('no delivery')
    return delivery
  }
}

/** Publishes without a signal. */
export async function publish(transport: Transport, ...messages: readonly Outbound[]): Promise<void> {
  await Promise.all(messages.map(async (message) => await transport.publish(message, undefined)))
}

/** A directory of its own with a database path in it, removed by `remove`. */
export class Workplace {
  readonly directory: string = mkdtempSync(join(tmpdir(), 'trunkline-sqlite-'))
  readonly file: string = join(this.directory, 'app.db')
  readonly #open: { close(): unknown }[] = []

  /** Opens a transport on the file; `clean` closes it. */
  async transport(options: Partial<SqliteFileOptions> = {}, host: TransportHost = new TestHost()): Promise<Transport> {
    const { transport } = sqlite({ file: this.file, ...options })
    await transport.open(host)
    this.#open.push(transport)
    return transport
  }

  /** Opens the file as any program could. */
  database(): DatabaseSync {
    const database = new DatabaseSync(this.file)
    database.exec('PRAGMA busy_timeout = 5000')
    this.#open.push({ close: () => (database.isOpen ? database.close() : undefined) })
    return database
  }

  /** Starts `sqlite-child.ts` with the file; `clean` kills it. */
  child(...words: readonly string[]): Child {
    const child = new Child([this.file, ...words])
    this.#open.push({ close: () => child.kill() })
    return child
  }

  /** The same with `sqlite-store-child.ts`. */
  storeChild(...words: readonly string[]): Child {
    const child = new Child([this.file, ...words], 'sqlite-store-child.ts')
    this.#open.push({ close: () => child.kill() })
    return child
  }

  /** One number from the file. */
  count(sql: string): number {
    const database = this.database()
    const row: unknown = database.prepare(sql).get()
    database.close()
    return typeof row === 'object' && row !== null ? Number(Object.values(row)[0]) : Number.NaN
  }

  async clean(): Promise<void> {
    for (const each of this.#open.splice(0).toReversed()) await each.close()
    rmSync(this.directory, { recursive: true, force: true })
  }
}

/** What a child process says, one JSON value a line. */
export interface Said {
  readonly what: string
  readonly id?: string
  readonly attempt?: number
  readonly isSuspect?: boolean
  readonly atMs?: number
  readonly key?: string
}

/** A process of its own that uses the file. */
export class Child {
  readonly said: Said[] = []
  readonly #process: ChildProcess
  readonly #ended: Promise<void>

  constructor(words: readonly string[], program = 'sqlite-child.ts') {
    this.#process = spawn(process.execPath, [join(import.meta.dirname, program), ...words], { stdio: ['pipe', 'pipe', 'inherit'] })
    this.#ended = new Promise((resolve) => {
      this.#process.once('exit', () => resolve())
    })
    if (this.#process.stdout !== null) {
      createInterface({ input: this.#process.stdout }).on('line', (line) => this.said.push(JSON.parse(line)))
    }
  }

  get pid(): number {
    return this.#process.pid ?? 0
  }

  /** Resolves when the child has said it that often. */
  async says(what: string, times = 1): Promise<void> {
    await until(() => this.said.filter((each) => each.what === what).length >= times, `"${what}" from the child`)
  }

  tell(line: string): void {
    this.#process.stdin?.write(`${line}\n`)
  }

  signal(name: NodeJS.Signals): void {
    this.#process.kill(name)
  }

  /** SIGKILL, and waits for the end. */
  async kill(): Promise<void> {
    this.#process.kill('SIGKILL')
    await this.#ended
  }

  ended(): Promise<void> {
    return this.#ended
  }
}
