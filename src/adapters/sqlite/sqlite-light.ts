import type { LightDelivery, LightPlane, LightReply, LightSubscription } from '../../bus/port.ts'
import type { WireMessage } from '../../core/envelope.ts'
import { TrunklineError, errorText } from '../../core/errors.ts'
import type { SqliteCommitQueue } from './sqlite-commit-queue.ts'
import type { SqliteHost } from './sqlite-host.ts'
import type { SqliteTurn } from './sqlite-turn.ts'
import { bytes, integer, text, textOrNull } from './sqlite-connection.ts'
import type { SqliteConnection } from './sqlite-connection.ts'
import type { SqliteRow } from './sqlite-driver.ts'
import { listenersOf } from './sqlite-groups.ts'
import type { SqliteInstances } from './sqlite-instances.ts'
import { splitReplyTo, storeNoResponder } from './sqlite-light-rows.ts'
import { attributesText, messageFrom } from './sqlite-message.ts'

/** Messages taken from the inbox in one transaction. */
const TAKE_MAX = 256

type LightSink = (delivery: LightDelivery) => void
type ListenKind = 'broadcast' | 'request'

/** What the plane works with between `open` and `close`. */
export interface LightBacking {
  readonly queue: SqliteCommitQueue
  readonly host: SqliteHost
  readonly instances: SqliteInstances
}

/** One sink with the types it takes. */
interface Listener {
  readonly kind: ListenKind
  readonly types: readonly string[]
  readonly sink: LightSink
}

/**
 * Broadcasts, questions and answers as rows that are deleted when they are taken. Every instance has an
 * inbox, addressed by a text that stays the same until `close`.
 */
export class SqliteLight implements LightPlane {
  readonly #listeners = new Set<Listener>()
  #backing: LightBacking | undefined
  #onReply: (token: string, reply: LightReply) => void = () => {}
  #isHungry = false
  #taken: readonly SqliteRow[] = []
  #turnNumber = 0

  /** Connects the plane to an opened file. */
  attach(backing: LightBacking): void {
    this.#backing = backing
  }

  /** Forgets the file and every listener. */
  detach(): void {
    this.#backing = undefined
    this.#listeners.clear()
  }

  /** Ends every subscription. */
  async closeAll(): Promise<void> {
    await Promise.all([...this.#listeners].map((listener) => this.#unlisten(listener)))
  }

  get address(): string {
    return this.#backing?.instances.address ?? ''
  }

  onReply(sink: (token: string, reply: LightReply) => void): void {
    this.#onReply = sink
  }

  replyAddress(token: string): string {
    return `${this.address}/${token}`
  }

  async broadcast(message: WireMessage): Promise<void> {
    const attributes = attributesText(message)
    await this.#call('broadcast', (turn) => {
      const addresses = listenersOf(turn.connection, message.type, 'broadcast')
      for (const address of addresses) store(turn, { address, kind: 'broadcast', replyTo: null, attributes, body: message.body })
    })
  }

  async request(message: WireMessage, token: string, to?: string): Promise<void> {
    const attributes = attributesText(message)
    const replyTo = this.replyAddress(token)
    const draw = this.#opened('request').host.random.next()
    await this.#call('request', (turn) => {
      const addresses = listenersOf(turn.connection, message.type, 'request').filter((one) => to === undefined || one === to)
      const address = addresses[Math.floor(draw * addresses.length)]
      if (address === undefined) storeNoResponder(turn, replyTo)
      else store(turn, { address, kind: 'request', replyTo, attributes, body: message.body })
    })
  }

  async reply(replyTo: string, message: WireMessage): Promise<void> {
    const attributes = attributesText(message)
    const { address } = splitReplyTo(replyTo)
    await this.#call('reply', (turn) => {
      // Whoever asked may be gone; a row for nobody would stay for ever.
      if (!turn.connection.has('SELECT 1 FROM trunkline_instance WHERE address = ?', address)) return
      store(turn, { address, kind: 'reply', replyTo, attributes, body: message.body })
    })
  }

  onBroadcast(types: readonly string[], sink: LightSink): Promise<LightSubscription> {
    return this.#listen({ kind: 'broadcast', types: [...new Set(types)], sink })
  }

  onRequest(type: string, sink: LightSink): Promise<LightSubscription> {
    return this.#listen({ kind: 'request', types: [type], sink })
  }

  async #listen(listener: Listener): Promise<LightSubscription> {
    const { instances } = this.#opened('listen')
    this.#listeners.add(listener)
    for (const type of listener.types) instances.listens.set(`${listener.kind} ${type}`, { type, kind: listener.kind })
    try {
      await this.#call('listen', (turn) => {
        for (const type of listener.types) {
          turn.connection.run('INSERT OR IGNORE INTO trunkline_listener VALUES (?, ?, ?)', type, listener.kind, instances.address)
        }
      })
    } catch (thrown) {
      await this.#unlisten(listener)
      throw thrown
    }
    return new SqliteLightSubscription(() => this.#unlisten(listener))
  }

  async #unlisten(listener: Listener): Promise<void> {
    this.#listeners.delete(listener)
    const backing = this.#backing
    if (backing === undefined) return
    const unheard = listener.types.filter((type) => this.#sinks(listener.kind, type).length === 0)
    for (const type of unheard) backing.instances.listens.delete(`${listener.kind} ${type}`)
    try {
      await backing.queue.call((turn) => {
        for (const type of unheard) {
          turn.connection.run(
            'DELETE FROM trunkline_listener WHERE type = ? AND kind = ? AND address = ?',
            type, listener.kind, backing.instances.address,
          )
        }
      })
    } catch {
      // The rows go with the instance; until then what comes for them is dropped.
    }
  }

  #opened(operation: string): LightBacking {
    if (this.#backing === undefined) throw new TrunklineError('bus.not_running', { operation, state: 'closed' })
    return this.#backing
  }

  #call(operation: string, work: (turn: SqliteTurn) => void): Promise<void> {
    return this.#opened(operation).queue.call(work)
  }

  /** Something may be in the inbox. */
  wake(): void {
    this.#isHungry = true
  }

  /** True where something is in the inbox. Reads only. */
  wants(connection: SqliteConnection): boolean {
    if (!this.#isHungry) return false
    if (connection.has('SELECT 1 FROM trunkline_light WHERE address = ? LIMIT 1', this.address)) return true
    this.#isHungry = false
    return false
  }

  /** Takes what is in the inbox, as part of a transaction. */
  take(turn: SqliteTurn): void {
    this.#taken = []
    if (!this.#isHungry && !turn.wakesInbox) return
    const rows = turn.connection.rows('SELECT * FROM trunkline_light WHERE address = ? ORDER BY id LIMIT ?', this.address, TAKE_MAX)
    const last = rows.at(-1)
    if (last !== undefined) turn.connection.run('DELETE FROM trunkline_light WHERE address = ? AND id <= ?', this.address, integer(last, 'id'))
    this.#taken = rows
  }

  /** Hands out what the committed transaction has taken. */
  handOut(): void {
    const taken = this.#taken
    this.#taken = []
    this.#isHungry = taken.length === TAKE_MAX
    if (this.#isHungry) this.#backing?.queue.poke()
    for (const row of taken) this.#guarded(() => this.#dispatch(row))
  }

  /** What one sink throws must reach neither the next sink nor the queue. */
  #guarded(call: () => void): void {
    try {
      call()
    } catch (thrown) {
      this.#backing?.host.logger.error({ problem: errorText(thrown) }, 'a light-plane sink threw')
    }
  }

  #dispatch(row: SqliteRow): void {
    const kind = text(row, 'kind')
    const replyTo = textOrNull(row, 'reply_to')
    const token = replyTo === undefined ? '' : splitReplyTo(replyTo).token
    if (kind === 'no-responder') {
      this.#onReply(token, { kind: 'no-responder' })
      return
    }
    const message = messageFrom(text(row, 'attributes'), bytes(row, 'body'), `sqlite-light-${integer(row, 'id')}`)
    if (kind === 'reply') this.#onReply(token, { kind: 'reply', message })
    else if (kind === 'request') this.#ask(message, replyTo)
    else for (const sink of this.#sinks('broadcast', message.type)) this.#guarded(() => sink({ message, replyTo: undefined }))
  }

  #ask(message: WireMessage, replyTo: string | undefined): void {
    const sinks = this.#sinks('request', message.type)
    const sink = sinks[this.#turnNumber++ % Math.max(1, sinks.length)]
    if (sink !== undefined) sink({ message, replyTo })
    // It came while the last answering subscription was being closed.
    else if (replyTo !== undefined) void this.#call('request', (turn) => storeNoResponder(turn, replyTo)).catch(() => {})
  }

  #sinks(kind: ListenKind, type: string): readonly LightSink[] {
    const sinks: LightSink[] = []
    for (const listener of this.#listeners) if (listener.kind === kind && listener.types.includes(type)) sinks.push(listener.sink)
    return sinks
  }
}

class SqliteLightSubscription implements LightSubscription {
  #end: (() => Promise<void>) | undefined

  constructor(end: () => Promise<void>) {
    this.#end = end
  }

  async close(): Promise<void> {
    const end = this.#end
    this.#end = undefined
    await end?.()
  }
}

/** One row for an inbox. */
interface LightRow {
  readonly address: string
  readonly kind: 'broadcast' | 'request' | 'reply'
  readonly replyTo: string | null
  readonly attributes: string
  readonly body: Uint8Array
}

function store(turn: SqliteTurn, row: LightRow): void {
  turn.connection.run(
    'INSERT INTO trunkline_light (address, kind, reply_to, attributes, body) VALUES (?, ?, ?, ?, ?)',
    row.address, row.kind, row.replyTo, row.attributes, row.body,
  )
  turn.wakesOthers = true
  turn.wakesInbox = true
}
