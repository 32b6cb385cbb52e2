import type { WireMessage } from '../../core/envelope.ts'
import type { DeadLetterRecord, TransportHost } from '../../bus/port.ts'
import { encodeDeadLetterRecord } from '../../bus/protocol/dead-letter-record.ts'
import { readHoldEntry, writeHoldEntry } from '../../bus/protocol/hold-entry.ts'
import type { FollowerEntry, HeadEntry, Lane, LaneBacking, Lanes } from '../../bus/protocol/lane-port.ts'
import type { RabbitChannel, RabbitConnection, RabbitMessage, RabbitPublishOptions, RabbitTable } from './rabbitmq-client.ts'
import { answered, closed } from './rabbitmq-deadline.ts'
import type { RabbitHealth } from './rabbitmq-health.ts'
import { RabbitIntake } from './rabbitmq-intake.ts'
import { contentOf, copyOptionsOf, messageOf, publishOptionsOf, textOf } from './rabbitmq-message.ts'
import { DEAD_HEADERS } from './rabbitmq-mover.ts'
import type { RabbitNames } from './rabbitmq-names.ts'
import { connectionLost, problemText } from './rabbitmq-problem.ts'
import type { RabbitPublisher } from './rabbitmq-publisher.ts'
import { LANE_PREFETCH } from './rabbitmq-queues.ts'
import type { Kind } from './rabbitmq-topology.ts'

/** Everything in a hold list is with its owner at once; this is all that AMQP can express. */
const HOLD_PREFETCH = 65_535
/** Entries whose ids are remembered, so that one which was sent twice is recognised when it comes the second time. */
const REMEMBERED_MAX = 1_000
/** On the message that an owner sends itself through the hold list: all that came before it was there before. */
const MARKER = 'trunkline-hold-marker'
/** Longest that the broker may wait for the ack of what a lane holds, in milliseconds; servers that know no such setting of a consumer use their own. */
const HOLD_ACK_WAIT_MS = 2_147_000_000

/** What one owned lane works with. */
export interface LanePlan {
  readonly number: number
  readonly kind: Kind
  readonly group: string
  /** The lane's queue. */
  readonly queue: string
  readonly names: RabbitNames
  readonly host: TransportHost
  readonly health: RabbitHealth
  readonly publisher: RabbitPublisher
  readonly commandTimeoutMs: number
  readonly lanes: Lanes
  /** Declares the group's queues again, where one was deleted. */
  readonly repair: () => Promise<void>
  /** The lane ended by itself. Called once, and not after `close`. */
  readonly ended: (problem: string) => void
}

/**
 * One lane that this process owns: carries its messages, its hold list and its acks between broker and engine.
 *
 * The order rests on two facts about quorum queues, which tests show on 3.10: messages that a vanished consumer had come
 * back in the order in which it had them, before all that were never given out; and a new consumer gets all of them at once
 * when its prefetch allows. So the hold list is consumed whole, and the lane with a prefetch that no version lowers.
 */
export class RabbitLane implements LaneBacking {
  readonly #plan: LanePlan
  readonly #lane: Lane
  readonly #hold: string
  readonly #title: string
  /** What messages looked like on the wire, so that copies keep foreign headers too. */
  readonly #raws = new WeakMap<WireMessage, RabbitMessage>()
  readonly #remembered = new Set<string>()
  readonly #ended = new AbortController()
  #holdChannel: RabbitChannel | undefined
  #holdIntake: RabbitIntake | undefined
  #liveChannel: RabbitChannel | undefined
  #liveIntake: RabbitIntake | undefined
  /** Entries are stored one after the other: the broker could refuse one and take the next. */
  #appending: Promise<unknown> = Promise.resolve()
  #syncing: Promise<void> | undefined
  /** Live messages that came during `pauseLive`; as many as the prefetch. */
  #waiting: RabbitMessage[] | undefined

  constructor(plan: LanePlan) {
    this.#plan = plan
    this.#hold = plan.names.hold(plan.queue)
    this.#title = `lane ${plan.number} of ${plan.group}`
    this.#lane = plan.lanes.open({ number: plan.number, liveMax: LANE_PREFETCH, backing: this })
  }

  /** Reads the hold list and then takes messages. Rejects where that fails; then the lane is ended. */
  async open(connection: RabbitConnection): Promise<void> {
    try {
      await this.#inTime(this.#recover(connection))
      this.#lane.recovered()
      await this.#inTime(this.#consume(connection))
    } catch (error) {
      await this.end()
      throw error
    }
  }

  /** Finishes what runs, until `signal` aborts, and ends. */
  async close(signal: AbortSignal): Promise<void> {
    await this.#lane.close(signal)
    await this.end()
  }

  /** Ends at once; what is unacked is with the broker again when this has resolved. Never rejects. */
  async end(): Promise<void> {
    if (this.#ended.signal.aborted) return
    this.#ended.abort()
    this.#lane.lost()
    this.#liveIntake?.flush()
    this.#holdIntake?.flush()
    this.#liveIntake?.lose()
    this.#holdIntake?.lose()
    this.#plan.health.well(this.#title)
    // Not cancelled first: a cancelled consumer keeps its messages, and they would come back in two parts.
    await Promise.all([this.#liveChannel, this.#holdChannel].map((channel) => this.#closed(channel)))
  }

  append(entry: HeadEntry | FollowerEntry): Promise<undefined> {
    const headers: Record<string, string> = {}
    writeHoldEntry(entry, (name, value) => {
      headers[name] = value
    })
    const stored = this.#appending.then(() => this.#send(this.#hold, entry.message, headers))
    // A refusal ends the lane; until then nothing may be stored behind the hole.
    this.#appending = stored
    stored.catch(() => undefined)
    return stored.then(() => undefined)
  }

  storeDeadLetter(id: string, message: WireMessage, record: DeadLetterRecord): Promise<void> {
    const { host, group, kind, names, queue } = this.#plan
    return this.#send(names.dead, message, {
      [DEAD_HEADERS.id]: id,
      [DEAD_HEADERS.order]: host.random.id(host.clock.nowMs()),
      [DEAD_HEADERS.group]: group,
      [DEAD_HEADERS.kind]: kind,
      [DEAD_HEADERS.queue]: queue,
      [DEAD_HEADERS.hold]: this.#hold,
      [DEAD_HEADERS.record]: encodeDeadLetterRecord(record),
    })
  }

  pauseLive(): void {
    this.#waiting ??= []
  }

  resumeLive(): void {
    const waiting = this.#waiting ?? []
    this.#waiting = undefined
    for (const raw of waiting) this.#handLive(raw)
  }

  degraded(reason: string | undefined): void {
    if (reason === undefined) this.#plan.health.well(this.#title)
    else this.#plan.health.ill(this.#title, 'degraded', reason)
  }

  giveUp(problem: unknown): void {
    this.#fail(problemText(problem))
  }

  #fail(problem: string): void {
    if (this.#ended.signal.aborted) return
    void this.end().then(() => this.#plan.ended(problem))
  }

  /** A step of taking over, which ends early where the lane does. */
  async #inTime(step: Promise<void>): Promise<void> {
    const { host, commandTimeoutMs } = this.#plan
    const ended = Promise.withResolvers<never>()
    const end = (): void => ended.reject(connectionLost('its channel ended'))
    this.#ended.signal.addEventListener('abort', end, { once: true })
    try {
      await answered(host.clock, Promise.race([step, ended.promise]), commandTimeoutMs, `taking ${this.#title} over`)
    } finally {
      this.#ended.signal.removeEventListener('abort', end)
    }
  }

  async #recover(connection: RabbitConnection): Promise<void> {
    const channel = await this.#channel(connection)
    this.#holdChannel = channel
    const intake = new RabbitIntake(channel, this.#plan.host.clock)
    this.#holdIntake = intake
    const { host } = this.#plan
    const marker = host.random.id(host.clock.nowMs())
    const isRead = Promise.withResolvers<void>()
    await this.#plan.publisher.send({
      exchange: '',
      routingKey: this.#hold,
      content: Buffer.alloc(0),
      options: { persistent: true, mandatory: true, messageId: marker, headers: { [MARKER]: marker } },
      type: 'marker',
      id: marker,
      signal: this.#ended.signal,
      repair: this.#plan.repair,
    })
    await channel.prefetch(HOLD_PREFETCH)
    await channel.consume(this.#hold, (raw) => this.#guarded(raw, intake, (found) => this.#takeHeld(found, intake, marker, isRead.resolve)), {
      arguments: { 'x-consumer-timeout': HOLD_ACK_WAIT_MS },
    })
    // Counting the entries first would not do: while a queue starts, RabbitMQ says that it has none.
    await isRead.promise
  }

  async #consume(connection: RabbitConnection): Promise<void> {
    const channel = await this.#channel(connection)
    this.#liveChannel = channel
    const intake = new RabbitIntake(channel, this.#plan.host.clock)
    this.#liveIntake = intake
    await channel.prefetch(LANE_PREFETCH)
    await channel.consume(this.#plan.queue, (raw) => this.#guarded(raw, intake, (found) => this.#takeLive(found)), {
      arguments: { 'x-consumer-timeout': HOLD_ACK_WAIT_MS },
    })
  }

  async #channel(connection: RabbitConnection): Promise<RabbitChannel> {
    const channel = await connection.createChannel()
    channel.on('error', (error) => this.#fail(problemText(error)))
    channel.on('close', () => this.#fail('the channel was closed'))
    if (this.#ended.signal.aborted) await this.#closed(channel)
    return channel
  }

  /** Nothing that goes wrong here may reach amqplib's reader. */
  #guarded(raw: RabbitMessage | null, intake: RabbitIntake, take: (raw: RabbitMessage) => void): void {
    if (this.#ended.signal.aborted) return
    try {
      if (raw === null) this.#fail('the broker ended the consumer')
      else {
        intake.took(raw)
        take(raw)
      }
    } catch (error) {
      this.#fail(problemText(error))
    }
  }

  #takeHeld(raw: RabbitMessage, intake: RabbitIntake, marker: string, recovered: () => void): void {
    const header = (name: string): string | undefined => textOf(raw.properties.headers?.[name])
    const mark = header(MARKER)
    if (mark !== undefined) {
      intake.ack(raw)
      if (mark === marker) recovered()
      return
    }
    const message = messageOf(raw)
    const entry = readHoldEntry(header, message)
    if (entry === undefined) {
      this.#plan.host.logger.warn({ group: this.#plan.group, lane: this.#plan.number }, 'an entry of the hold list cannot be read; it stays')
      return
    }
    this.#raws.set(message, raw)
    // Sent again because the link broke before its confirm came.
    if (this.#isRemembered(entry.id)) intake.ack(raw)
    else this.#lane.onHeld(entry, { remove: () => this.#remove(raw, intake) })
  }

  #isRemembered(id: string): boolean {
    if (this.#remembered.has(id)) return true
    this.#remembered.add(id)
    const [oldest] = this.#remembered
    if (this.#remembered.size > REMEMBERED_MAX && oldest !== undefined) this.#remembered.delete(oldest)
    return false
  }

  #takeLive(raw: RabbitMessage): void {
    if (this.#waiting === undefined) this.#handLive(raw)
    else this.#waiting.push(raw)
  }

  #handLive(raw: RabbitMessage): void {
    const intake = this.#liveIntake
    if (intake === undefined || intake.isLost) return
    const message = messageOf(raw)
    this.#raws.set(message, raw)
    this.#lane.onLive({
      message,
      // The broker counts how often a message was given out, also where it only waited beside another.
      attempt: 0,
      isSuspect: raw.fields.redelivered,
      ack: () => {
        intake.ack(raw)
        return Promise.resolve()
      },
    })
  }

  #remove(raw: RabbitMessage, intake: RabbitIntake): Promise<void> {
    intake.ack(raw)
    return this.#synced(intake)
  }

  /**
   * Resolves when the broker has applied the acks sent so far. Acks have no answer, and entries are appended on another
   * connection: without this an append could overtake the removal before it.
   */
  #synced(intake: RabbitIntake): Promise<void> {
    this.#syncing ??= new Promise<void>((resolve, reject) => {
      this.#plan.host.clock.defer(() => {
        this.#syncing = undefined
        const channel = this.#holdChannel
        if (channel === undefined || intake.isLost) return
        intake.flush()
        channel.checkQueue(this.#hold).then(() => resolve(), reject)
      })
    })
    return this.#syncing
  }

  async #send(queue: string, message: WireMessage, headers: RabbitTable): Promise<void> {
    const raw = this.#raws.get(message)
    const options: RabbitPublishOptions = raw === undefined ? withHeaders(publishOptionsOf(message, true), headers) : copyOptionsOf(raw, headers)
    await this.#plan.publisher.send({
      exchange: '',
      routingKey: queue,
      content: contentOf(message.body),
      options,
      type: message.type,
      id: message.id,
      signal: this.#ended.signal,
      repair: this.#plan.repair,
    })
  }

  async #closed(channel: RabbitChannel | undefined): Promise<void> {
    if (channel !== undefined) await closed(this.#plan.host.clock, channel, this.#plan.commandTimeoutMs)
  }
}

function withHeaders(options: RabbitPublishOptions, headers: RabbitTable): RabbitPublishOptions {
  return { ...options, headers: { ...options.headers, ...headers } }
}
