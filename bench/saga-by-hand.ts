import { createHash } from 'node:crypto'
import { Counter, type Sample } from './measure.ts'
import { STEPS } from './saga-work.ts'

// The saga of three steps as one writes it by hand: the same rows are read and written, in one transaction for each message.

/** A message on its way in or out. */
export interface HandMessage {
  readonly id: string
  readonly type: string
  readonly orderId: string
  readonly cents: number
}

/** What one message leads to. */
export interface HandStep {
  readonly events: readonly { readonly type: string; readonly data: string }[]
  readonly cancels: string | undefined
  readonly timer: { readonly id: string; readonly body: string } | undefined
  readonly command: HandMessage | undefined
}

const STEP_OF: Readonly<Record<string, { readonly ends: string | undefined; readonly begins: string | undefined }>> = {
  'order-taken': { ends: undefined, begins: 'reserve' },
  'reserved': { ends: 'reserve', begins: 'charge' },
  'charged': { ends: 'charge', begins: 'ship' },
  'shipped': { ends: 'ship', begins: undefined },
}

const ANSWERS: Readonly<Record<string, string>> = { reserve: 'reserved', charge: 'charged', ship: 'shipped' }

/** Stream of a message's saga. */
export function streamOf({ orderId }: HandMessage): string {
  return `saga_fulfilment-${orderId}`
}

/** What the inbox keeps of a message beside its id. */
export function digestOf({ orderId, cents }: HandMessage): Uint8Array {
  return createHash('sha256').update(JSON.stringify({ orderId, cents })).digest()
}

/** What is to be written, with as many events as the library writes for the same message. */
export function handStep(message: HandMessage, history: readonly string[]): HandStep {
  let revision = -1
  for (const text of history) revision += JSON.parse(text) === undefined ? 0 : 1
  const { id, type, orderId, cents } = message
  const { ends, begins } = STEP_OF[type] ?? { ends: undefined, begins: undefined }
  const command = begins === undefined ? undefined : { id: `${orderId}-${revision}-0`, type: begins, orderId, cents }
  const events = [
    { type: 'input-handled', data: { input: 'message', id, source: '/bench', type, atMs: 1_700_000_000_000 } },
    ...(ends === undefined ? [{ type: 'started', data: { saga: 'fulfilment', version: 1, instance: orderId, correlationId: id } }, { type: 'state-changed', data: { state: { orderId, cents } } }]
      : [{ type: 'timer-cancelled', data: { timer: `step:${ends}` } }, { type: 'step-completed', data: { run: ends, type, version: 1, data: { orderId, cents } } }]),
    ...(command === undefined ? [{ type: 'ended', data: { outcome: 'completed' } }]
      : [{ type: 'step-started', data: { step: begins, run: begins, attempt: 1, sent: command } }, { type: 'timer-set', data: { timer: `step:${begins}`, dueAtMs: 1_700_000_600_000, token: `${orderId}-${revision}-1` } }]),
  ]
  return {
    events: events.map((event) => ({ type: event.type, data: JSON.stringify(event.data) })),
    cancels: ends === undefined ? undefined : `${orderId} ${ends}`,
    timer: begins === undefined ? undefined : { id: `${orderId} ${begins}`, body: JSON.stringify({ instance: orderId, timer: `step:${begins}`, token: `${orderId}-${revision}-1` }) },
    command,
  }
}

/** How a database does it. */
export interface HandDatabase {
  /** One transaction. */
  handle(message: HandMessage): Promise<void> | void
  /** Takes a page of commands out of the outbox, gives them away, and removes them; resolves with their number. */
  relay(sink: (command: HandMessage) => void): Promise<number> | number
}

/** Workers that take messages from a queue in memory, a relay that is woken by their commits, and services that answer at once. */
export class HandCrew {
  readonly #database: HandDatabase
  readonly #workers: number
  readonly #queue: HandMessage[] = []
  #busy = 0
  #isRelaying = false
  #isWoken = false
  #turn = 0
  readonly #ended = new Counter()
  #fail: (error: unknown) => void = () => {}

  constructor(database: HandDatabase, workers: number) {
    this.#database = database
    this.#workers = workers
  }

  async run(count: number): Promise<Sample> {
    const turn = ++this.#turn
    const failed = new Promise<never>((_resolve, reject) => {
      this.#fail = reject
    })
    const ended = this.#ended.expect(count)
    const startedMs = performance.now()
    for (let index = 0; index < count; index++) this.#queue.push({ id: `m-${turn}-${index}`, type: 'order-taken', orderId: `h-${turn}-${index}`, cents: index })
    this.#handOut()
    await Promise.race([ended, failed])
    return { perSecond: (count * STEPS * 1_000) / (performance.now() - startedMs) }
  }

  #handOut(): void {
    while (this.#busy < this.#workers) {
      const message = this.#queue.shift()
      if (message === undefined) return
      this.#busy++
      this.#handle(message).catch(this.#fail)
    }
  }

  async #handle(message: HandMessage): Promise<void> {
    await this.#database.handle(message)
    this.#busy--
    if (message.type === 'shipped') this.#ended.tick()
    else void this.#relay().catch(this.#fail)
    this.#handOut()
  }

  async #relay(): Promise<void> {
    this.#isWoken = true
    if (this.#isRelaying) return
    this.#isRelaying = true
    while (this.#isWoken) {
      this.#isWoken = false
      const count = await this.#database.relay((command) => this.#queue.push({ ...command, id: `answer-${command.id}`, type: ANSWERS[command.type] ?? '' }))
      if (count > 0) this.#isWoken = true
      this.#handOut()
    }
    this.#isRelaying = false
  }
}
