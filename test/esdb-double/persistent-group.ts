import { status, type ServerDuplexStream } from '@grpc/grpc-js'
import type { ReadReq, ReadResp } from '@eventstore/db-client/generated/persistent_pb.js'
import { exception, type Faults } from './faults.ts'
import type { DoubleLog, Recorded } from './log.ts'
import { type Filter, persistentRecordOf } from './messages.ts'
import { persistent, shared } from './protos.ts'

/** What a persistent subscription is made with. */
export interface GroupSettings {
  readonly stream: string
  readonly group: string
  /** Revision, or position for `$all`, behind which it begins; -1 for everything. */
  readonly after: string
  readonly prefixes: readonly string[]
  readonly regex: string
  readonly filtersTypes: boolean
  readonly maxRetryCount: number
  readonly messageTimeoutMs: number
  readonly maxSubscribers: number
  readonly checkpointMin: number
  readonly checkpointMax: number
  readonly checkpointAfterMs: number
}

interface Waiting {
  readonly event: Recorded
  readonly link: Recorded | undefined
  readonly retryCount: number
}

interface InFlight extends Waiting {
  readonly consumer: Consumer
  readonly timer: NodeJS.Timeout
}

interface Consumer {
  readonly call: ServerDuplexStream<ReadReq, ReadResp>
  readonly slots: number
  used: number
}

/** What a server writes as the name of a group's own streams. */
export function groupStream({ stream, group }: Pick<GroupSettings, 'stream' | 'group'>, part: 'checkpoint' | 'parked'): string {
  return `$persistentsubscription-${stream}::${group}-${part}`
}

/** One persistent subscription: competing consumers, retries, parked messages, a checkpoint in the log. */
export class PersistentGroup {
  readonly settings: GroupSettings
  readonly #log: DoubleLog
  readonly #faults: Faults
  readonly #passes: Filter
  readonly #consumers: Consumer[] = []
  readonly #inFlight = new Map<string, InFlight>()
  readonly #retries: Waiting[] = []
  readonly #stopListening: () => void
  #after: bigint
  #index = 0
  #checkpoint: bigint
  #acked = 0
  #checkpointTimer: NodeJS.Timeout | undefined
  #turn = 0

  constructor(settings: GroupSettings, log: DoubleLog, faults: Faults) {
    this.settings = settings
    this.#log = log
    this.#faults = faults
    this.#passes = filterFor(settings)
    const stored = log.eventsOf(groupStream(settings, 'checkpoint')).at(-1)
    this.#after = stored === undefined ? BigInt(settings.after) : BigInt(JSON.parse(Buffer.from(stored.data).toString()))
    this.#checkpoint = this.#after
    this.#stopListening = log.onAppended(() => this.push())
  }

  get consumerCount(): number {
    return this.#consumers.length
  }

  get inFlightCount(): number {
    return this.#inFlight.size
  }

  get retryCount(): number {
    return this.#retries.length
  }

  get checkpoint(): bigint {
    return this.#checkpoint
  }

  get parkedCount(): number {
    return this.#log.eventsOf(groupStream(this.settings, 'parked')).length
  }

  /** Takes a consumer in; false where there are too many. */
  join(call: ServerDuplexStream<ReadReq, ReadResp>, slots: number): Consumer | undefined {
    const { maxSubscribers } = this.settings
    if (maxSubscribers > 0 && this.#consumers.length >= maxSubscribers) return undefined
    const consumer: Consumer = { call, slots: Math.max(1, slots), used: 0 }
    this.#consumers.push(consumer)
    const confirmation = new persistent.ReadResp.SubscriptionConfirmation().setSubscriptionId(crypto.randomUUID())
    call.write(new persistent.ReadResp().setSubscriptionConfirmation(confirmation))
    this.push()
    return consumer
  }

  /** A consumer is gone: what it had in hand goes to others, and has been tried once more. */
  leave(consumer: Consumer): void {
    const at = this.#consumers.indexOf(consumer)
    if (at < 0) return
    this.#consumers.splice(at, 1)
    const lost = [...this.#inFlight.values()].filter((one) => one.consumer === consumer)
    for (const one of lost) this.#retry(one)
    this.push()
  }

  ack(ids: readonly string[]): void {
    for (const id of ids) {
      if (this.#take(id) !== undefined) this.#acked++
    }
    this.#mark(false)
    this.push()
  }

  nack(ids: readonly string[], action: 'unknown' | 'park' | 'retry' | 'skip' | 'stop'): void {
    for (const id of ids) {
      const one = this.#inFlight.get(id)
      if (one === undefined) continue
      if (action === 'retry' || action === 'unknown') this.#retry(one)
      else if (action === 'park') this.#park(one)
      else this.#take(id)
    }
    this.#mark(false)
    this.push()
  }

  /** Gives the parked messages out again. */
  replayParked(stopAt: number | undefined): void {
    const parked = groupStream(this.settings, 'parked')
    const links = this.#log.eventsOf(parked).slice(0, stopAt)
    for (const link of links) {
      const [revision = '', ...stream] = Buffer.from(link.data).toString().split('@')
      const event = this.#log.eventsOf(stream.join('@')).find((one) => `${one.revision}` === revision)
      if (event !== undefined) this.#retries.push({ event, link, retryCount: 0 })
    }
    const last = links.at(-1)
    if (last !== undefined) {
      this.#log.append(`$$${parked}`, 'any', [systemEvent('$metadata', `{"$tb":${last.revision + 1n}}`)])
    }
    this.push()
  }

  /** Ends all consumers. */
  end(name: 'persistent-subscription-dropped' | 'persistent-subscription-does-not-exist'): void {
    this.#stopListening()
    clearTimeout(this.#checkpointTimer)
    for (const { timer } of this.#inFlight.values()) clearTimeout(timer)
    const { stream, group } = this.settings
    const code = name === 'persistent-subscription-dropped' ? status.CANCELLED : status.NOT_FOUND
    for (const { call } of this.#consumers.splice(0)) call.emit('error', exception(code, name, { 'stream-name': stream, 'group-name': group }))
  }

  /** Ends without a word, as a server's death does. */
  abandon(): void {
    this.#stopListening()
    clearTimeout(this.#checkpointTimer)
    for (const { timer } of this.#inFlight.values()) clearTimeout(timer)
  }

  /** Hands out what there is room for. */
  push(): void {
    for (;;) {
      const consumer = this.#nextConsumer()
      if (consumer === undefined) return
      const waiting = this.#next()
      if (waiting === undefined) return
      // A second message with the id of one in flight is skipped, as a server does.
      if (!this.#inFlight.has(idOf(waiting))) this.#send(consumer, waiting)
    }
  }

  #send(consumer: Consumer, waiting: Waiting): void {
    consumer.used++
    const timer = setTimeout(() => {
      const one = this.#inFlight.get(idOf(waiting))
      if (one !== undefined) this.#retry(one)
      this.push()
    }, this.settings.messageTimeoutMs)
    this.#inFlight.set(idOf(waiting), { ...waiting, consumer, timer })
    const read = new persistent.ReadResp.ReadEvent()
    read.setEvent(persistentRecordOf(waiting.event))
    if (waiting.link !== undefined) read.setLink(persistentRecordOf(waiting.link))
    read.setCommitPosition(`${waiting.event.position}`)
    if (waiting.retryCount === 0) read.setNoRetryCount(new shared.Empty())
    else read.setRetryCount(waiting.retryCount)
    void this.#faults.thawed().then(() => consumer.call.write(new persistent.ReadResp().setEvent(read)))
  }

  #nextConsumer(): Consumer | undefined {
    for (let tries = 0; tries < this.#consumers.length; tries++) {
      this.#turn = (this.#turn + 1) % this.#consumers.length
      const consumer = this.#consumers[this.#turn]
      if (consumer !== undefined && consumer.used < consumer.slots) return consumer
    }
    return undefined
  }

  #next(): Waiting | undefined {
    const retry = this.#retries.shift()
    if (retry !== undefined) return retry
    const isAll = this.settings.stream === '$all'
    const events = isAll ? this.#log.all : this.#log.eventsOf(this.settings.stream)
    const numberOf = (event: Recorded | undefined): bigint | undefined => (isAll ? event?.position : event?.revision)
    if (numberOf(events[this.#index - 1]) !== this.#after) this.#index = 0
    while (this.#index < events.length) {
      const event = events[this.#index]
      this.#index++
      const number = numberOf(event)
      if (event === undefined || number === undefined || number <= this.#after) continue
      this.#after = number
      if (this.#passes(event)) return { event, link: undefined, retryCount: 0 }
    }
    return undefined
  }

  #take(id: string): InFlight | undefined {
    const one = this.#inFlight.get(id)
    if (one === undefined) return undefined
    this.#inFlight.delete(id)
    clearTimeout(one.timer)
    one.consumer.used--
    return one
  }

  #retry(one: InFlight): void {
    this.#take(idOf(one))
    if (one.retryCount >= this.settings.maxRetryCount) this.#park(one)
    else this.#retries.push({ event: one.event, link: one.link, retryCount: one.retryCount + 1 })
  }

  #park(one: Waiting): void {
    this.#take(idOf(one))
    const link = { ...systemEvent('$>', `${one.event.revision}@${one.event.stream}`), contentType: 'application/octet-stream' }
    this.#log.append(groupStream(this.settings, 'parked'), 'any', [link])
  }

  /** Writes down how far everything was handled, now and then. */
  #mark(isDue: boolean): void {
    if (this.#acked === 0) return
    const isNow = isDue ? this.#acked >= this.settings.checkpointMin : this.#acked >= this.settings.checkpointMax
    if (isNow) {
      const isAll = this.settings.stream === '$all'
      const open = [...this.#inFlight.values(), ...this.#retries].map(({ event, link }) => (link === undefined ? (isAll ? event.position : event.revision) - 1n : this.#after))
      this.#checkpoint = open.reduce((lowest, one) => (one < lowest ? one : lowest), this.#after)
      this.#acked = 0
      this.#log.append(groupStream(this.settings, 'checkpoint'), 'any', [systemEvent('SubscriptionCheckpoint', `"${this.#checkpoint}"`)])
    }
    this.#checkpointTimer ??= setTimeout(() => {
      this.#checkpointTimer = undefined
      this.#mark(true)
    }, this.settings.checkpointAfterMs)
    this.#checkpointTimer.unref()
  }
}

/** An event that the server writes itself. */
export function systemEvent(type: string, json: string): { id: string; type: string; contentType: string; metadata: Uint8Array; data: Uint8Array } {
  return { id: crypto.randomUUID(), type, contentType: 'application/json', metadata: new Uint8Array(0), data: Buffer.from(json) }
}

function idOf({ event, link }: Waiting): string {
  return link?.id ?? event.id
}

function filterFor({ prefixes, regex, filtersTypes }: GroupSettings): Filter {
  const textOf = (event: Recorded): string => (filtersTypes ? event.type : event.stream)
  if (prefixes.length > 0) return (event) => prefixes.some((prefix) => textOf(event).startsWith(prefix))
  if (regex === '') return () => true
  const pattern = new RegExp(regex)
  return (event) => pattern.test(textOf(event))
}
