import { encodeDeadLetterRecord } from '../../bus/protocol/dead-letter-record.ts'
import type { FollowerEntry, HeadEntry, HoldPlace, Lane, LaneBacking, Lanes } from '../../bus/protocol/lane-port.ts'
import type { DeadLetterRecord } from '../../bus/port.ts'
import { escapeHeader } from '../../contract/wire.ts'
import { sleep } from '../../core/clock.ts'
import type { WireMessage } from '../../core/envelope.ts'
import { errorText, TrunklineError } from '../../core/errors.ts'
import type { FeedParts } from './nats-feed.ts'
import { attributeOf, parseHeaders, type Headers } from './nats-headers.ts'
import type { NatsHold } from './nats-hold.ts'
import { connectionLost } from './nats-link.ts'
import { messageFrom } from './nats-message.ts'
import { subjectTail } from './nats-names.ts'
import { isWrongSequence } from './nats-publisher.ts'
import type { Beating } from './nats-pulse.ts'
import { NatsPuller, type Pulled, type PullTarget } from './nats-puller.ts'
import type { ConsumerPlan } from './nats-topology.ts'

const ACK = Buffer.from('+ACK')
const WORKING = Buffer.from('+WPI')
/** Wait between two tries to take an entry out of the hold list. */
const REMOVE_AGAIN_MS = 250

/** One lane of an ordered group, as long as this process owns it. */
export interface LanePlan {
  readonly number: number
  readonly kind: 'event' | 'command'
  readonly group: string
  readonly groupToken: string
  readonly types: ReadonlySet<string>
  readonly consumer: ConsumerPlan
  /** Messages of the lane that are unacked at most. */
  readonly liveMax: number
  /** Up to this stream sequence messages had been delivered to an owner that vanished. */
  readonly suspectSeq: number
  /** The lane cannot go on and must be taken over again. */
  readonly onBroken: (problem: string) => void
  /** Stores what `floorSeq` and `lastSeq` are; false where this process is not known to own the lane any more. */
  readonly renew: () => Promise<boolean>
}

/** What is known of a live message that is not acked. */
interface LiveHolding {
  reply: string
  beats: number
}

/**
 * Feeds the order engine of one lane from its consumer and its hold list.
 *
 * The numbers that the consumer gives its deliveries have no gaps. A gap means that a delivery went elsewhere: to a zombie
 * that still pulls, or into a link that broke. It would come again after the ack wait, behind messages that were
 * accepted later. So nothing behind a gap is handed on: the consumer is made anew behind what is acked, which brings what
 * is missing in order; what is in hand or acked already is recognised by its sequence.
 */
export class NatsLane implements LaneBacking, PullTarget, Beating {
  readonly #parts: FeedParts
  readonly #hold: NatsHold
  readonly #plan: LanePlan
  readonly #puller: NatsPuller
  readonly #lane: Lane
  readonly #ended = new AbortController()
  readonly #held = new Map<number, LiveHolding>()
  readonly #beatsPerSign: number
  #appending: Promise<unknown> = Promise.resolve()
  #consumerSeq = 0
  #lastSeq = 0
  #entrySeq = 0
  #controlSeq = 0
  #isReading = false
  #isResetting = false
  #isPaused = false

  constructor(parts: FeedParts, hold: NatsHold, lanes: Lanes, plan: LanePlan) {
    this.#parts = parts
    this.#hold = hold
    this.#plan = plan
    this.#beatsPerSign = parts.pulse.beatsIn(plan.consumer.ackWaitMs / 3) // N-14
    this.#puller = new NatsPuller(parts.link, parts.pulse, plan.consumer, plan.liveMax, this)
    this.#lane = lanes.open({ number: plan.number, liveMax: plan.liveMax, backing: this })
  }

  get number(): number {
    return this.#plan.number
  }

  /** Stream sequence up to which all is acked, as far as this owner knows; 0 where it has seen nothing. */
  get floorSeq(): number {
    let floor = this.#lastSeq
    for (const seq of this.#held.keys()) floor = Math.min(floor, seq - 1)
    return Math.max(0, floor)
  }

  /** Highest stream sequence that was delivered. */
  get lastSeq(): number {
    return this.#lastSeq
  }

  /** Reads the hold list and starts. @param floorSeq everything up to it is acked; @param consumerSeq the last number given. */
  async start(floorSeq: number, consumerSeq: number): Promise<void> {
    this.#lastSeq = floorSeq
    this.#consumerSeq = consumerSeq
    await this.#read('*', 0)
    if (this.#ended.signal.aborted) return
    this.#lane.recovered()
    this.#parts.pulse.add(this)
    this.#pull()
  }

  /** Ownership is gone: nothing more is handed out or sent. */
  lost(): void {
    this.#lane.lost()
    this.#end()
  }

  /** Gives the lane up in order: takes in nothing more and waits for what runs. */
  async close(signal: AbortSignal): Promise<void> {
    await this.#puller.stop()
    await this.#lane.close(signal)
    this.#end()
    await this.#parts.link.flush()
  }

  /** Looks for entries that others have stored: operators always, a previous owner soon after the take-over. */
  async poll(isEarly: boolean): Promise<void> {
    if (this.#isReading || this.#ended.signal.aborted) return
    this.#isReading = true
    try {
      if (isEarly) await this.#read('e', this.#entrySeq)
      await this.#read('c', this.#controlSeq)
    } finally {
      this.#isReading = false
    }
  }

  onBeat(): void {
    for (const holding of this.#held.values()) {
      holding.beats += 1
      if (holding.beats < this.#beatsPerSign) continue
      holding.beats = 0
      this.#parts.link.signal(holding.reply, WORKING)
    }
  }

  onPulled(pulled: Pulled): void {
    const { streamSeq, reply, consumerSeq } = pulled
    if (this.#ended.signal.aborted || this.#isResetting || consumerSeq !== this.#consumerSeq + 1) {
      this.#puller.release()
      this.#reset()
      return
    }
    this.#consumerSeq = consumerSeq
    const known = this.#held.get(streamSeq)
    if (known !== undefined) known.reply = reply
    else if (streamSeq <= this.#lastSeq) this.#parts.link.signal(reply, ACK) // acked before; that ack was lost or forgotten
    if (streamSeq <= this.#lastSeq) {
      this.#puller.release()
      return
    }
    this.#lastSeq = streamSeq
    const headers = parseHeaders(pulled.text)
    if (this.#plan.types.size > 1 && !this.#isWanted(headers)) {
      this.#parts.link.signal(reply, ACK)
      this.#puller.release()
      return
    }
    this.#held.set(streamSeq, { reply, beats: 0 })
    // A copy: what waits in a lane would otherwise keep the whole chunk alive that it came in.
    const message = messageFrom(headers, pulled.data.slice(), `${this.#plan.consumer.stream}:${streamSeq}`)
    if (message.defect !== undefined) this.#hold.originals.keep(message, pulled.text)
    const isSuspect = streamSeq <= this.#plan.suspectSeq
    this.#lane.onLive({ message, attempt: 0, isSuspect, ack: async () => await this.#ack(streamSeq) })
  }

  async restore(): Promise<void> {
    const { stream, name } = this.#plan.consumer
    const info = await this.#parts.link.api(`CONSUMER.INFO.${stream}.${name}`)
    if (info.ok) return
    if (info.code === 0) throw connectionLost(info.problem)
    this.#reset() // N-22
    throw connectionLost(info.problem)
  }

  async append(entry: HeadEntry | FollowerEntry): Promise<HoldPlace | undefined> {
    // One at a time: with several under way the server could refuse one and store the next.
    const appended = this.#appending.then(async () => {
      if (this.#ended.signal.aborted) throw connectionLost('the lane was lost')
      return await this.#hold.append(this.#plan.groupToken, this.number, entry, this.#ended.signal)
    })
    this.#appending = appended.catch(() => undefined)
    return this.#placeOf(await appended)
  }

  async storeDeadLetter(id: string, message: WireMessage, record: DeadLetterRecord): Promise<void> {
    const { names, publisher } = this.#parts
    const { group, groupToken, kind } = this.#plan
    const lines =
      `${this.#hold.originals.linesOf(message)}trunkline-group: ${escapeHeader(group)}\r\ntrunkline-kind: ${kind}\r\n` +
      `trunkline-record: ${encodeDeadLetterRecord(record)}\r\ntrunkline-lane: ${this.number}\r\ntrunkline-lane-id: ${id}\r\n` +
      'Nats-Expected-Last-Subject-Sequence: 0\r\n'
    const subject = names.dead(groupToken, subjectTail(message.type), id)
    try {
      await publisher.store(
        { stream: names.streams.dead, subject, lines, storageId: undefined, body: message.body, type: message.type, id: message.id },
        this.#ended.signal,
      )
    } catch (error) {
      if (!isWrongSequence(error)) throw error // it is there already
    }
  }

  pauseLive(): void {
    this.#isPaused = true
    void this.#puller.stop()
  }

  resumeLive(): void {
    this.#isPaused = false
    this.#pull()
  }

  degraded(reason: string | undefined): void {
    this.#parts.link.trouble(`lane ${this.#plan.consumer.name}`, reason)
  }

  giveUp(problem: unknown): void {
    this.#break(problem instanceof TrunklineError ? problem.message : 'the broker refused an entry of its hold list')
  }

  #isWanted(headers: Headers): boolean {
    const type = attributeOf(headers, 'type')
    // Without a type nobody can tell whose it is; it must not vanish unseen.
    return type === undefined || this.#plan.types.has(type)
  }

  async #ack(streamSeq: number): Promise<void> {
    const holding = this.#held.get(streamSeq)
    if (holding === undefined || this.#ended.signal.aborted) return
    this.#parts.link.signal(holding.reply, ACK)
    this.#held.delete(streamSeq)
    this.#puller.release()
    await Promise.resolve()
  }

  async #read(part: 'e' | 'c' | '*', afterSeq: number): Promise<void> {
    let seq = afterSeq
    for (;;) {
      const next = await this.#hold.next(this.#plan.groupToken, this.number, part, seq)
      if (next === undefined || this.#ended.signal.aborted) break
      seq = next.seq
      if (next.entry === undefined) this.#parts.host.logger.warn({ seq, lane: this.number, group: this.#plan.group }, 'an entry of a hold list cannot be read')
      else this.#lane.onHeld(next.entry, this.#placeOf(seq))
    }
    if (part !== 'c') this.#entrySeq = Math.max(this.#entrySeq, seq)
    if (part !== 'e') this.#controlSeq = Math.max(this.#controlSeq, seq)
  }

  #placeOf(seq: number): HoldPlace {
    return { remove: async () => await this.#remove(seq) }
  }

  /** Tries until it is done or the lane is lost. */
  async #remove(seq: number): Promise<void> {
    for (;;) {
      if (this.#ended.signal.aborted) throw connectionLost('the lane was lost')
      try {
        await this.#hold.remove(seq)
        return
      } catch (error) {
        // While the link is down there is nothing to wait for but the loss of the lane.
        if (!this.#parts.link.isUp) throw error
        await sleep(this.#parts.host.clock, REMOVE_AGAIN_MS, this.#ended.signal)
      }
    }
  }

  /** Makes the consumer anew behind what is acked. */
  #reset(): void {
    if (this.#isResetting || this.#ended.signal.aborted) return
    this.#isResetting = true
    void this.#setBack().catch((error: unknown) => this.#break(errorText(error)))
  }

  async #setBack(): Promise<void> {
    const { topology } = this.#parts
    const { consumer } = this.#plan
    await this.#puller.stop()
    // First the record, so that a successor knows where to go on although there is no consumer.
    if (!(await this.#plan.renew())) throw connectionLost('the lease of the lane could not be renewed')
    if (this.#ended.signal.aborted) return
    if (!(await topology.deleteConsumer(consumer.stream, consumer.name))) throw connectionLost('the consumer could not be set back')
    await topology.createConsumer(consumer, this.floorSeq + 1)
    this.#consumerSeq = 0
    this.#isResetting = false
    this.#pull()
  }

  #pull(): void {
    if (!this.#ended.signal.aborted && !this.#isResetting && !this.#isPaused) this.#puller.start()
  }

  #break(problem: string): void {
    if (this.#ended.signal.aborted) return
    this.lost()
    this.#plan.onBroken(problem)
  }

  #end(): void {
    this.#ended.abort()
    this.#parts.pulse.remove(this)
    this.degraded(undefined)
    void this.#puller.stop()
    this.#held.clear()
  }
}
