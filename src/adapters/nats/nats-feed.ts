import { encodeDeadLetterRecord } from '../../bus/protocol/dead-letter-record.ts'
import type { DeadLetterRecord, TransportHost } from '../../bus/port.ts'
import { escapeHeader } from '../../contract/wire.ts'
import { errorText } from '../../core/errors.ts'
import { BACKOFF_DELAY_MIN_MS } from '../../core/limits.ts'
import type { NatsAttempts } from './nats-attempts.ts'
import { NatsDelivery, type Outcomes } from './nats-delivery.ts'
import { originalLines, parseHeaders, type Headers } from './nats-headers.ts'
import type { NatsLink } from './nats-link.ts'
import { messageFrom } from './nats-message.ts'
import type { NatsNames } from './nats-names.ts'
import { isWrongSequence, type NatsPublisher } from './nats-publisher.ts'
import type { Beating, NatsPulse } from './nats-pulse.ts'
import { NatsPuller, type Pulled, type PullTarget } from './nats-puller.ts'
import type { ConsumerPlan, NatsTopology } from './nats-topology.ts'

const ACK = Buffer.from('+ACK')
const WORKING = Buffer.from('+WPI')
const NANOSECONDS = 1_000_000
/** Wait before a delivery comes again whose outcome the server refused to store. */
const REFUSED_DELAY_MS = 30_000

/** What all feeds of a transport share. */
export interface FeedParts {
  readonly link: NatsLink
  readonly host: TransportHost
  readonly names: NatsNames
  readonly topology: NatsTopology
  readonly publisher: NatsPublisher
  readonly pulse: NatsPulse
  readonly attempts: NatsAttempts
}

/** One consumer of one group and type: the messages themselves, or those that wait for another attempt. */
export interface FeedPlan {
  readonly consumer: ConsumerPlan
  readonly kind: 'event' | 'command'
  /** The group, as text and as a token. */
  readonly group: string
  readonly groupToken: string
  readonly type: string
  readonly windowMax: number
  readonly onDelivery: (delivery: NatsDelivery) => void
  /** A delivery was settled. */
  readonly onSettled: () => void
}

/** What is known of a message that is about to be handed out. */
interface Known {
  readonly headers: Headers
  readonly begun: number
  readonly isSuspect: boolean
  readonly isRedriven: boolean
  readonly hasRecord: boolean
}

/**
 * Turns what a consumer delivers into deliveries and their outcomes into stored messages and acks.
 *
 * A failed attempt is copied into the retry stream and then acked, so that what waits never takes room from what is
 * healthy. The copy is given back to the server with the remaining time ("nak with delay") until it is due.
 */
export class NatsFeed implements PullTarget, Outcomes, Beating {
  readonly #parts: FeedParts
  readonly #plan: FeedPlan
  readonly #puller: NatsPuller
  readonly #isRetry: boolean
  readonly #held = new Map<number, NatsDelivery | undefined>()
  readonly #beatsPerSign: number
  /** Highest stream sequence that was delivered here, or acked before this process came. */
  #lastSeq = 0
  /** When the stream was made that `#lastSeq` counts in. */
  #madeAt: string | undefined

  constructor(parts: FeedParts, plan: FeedPlan) {
    this.#parts = parts
    this.#plan = plan
    this.#isRetry = plan.consumer.stream === parts.names.streams.retry
    this.#beatsPerSign = parts.pulse.beatsIn(plan.consumer.ackWaitMs / 3) // N-14
    this.#puller = new NatsPuller(parts.link, parts.pulse, plan.consumer, plan.windowMax, this)
  }

  /** Makes sure that the consumer exists. */
  async prepare(): Promise<void> {
    const state = await this.#parts.topology.ensureConsumer(this.#plan.consumer)
    this.#lastSeq = Math.max(this.#lastSeq, state.ackFloorSeq)
    this.#madeAt = await this.#parts.topology.streamMadeAt(this.#plan.consumer.stream)
  }

  start(): void {
    this.#puller.start()
    this.#parts.pulse.add(this)
  }

  /** Ends pulling; deliveries in hand stay valid. */
  async stop(): Promise<void> {
    await this.#puller.stop()
  }

  /** Shows no more signs of life for what is still in hand: it goes to other instances after the ack wait. */
  abandon(): void {
    this.#parts.pulse.remove(this)
  }

  onBeat(): void {
    for (const delivery of this.#held.values()) {
      if (delivery === undefined) continue
      delivery.beats += 1
      if (delivery.beats < this.#beatsPerSign) continue
      delivery.beats = 0
      this.#parts.link.signal(delivery.reply, WORKING)
    }
  }

  /** N-22: a consumer that was deleted starts again behind everything that is settled, never with "new". */
  async restore(): Promise<void> {
    let resumeFromSeq = this.#lastSeq + 1
    for (const held of this.#held.keys()) resumeFromSeq = Math.min(resumeFromSeq, held)
    const { topology } = this.#parts
    const { stream } = this.#plan.consumer
    await topology.ensureConsumer(this.#plan.consumer, resumeFromSeq, this.#madeAt)
    const madeAt = await topology.streamMadeAt(stream)
    if (madeAt !== this.#madeAt) this.#lastSeq = 0
    this.#madeAt = madeAt
  }

  onPulled(pulled: Pulled): void {
    const { streamSeq, reply } = pulled
    if (this.#held.has(streamSeq)) {
      // It came again while it is in hand: the newest reply subject is the one that counts.
      const delivery = this.#held.get(streamSeq)
      if (delivery !== undefined) delivery.reply = reply
      this.#puller.release()
      return
    }
    if (streamSeq > this.#lastSeq) this.#lastSeq = streamSeq
    if (this.#isRetry) this.#onRetryPulled(pulled)
    else if (pulled.deliveryCount > 1 && !this.#wasGivenBack(pulled)) this.#takeSuspect(pulled, 0, false)
    else this.#hand(pulled, { headers: parseHeaders(pulled.text), begun: 0, isSuspect: false, isRedriven: false, hasRecord: false })
  }

  /** Records the attempt that begins, so that the death of this process counts it. */
  async recordBegun(delivery: NatsDelivery): Promise<void> {
    await this.#parts.attempts.record(this.#plan.groupToken, this.#plan.consumer.stream, delivery.streamSeq, delivery.attempt)
  }

  ack(delivery: NatsDelivery): void {
    this.#parts.link.signal(delivery.reply, ACK)
    this.#letGo(delivery)
  }

  /** Stores the delivery for later with `attempts` begun, then acks it. */
  async retry(delivery: NatsDelivery, attempts: number, delayMs: number): Promise<void> {
    const { names, host } = this.#parts
    const { groupToken, type } = this.#plan
    const lines =
      `${originalLines(delivery.text)}trunkline-attempts: ${attempts}\r\ntrunkline-due: ${Math.ceil(host.clock.nowMs() + delayMs)}\r\n` +
      (delivery.isRedriven ? 'trunkline-redriven: true\r\n' : '')
    await this.#storeThenAck(delivery, names.streams.retry, names.retry(groupToken, type), lines, `${attempts}`, delayMs)
  }

  /** Stores the dead letter, then acks the delivery. */
  async deadLetter(delivery: NatsDelivery, record: DeadLetterRecord): Promise<void> {
    const { names } = this.#parts
    const { group, groupToken, kind, type } = this.#plan
    const lines =
      `${originalLines(delivery.text)}trunkline-group: ${escapeHeader(group)}\r\ntrunkline-kind: ${kind}\r\n` +
      `trunkline-record: ${encodeDeadLetterRecord(record)}\r\nNats-Expected-Last-Subject-Sequence: 0\r\n`
    const subject = names.dead(groupToken, type, `${this.#plan.consumer.stream}-${delivery.streamSeq}`)
    await this.#storeThenAck(delivery, names.streams.dead, subject, lines, 'dead', REFUSED_DELAY_MS)
  }

  /**
   * The copy's id is made of the place of the original: if the process dies before the ack, the redelivery stores no second
   * copy, while the copy of a redriven message, which has another place, is never taken for a repeat (N-11).
   */
  async #storeThenAck(delivery: NatsDelivery, stream: string, subject: string, lines: string, what: string, delayMs: number): Promise<void> {
    const { publisher, link, host } = this.#parts
    const { message, streamSeq } = delivery
    const { groupToken, consumer, type } = this.#plan
    const storageId = `${groupToken}/${consumer.stream}/${streamSeq}/${what}`
    try {
      await publisher.store({ stream, subject, lines, storageId, body: message.body, type, id: message.id }).catch((error: unknown) => {
        if (!isWrongSequence(error)) throw error // it is there already: a dead letter has a subject of its own
      })
      link.signal(delivery.reply, ACK)
    } catch (error) {
      // Nothing is lost: the server keeps the message and delivers it again.
      host.logger.error({ problem: errorText(error), group: this.#plan.group }, 'the outcome of a delivery could not be stored')
      this.#nak(delivery.reply, Math.max(delayMs, BACKOFF_DELAY_MIN_MS))
    }
    this.#letGo(delivery)
  }

  /**
   * A waiting copy: not due yet, it goes back to the server for the time that is left; due, it is handed out.
   *
   * A copy that comes again may have been handed out by an owner that died, or have been given back because it was not
   * due. The time tells them apart: an owner gets it when it is due and keeps it for at least the ack wait, so
   * whatever comes before due time + ack wait was given back. Later it is a suspect, at worst without need.
   */
  #onRetryPulled(pulled: Pulled): void {
    const headers = parseHeaders(pulled.text)
    const dueMs = count(headers.others.get('trunkline-due'))
    const nowMs = this.#parts.host.clock.nowMs()
    if (dueMs > nowMs) {
      this.#nak(pulled.reply, Math.max(dueMs - nowMs, BACKOFF_DELAY_MIN_MS))
      this.#puller.release()
      return
    }
    const begun = count(headers.others.get('trunkline-attempts'))
    const isRedriven = headers.others.get('trunkline-redriven') === 'true'
    if (pulled.deliveryCount > 1 && nowMs >= dueMs + this.#plan.consumer.ackWaitMs) this.#takeSuspect(pulled, begun, isRedriven)
    else this.#hand(pulled, { headers, begun, isSuspect: false, isRedriven, hasRecord: false })
  }

  /** Given back by an owner that never handed it out, and not left by one that died: that takes the ack wait at least. */
  #wasGivenBack(pulled: Pulled): boolean {
    return this.#parts.host.clock.nowMs() < pulled.storedAtMs + this.#plan.consumer.ackWaitMs
  }

  #takeSuspect(pulled: Pulled, begun: number, isRedriven: boolean): void {
    const { streamSeq, reply } = pulled
    this.#held.set(streamSeq, undefined)
    void this.#parts.attempts.read(this.#plan.groupToken, this.#plan.consumer.stream, streamSeq).then((recorded) => {
      if (recorded === undefined) {
        // Unknown is not zero: it stays with the server until its record can be read.
        this.#held.delete(streamSeq)
        this.#nak(reply, BACKOFF_DELAY_MIN_MS)
        this.#puller.release()
      } else {
        const headers = parseHeaders(pulled.text)
        this.#hand(pulled, { headers, begun: Math.max(begun, recorded), isSuspect: true, isRedriven, hasRecord: recorded > 0 })
      }
    })
  }

  #hand(pulled: Pulled, known: Known): void {
    const { data, text, streamSeq, reply } = pulled
    const { begun, isSuspect, isRedriven, hasRecord } = known
    const message = messageFrom(known.headers, data, `${this.#plan.consumer.stream}:${streamSeq}`)
    const delivery = new NatsDelivery(this, { message, text, streamSeq, begun, isSuspect, isRedriven, hasRecord }, reply)
    this.#held.set(streamSeq, delivery)
    this.#plan.onDelivery(delivery)
  }

  #letGo(delivery: NatsDelivery): void {
    const { streamSeq } = delivery
    if (this.#held.delete(streamSeq)) this.#puller.release()
    if (delivery.hasRecord) this.#parts.attempts.forget(this.#plan.groupToken, this.#plan.consumer.stream, streamSeq)
    this.#plan.onSettled()
  }

  /** N-16: never without a delay. */
  #nak(reply: string, delayMs: number): void {
    this.#parts.link.signal(reply, Buffer.from(`-NAK {"delay":${Math.ceil(delayMs) * NANOSECONDS}}`))
  }
}

function count(text: string | undefined): number {
  const value = Number(text ?? '')
  return Number.isSafeInteger(value) && value >= 0 ? value : 0
}
