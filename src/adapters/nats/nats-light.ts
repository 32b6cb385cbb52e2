import type { LightDelivery, LightPlane, LightReply, LightSubscription } from '../../bus/port.ts'
import { errorText, TrunklineError } from '../../core/errors.ts'
import type { WireMessage } from '../../core/envelope.ts'
import type { NatsClientSubscription, NatsMessage } from './nats-client.ts'
import { HeaderBlock, headerText, statusOf } from './nats-headers.ts'
import type { NatsLink } from './nats-link.ts'
import { answerLines, answerOf, headerLines, messageOf } from './nats-message.ts'
import type { NatsNames } from './nats-names.ts'

const PLAIN_SUBJECT = /^[!-~]+$/
const WILDCARD = /[*>]/

/**
 * Whoever asks says where the answer goes. A text with a line break could go on with a command of its own, and an answer
 * to a subject of the server's API would be done with our rights instead of the asker's.
 */
function isAddress(replyTo: string): boolean {
  return PLAIN_SUBJECT.test(replyTo) && !replyTo.startsWith('$') && !WILDCARD.test(replyTo)
}

function notAnInbox(message: WireMessage): Promise<never> {
  return Promise.reject(new TrunklineError('bus.publish_refused', { type: message.type, id: message.id, problem: 'the address is not an inbox' }))
}

/** Where one instance takes requests of a type; more tokens than an answer's subject has, so that neither is taken for the other. */
function directSubject(address: string, type: string): string {
  return `${address}.q.${type}`
}

type LightSink = (delivery: LightDelivery) => void

/** Core NATS: nothing is stored, and what is sent while the link is down is gone. */
export class NatsLight implements LightPlane {
  readonly address: string
  readonly #link: NatsLink
  readonly #names: NatsNames
  #onReply: ((token: string, reply: LightReply) => void) | undefined

  constructor(link: NatsLink, names: NatsNames) {
    this.#link = link
    this.#names = names
    this.address = `${link.inbox}.r`
    link.subscribe(`${this.address}.*`, undefined, (message) => this.#take(message))
  }

  onReply(sink: (token: string, reply: LightReply) => void): void {
    this.#onReply = sink
  }

  broadcast(message: WireMessage): Promise<void> | undefined {
    return this.#send(this.#names.broadcast(message.type), message, undefined, headerLines(message))
  }

  request(message: WireMessage, token: string, to?: string): Promise<void> | undefined {
    if (to !== undefined && !isAddress(to)) return notAnInbox(message)
    return this.#send(to === undefined ? this.#names.request(message.type) : directSubject(to, message.type), message, this.replyAddress(token), headerLines(message))
  }

  replyAddress(token: string): string {
    return `${this.address}.${token}`
  }

  reply(replyTo: string, message: WireMessage): Promise<void> | undefined {
    if (!isAddress(replyTo)) return notAnInbox(message)
    return this.#send(replyTo, message, undefined, answerLines(message))
  }

  async onBroadcast(types: readonly string[], sink: LightSink): Promise<LightSubscription> {
    const subscriptions = types.map((type) => this.#link.subscribe(this.#names.broadcastFilter(type), undefined, (message) => this.#event(message, sink)))
    return await this.#open(subscriptions)
  }

  async onRequest(type: string, sink: LightSink): Promise<LightSubscription> {
    const take = (message: NatsMessage): void => {
      const { subject, data, reply } = message
      sink({ message: messageOf(headerText(message, data, reply, subject.length), data, ''), replyTo: reply === undefined || reply === '' ? undefined : reply })
    }
    const shared = this.#link.subscribe(this.#names.request(type), type, take)
    // Without a queue group: what is sent to this instance is for no other.
    const own = this.#link.subscribe(directSubject(this.address, type), undefined, take)
    return await this.#open([shared, own])
  }

  /** Resolves when the server knows the interest, so that a request right after it finds a responder. */
  async #open(subscriptions: readonly NatsClientSubscription[]): Promise<LightSubscription> {
    await this.#link.flush()
    return new NatsLightSubscription(this.#link, subscriptions)
  }

  #event(message: NatsMessage, sink: LightSink): void {
    // The filter spans kinds; a command of the same name is not an event.
    const { subject, data, reply } = message
    if (subject.startsWith(this.#names.commandPrefix)) return
    sink({ message: messageOf(headerText(message, data, reply, subject.length), data, ''), replyTo: undefined })
  }

  #take(message: NatsMessage): void {
    const { subject, data, reply } = message
    const token = subject.slice(this.address.length + 1)
    const text = headerText(message, data, reply, subject.length)
    if (statusOf(text) === 503 && data.length === 0) this.#onReply?.(token, { kind: 'no-responder' })
    else this.#onReply?.(token, { kind: 'reply', message: answerOf(text, data, token) })
  }

  #send(subject: string, message: WireMessage, reply: string | undefined, lines: string): Promise<void> | undefined {
    try {
      this.#link.publish(subject, message.body, reply, lines === '' ? undefined : new HeaderBlock(lines))
      return undefined
    } catch (error) {
      return Promise.reject(
        new TrunklineError('bus.publish_refused', { type: message.type, id: message.id, problem: errorText(error) }, { cause: error }),
      )
    }
  }
}

/** Longest wait for the server to confirm that nothing more will come. */
const DRAIN_MS = 2_000

class NatsLightSubscription implements LightSubscription {
  readonly #link: NatsLink
  readonly #subscriptions: readonly NatsClientSubscription[]

  constructor(link: NatsLink, subscriptions: readonly NatsClientSubscription[]) {
    this.#link = link
    this.#subscriptions = subscriptions
  }

  /** Takes what the server had on its way when it heard of the end, so that no request vanishes while an instance stops. */
  async close(): Promise<void> {
    const open = this.#subscriptions.filter((subscription) => !subscription.isClosed())
    if (this.#link.isUp) await this.#link.within(Promise.all(open.map((subscription) => subscription.drain().catch(() => undefined))), DRAIN_MS)
    for (const subscription of open) if (!subscription.isClosed()) subscription.unsubscribe()
  }
}
