import type { LightDelivery, LightPlane, LightReply, LightSubscription, TransportHost } from '../../bus/port.ts'
import type { WireMessage } from '../../core/envelope.ts'
import { errorText, TrunklineError } from '../../core/errors.ts'
import type { PgRow } from './postgres-client.ts'
import type { PgInstances } from './postgres-instances.ts'
import { arrivalFrom, arrivalFromRow, type LightArrival, type LightNote, type PgLightRows, unansweredFrom } from './postgres-light-rows.ts'
import type { PgLink } from './postgres-link.ts'
import { asLost, isPassing, lost } from './postgres-problem.ts'

/** Messages sent, and rows taken from the inbox, in one statement. */
const NOTES_MAX = 256
/** Bytes sent in one statement. */
const BYTES_MAX = 4_194_304

type LightSink = (delivery: LightDelivery) => void
type ListenKind = 'broadcast' | 'request'

/** What the plane works with between `open` and `close`. */
export interface LightBacking {
  readonly host: TransportHost
  readonly address: string
  /** Of this instance's present life, or undefined while it is being entered again. */
  readonly instanceId: () => string | undefined
  readonly link: PgLink
  readonly rows: PgLightRows
  readonly instances: PgInstances
  /** Channel on which broadcasts of a type travel. */
  readonly channelOf: (type: string) => string
  /** Begins to hear a channel; resolves when it does. */
  readonly hear: (channel: string) => Promise<void>
  readonly deafen: (channel: string) => Promise<void>
  /** An answer may come soon. */
  readonly onAsked: () => void
}

/** One sink with the types it takes. */
interface Listener {
  readonly kind: ListenKind
  readonly types: readonly string[]
  readonly sink: LightSink
}

/** A note that waits to be sent. */
interface Waiting {
  readonly note: LightNote
  readonly resolve: () => void
  readonly reject: (error: unknown) => void
}

/**
 * Broadcasts, questions and answers as notifications, and as rows where they are too large or the other side cannot listen. What is
 * sent while one statement is on its way shares the next one.
 */
export class PgLight implements LightPlane {
  readonly #listeners = new Set<Listener>()
  #backing: LightBacking | undefined
  #onReply: (token: string, reply: LightReply) => void = () => {}
  readonly #waiting: Waiting[] = []
  #isScheduled = false
  #isSending = false
  #nonce = 0
  #turn = 0
  /** Messages that are too large for a notification are read one after the other, so that the order of a sender stays. */
  #reading: Promise<void> = Promise.resolve()
  #readings = 0

  /** Connects the plane to an opened database. */
  attach(backing: LightBacking): void {
    this.#backing = backing
  }

  /** Forgets the database and every listener; what waits to be sent is given up. */
  detach(): void {
    this.#backing = undefined
    this.#listeners.clear()
    for (const { reject } of this.#waiting.splice(0)) reject(lost('the transport was closed'))
  }

  get address(): string {
    return this.#backing?.address ?? ''
  }

  /** What this instance listens to, to be entered again after it was put out. */
  get listens(): readonly { readonly kind: ListenKind; readonly type: string }[] {
    return [...this.#listeners].flatMap(({ kind, types }) => types.map((type) => ({ kind, type })))
  }

  onReply(sink: (token: string, reply: LightReply) => void): void {
    this.#onReply = sink
  }

  replyAddress(token: string): string {
    return `${this.address}/${token}`
  }

  broadcast(message: WireMessage): Promise<void> {
    return this.#send({ kind: 'broadcast', target: message.type, replyTo: '', message })
  }

  request(message: WireMessage, token: string, to?: string): Promise<void> {
    return this.#send({ kind: 'request', target: message.type, replyTo: this.replyAddress(token), message, to })
  }

  reply(replyTo: string, message: WireMessage): Promise<void> {
    return this.#send({ kind: 'reply', target: splitReplyTo(replyTo).address, replyTo, message })
  }

  onBroadcast(types: readonly string[], sink: LightSink): Promise<LightSubscription> {
    return this.#listen({ kind: 'broadcast', types: [...new Set(types)], sink })
  }

  onRequest(type: string, sink: LightSink): Promise<LightSubscription> {
    return this.#listen({ kind: 'request', types: [type], sink })
  }

  /** A notification came in. */
  readonly heard = (payload: string): void => {
    const arrival = arrivalFrom(payload)
    if (arrival === undefined) return
    const { row } = arrival
    if (row !== undefined) this.#read(() => this.#opened('read').rows.read([row]))
    else if (this.#readings > 0) this.#read(undefined, arrival)
    else this.#arrived(arrival)
  }

  /** Takes what stands in the inbox; true where there was something. */
  async take(): Promise<boolean> {
    const { link, rows, address } = this.#opened('read')
    const taken = await link.run(rows.take(address, NOTES_MAX))
    this.#rowsArrived(taken)
    return taken.length > 0
  }

  #send(note: LightNote): Promise<void> {
    this.#opened('send')
    return new Promise((resolve, reject) => {
      this.#waiting.push({ note, resolve, reject })
      if (this.#isScheduled || this.#isSending) return
      this.#isScheduled = true
      queueMicrotask(() => {
        this.#isScheduled = false
        void this.#work()
      })
    })
  }

  async #work(): Promise<void> {
    if (this.#isSending) return
    this.#isSending = true
    while (this.#waiting.length > 0 && this.#backing !== undefined) await this.#flush(this.#backing, this.#batch())
    this.#isSending = false
  }

  #batch(): readonly Waiting[] {
    let bytes = 0
    let count = 0
    while (count < this.#waiting.length && count < NOTES_MAX && bytes < BYTES_MAX) bytes += this.#waiting[count++]?.note.message?.body.byteLength ?? 0
    return this.#waiting.splice(0, count)
  }

  async #flush(backing: LightBacking, batch: readonly Waiting[]): Promise<void> {
    const { link, rows, channelOf, onAsked } = backing
    const notes = batch.map(({ note }) => note)
    const nonce = this.#nonce
    this.#nonce += notes.length
    try {
      const channels = notes.map(({ kind, target }) => (kind === 'broadcast' ? channelOf(target) : ''))
      const answer = await link.run(rows.send(notes, nonce, channels))
      if (notes.some(({ kind }) => kind === 'request')) onAsked()
      for (const { resolve } of batch) resolve()
      for (const place of unansweredFrom(answer)) this.#guarded(() => this.#onReply(splitReplyTo(notes[place]?.replyTo ?? '').token, { kind: 'no-responder' }))
    } catch (thrown) {
      // One that the database refuses must not take its neighbours along.
      if (!isPassing(thrown) && batch.length > 1) for (const each of batch) await this.#flush(backing, [each])
      // Without durability nothing is sent twice: the database may have taken it.
      else for (const { reject } of batch) reject(asLost(thrown))
    }
  }

  async #listen(listener: Listener): Promise<LightSubscription> {
    const backing = this.#opened('listen')
    this.#listeners.add(listener)
    try {
      const { kind, types } = listener
      if (kind === 'broadcast') for (const type of types) await backing.hear(backing.channelOf(type))
      const instanceId = backing.instanceId()
      // While the instance is being entered again, so is what it listens to.
      if (instanceId !== undefined) await backing.link.run(backing.instances.listen(instanceId, types.map((type) => ({ kind, type }))))
    } catch (thrown) {
      await this.#unlisten(listener)
      throw asLost(thrown)
    }
    return new PgLightSubscription(() => this.#unlisten(listener))
  }

  async #unlisten(listener: Listener): Promise<void> {
    this.#listeners.delete(listener)
    const backing = this.#backing
    if (backing === undefined) return
    const { kind } = listener
    const unheard = listener.types.filter((type) => this.#sinks(kind, type).length === 0)
    const instanceId = backing.instanceId()
    try {
      if (unheard.length > 0 && instanceId !== undefined) await backing.link.run(backing.instances.unlisten(instanceId, kind, unheard))
    } catch {
      // The rows go with the instance; until then what comes for them is dropped.
    }
    if (kind === 'broadcast') for (const type of unheard) await backing.deafen(backing.channelOf(type))
  }

  #opened(operation: string): LightBacking {
    if (this.#backing === undefined) throw new TrunklineError('bus.not_running', { operation, state: 'closed' })
    return this.#backing
  }

  #read(step: (() => ReturnType<PgLightRows['read']>) | undefined, arrival?: LightArrival): void {
    this.#readings++
    this.#reading = this.#reading.then(async () => {
      try {
        if (step !== undefined && this.#backing !== undefined) this.#rowsArrived(await this.#backing.link.run(step()))
        if (arrival !== undefined) this.#arrived(arrival)
      } catch {
        // It is gone, as light messages may be.
      } finally {
        this.#readings--
      }
    })
  }

  #rowsArrived(rows: readonly PgRow[]): void {
    for (const row of rows) {
      const arrival = arrivalFromRow(row)
      if (arrival !== undefined) this.#arrived(arrival)
    }
  }

  #arrived({ kind, replyTo, message }: LightArrival): void {
    const { token } = splitReplyTo(replyTo)
    if (kind === 'none') this.#guarded(() => this.#onReply(token, { kind: 'no-responder' }))
    else if (message === undefined) return
    else if (kind === 'reply') this.#guarded(() => this.#onReply(token, { kind: 'reply', message }))
    else if (kind === 'request') this.#ask(message, replyTo)
    else for (const sink of this.#sinks('broadcast', message.type)) this.#guarded(() => sink({ message, replyTo: undefined }))
  }

  #ask(message: WireMessage, replyTo: string): void {
    const sinks = this.#sinks('request', message.type)
    const sink = sinks[this.#turn++ % Math.max(1, sinks.length)]
    if (sink !== undefined) this.#guarded(() => sink({ message, replyTo }))
    // It came while the last answering subscription was being closed.
    else void this.#send({ kind: 'none', target: splitReplyTo(replyTo).address, replyTo, message: undefined }).catch(() => undefined)
  }

  /** What one sink throws must reach neither the next sink nor the client. */
  #guarded(call: () => void): void {
    try {
      call()
    } catch (thrown) {
      this.#backing?.host.logger.error({ problem: errorText(thrown) }, 'a light-plane sink threw')
    }
  }

  #sinks(kind: ListenKind, type: string): readonly LightSink[] {
    const sinks: LightSink[] = []
    for (const listener of this.#listeners) if (listener.kind === kind && listener.types.includes(type)) sinks.push(listener.sink)
    return sinks
  }
}

class PgLightSubscription implements LightSubscription {
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

/** Splits an address with a token, as `replyTo` holds it. */
function splitReplyTo(replyTo: string): { readonly address: string; readonly token: string } {
  const slash = replyTo.lastIndexOf('/')
  return { address: replyTo.slice(0, Math.max(slash, 0)), token: replyTo.slice(slash + 1) }
}
