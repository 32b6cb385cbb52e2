import { backoffMs } from '../../core/backoff.ts'
import type { Timer } from '../../core/clock.ts'
import { errorText, isTrunklineError } from '../../core/errors.ts'
import { RECONNECT_DELAY_MAX_MS, RECONNECT_INITIAL_MS } from '../../core/limits.ts'
import type { NatsClientSubscription, NatsMessage } from './nats-client.ts'
import { headerText, parseHeaders, statusOf, statusText } from './nats-headers.ts'
import type { LinkListener, NatsLink } from './nats-link.ts'
import type { Beating, NatsPulse } from './nats-pulse.ts'
import type { ConsumerPlan } from './nats-topology.ts'

const EXPIRES_MS = 30_000
const HEARTBEAT_MS = 5_000
/** Without a message or heartbeat for this long a pull request is taken for lost. */
const SILENCE_MAX_MS = 3 * HEARTBEAT_MS
/**
 * The same for the first request after a repair: a server that is still deleting a stream gives a consumer on it, and never
 * says that it went with the stream.
 */
const PROBE_HEARTBEAT_MS = 1_000
/**
 * Such a consumer may also live, beat and never be told of what was stored while it was made (nats-server 2.9: one request waits, one
 * message is pending): the next request wakes it, so the first one ends soon.
 */
const PROBE_EXPIRES_MS = 2_500
const PROBE_SILENCE_MAX_MS = 3 * PROBE_HEARTBEAT_MS
const NANOSECONDS = 1_000_000
const RECOVERY = { initialMs: RECONNECT_INITIAL_MS, factor: 2, maxMs: RECONNECT_DELAY_MAX_MS }

/** A stored message that a consumer gave us. */
export interface Pulled {
  readonly data: Uint8Array
  /** Its header block. */
  readonly text: string
  /** Where its ack goes. */
  readonly reply: string
  readonly streamSeq: number
  /** Number of the delivery among all of its consumer, without gaps. */
  readonly consumerSeq: number
  /** 1 for the first delivery. */
  readonly deliveryCount: number
  /** When the stream stored it: the server's wall clock, in milliseconds. */
  readonly storedAtMs: number
}

/** What uses a puller. */
export interface PullTarget {
  onPulled(pulled: Pulled): void
  /** Makes sure that the consumer is there, so that pulling can go on. @throws what is in the way. */
  restore(): Promise<void>
}

/**
 * Pulls messages of one durable consumer: keeps requests open at the server for as many messages as the window
 * has room for, and repairs what breaks: lost links, silent servers, deleted consumers and streams (N-01, N-22).
 */
export class NatsPuller implements LinkListener, Beating {
  readonly #link: NatsLink
  readonly #pulse: NatsPulse
  readonly #plan: ConsumerPlan
  readonly #windowMax: number
  readonly #target: PullTarget
  readonly #requestSubject: string
  readonly #ackPrefix: string
  #subscription: NatsClientSubscription | undefined
  #inbox = ''
  #subjectLength = 0
  /** Messages that the server was asked for and has not sent. */
  #asked = 0
  /** Messages that came and are not settled. */
  #held = 0
  #state: 'stopped' | 'running' | 'recovering' = 'stopped'
  #silentBeats = 0
  /** True from a repair until the server shows a sign of life. */
  #isProbing = false
  #recoveries = 0
  #recoveryTimer: Timer | undefined
  #recoverySince = 0

  constructor(link: NatsLink, pulse: NatsPulse, plan: ConsumerPlan, windowMax: number, target: PullTarget) {
    this.#link = link
    this.#pulse = pulse
    this.#plan = plan
    this.#windowMax = windowMax
    this.#target = target
    this.#requestSubject = `$JS.API.CONSUMER.MSG.NEXT.${plan.stream}.${plan.name}`
    this.#ackPrefix = `$JS.ACK.${plan.stream}.${plan.name}.`
  }

  /** Starts pulling; the consumer must exist. Does nothing while it runs. */
  start(): void {
    if (this.#state !== 'stopped') return
    this.#state = 'running'
    this.#link.listen(this)
    this.#pulse.add(this)
    this.#renew()
    this.#refill()
  }

  /** Ends pulling. What the server sent before it knew still arrives before this resolves. */
  async stop(): Promise<void> {
    if (this.#state === 'stopped') return
    this.#state = 'stopped'
    this.#recoveryTimer?.cancel()
    this.#recoveryTimer = undefined
    this.#link.unlisten(this)
    this.#pulse.remove(this)
    this.#link.trouble(this.#ackPrefix, undefined)
    this.#asked = 0
    const subscription = this.#subscription
    this.#subscription = undefined
    if (subscription === undefined) return
    if (this.#link.isUp) await this.#link.within(subscription.drain().catch(() => undefined), HEARTBEAT_MS)
    if (!subscription.isClosed()) subscription.unsubscribe()
  }

  /** A message that was pulled is settled: there is room for another one. */
  release(): void {
    this.#held -= 1
    this.#refill()
  }

  onLinkUp(): void {
    this.#recoveries = 0
    this.#recover()
  }

  onLinkDown(): void {
    this.#asked = 0
  }

  onBeat(): void {
    if (this.#asked === 0 || this.#state !== 'running' || !this.#link.isUp) {
      this.#silentBeats = 0
      return
    }
    this.#silentBeats += 1
    if (this.#silentBeats > this.#pulse.beatsIn(this.#isProbing ? PROBE_SILENCE_MAX_MS : SILENCE_MAX_MS)) this.#recover()
  }

  /** A new inbox: requests of the old one lose their interest, so that none of them fills the window twice. */
  #renew(): void {
    this.#subscription?.unsubscribe()
    this.#inbox = `${this.#link.inbox}.m.${this.#link.token()}`
    this.#asked = 0
    this.#silentBeats = 0
    this.#subscription = this.#link.subscribe(this.#inbox, undefined, (message) => this.#onMessage(message))
  }

  #refill(): void {
    if (this.#state !== 'running' || !this.#link.isUp) return
    const room = this.#windowMax - this.#asked - this.#held
    // Half windows at a time keep the requests few and the server never out of work.
    if (room <= 0 || (room * 2 < this.#windowMax && this.#asked > 0)) return
    this.#asked += room
    const [heartbeatMs, expiresMs] = this.#isProbing ? [PROBE_HEARTBEAT_MS, PROBE_EXPIRES_MS] : [HEARTBEAT_MS, EXPIRES_MS]
    const request = `{"batch":${room},"expires":${expiresMs * NANOSECONDS},"idle_heartbeat":${heartbeatMs * NANOSECONDS}}`
    try {
      this.#link.publish(this.#requestSubject, Buffer.from(request), this.#inbox)
    } catch (error) {
      this.#asked = 0
      this.#link.host.logger.warn({ problem: errorText(error) }, 'asking NATS for messages failed')
      this.#recover()
    }
  }

  #onMessage(message: NatsMessage): void {
    this.#silentBeats = 0
    const { reply } = message
    if (reply === undefined || !reply.startsWith('$JS.ACK.')) {
      this.#onStatus(message)
      return
    }
    if (this.#asked > 0) this.#asked -= 1
    this.#held += 1
    this.#recoveries = 0
    this.#isProbing = false
    const place = placeOf(reply, this.#ackPrefix)
    const { data } = message
    this.#target.onPulled({ ...place, data, text: this.#textOf(message, data, reply), reply })
    this.#refill()
  }

  /** Most messages of a consumer have subjects of one length. */
  #textOf(message: NatsMessage, data: Uint8Array, reply: string): string {
    const text = headerText(message, data, reply, this.#subjectLength)
    const actual = (message.size?.() ?? 0) - reply.length - data.length - text.length
    if (text !== '' && actual !== this.#subjectLength) this.#subjectLength = message.subject.length
    return text
  }

  #onStatus(message: NatsMessage): void {
    const text = headerText(message, message.data, message.reply)
    const status = statusOf(text)
    if (status === 100) {
      this.#recoveries = 0
      this.#isProbing = false
      return
    }
    const left = parseHeaders(text).others.get('nats-pending-messages')
    if ((status === 408 || status === 404) && left !== undefined) {
      this.#asked = Math.max(0, this.#asked - Number(left))
      this.#refill()
      return
    }
    if (status !== 408 && status !== 404) {
      this.#link.host.logger.info({ consumer: this.#plan.name, status, problem: statusText(text) }, 'NATS ended a pull request')
    }
    this.#recover()
  }

  /** Puts consumer and requests right again, with growing waits; does nothing while that is under way. */
  #recover(): void {
    if (this.#state !== 'running') return
    this.#state = 'recovering'
    this.#recoveries += 1
    this.#recoverySince += 1
    const { clock, random } = this.#link.host
    const delayMs = this.#recoveries === 1 ? 0 : backoffMs(RECOVERY, this.#recoveries - 1, random)
    this.#recoveryTimer = clock.setTimer(delayMs, () => void this.#repair(this.#recoverySince), { background: true })
  }

  async #repair(since: number): Promise<void> {
    let problem: string | undefined
    try {
      if (this.#link.isUp) await this.#target.restore()
    } catch (error) {
      problem = errorText(error)
      if (isTrunklineError(error, 'bus.subscription_conflict')) this.#link.host.logger.error({ problem }, 'a consumer of NATS cannot be used')
    }
    if (this.#state !== 'recovering' || since !== this.#recoverySince) return
    this.#state = 'running'
    this.#link.trouble(this.#ackPrefix, problem === undefined ? undefined : `${this.#plan.name} does not deliver: ${problem}`)
    if (!this.#link.isUp) return // onLinkUp comes
    if (problem === undefined) {
      this.#isProbing = true
      this.#renew()
      this.#refill()
    } else this.#recover()
  }
}

interface Place {
  readonly streamSeq: number
  readonly consumerSeq: number
  readonly deliveryCount: number
  readonly storedAtMs: number
}

/** Reads `<count>.<stream seq>.<consumer seq>.<time in ns>.<pending>` at the end of an ack subject. */
function placeOf(reply: string, prefix: string): Place {
  // Servers with accounts and domains put two tokens more in front and one behind.
  const tokens = reply.startsWith(prefix) ? reply.slice(prefix.length).split('.', 4) : reply.split('.').slice(6, 10)
  const [count = '1', streamSeq = '0', consumerSeq = '0', nanoseconds = '0'] = tokens
  // The last six digits are below a millisecond; as a number they would not be exact anyway (N-29).
  return { deliveryCount: Number(count), streamSeq: Number(streamSeq), consumerSeq: Number(consumerSeq), storedAtMs: Number(nanoseconds.slice(0, -6)) }
}
