import type { DeadLetter, DeadLetterFilter, DeadLetterPage, DeadLetterPlane, DeliverySink, LightDelivery, LightReply, Outbound, Subscription } from '../../bus/port.ts'
import { type Clock, systemClock } from '../../core/clock.ts'
import type { WireMessage } from '../../core/envelope.ts'
import { TrunklineError } from '../../core/errors.ts'
import { type OptionNames, optionNames, refuseUnknown } from '../../core/option-names.ts'
import { MemoryGroup, MemoryMember, groupAddress } from './memory-group.ts'

/** What `memoryBroker` takes. */
export interface MemoryBrokerOptions {
  /** Messages that wait in all groups together, before publishing is refused. Default 1,000,000. */
  readonly messagesMax?: number
  /** Drives delays and dispatch. Default: the clock of the first bus that opens a transport on it. */
  readonly clock?: Clock
}

const OPTIONS: OptionNames = optionNames<MemoryBrokerOptions>({ messagesMax: true, clock: true })

/** A light subscription of one instance. */
export interface MemoryListener {
  readonly instance: string
  readonly types: readonly string[]
  readonly kind: 'broadcast' | 'request'
  readonly sink: (delivery: LightDelivery) => void
}

const MESSAGES_MAX = 1_000_000

/**
 * A broker inside the process: queues, groups, order, retries and dead letters with the behaviour of the
 * real ones. Services of one process that share it can talk to each other. It dies with the process.
 */
export class MemoryBroker implements DeadLetterPlane {
  readonly #messagesMax: number
  #clock: Clock | undefined
  readonly #groups = new Map<string, MemoryGroup>()
  readonly #byType = new Map<string, MemoryGroup[]>()
  readonly #listeners = new Set<MemoryListener>()
  readonly #inboxes = new Map<string, (token: string, reply: LightReply) => void>()
  readonly #nextResponder = new Map<string, number>()
  #sequence = 0
  #stored = 0

  constructor(options: MemoryBrokerOptions = {}) {
    refuseUnknown('memoryBroker()', options, OPTIONS)
    this.#messagesMax = options.messagesMax ?? MESSAGES_MAX
    this.#clock = options.clock
  }

  /** Messages stored now, dead letters included; an event counts once per group. */
  get size(): number {
    return this.#stored
  }

  /** @internal Gives the broker a clock where it has none yet. */
  adopt(clock: Clock): void {
    this.#clock ??= clock
  }

  get #time(): Clock {
    return this.#clock ?? systemClock
  }

  /** @internal */
  publish(outbound: Outbound): void {
    const { message } = outbound
    if (outbound.kind === 'command') this.#group(message.type, 'command', [message.type])
    const groups = this.#byType.get(message.type) ?? []
    if (this.#stored + groups.length > this.#messagesMax) throw this.#full(outbound)
    const sequence = ++this.#sequence
    this.#stored += groups.length
    for (const group of groups) group.add(message, sequence)
    if (outbound.kind === 'event') this.#tell(message)
  }

  /** @internal All of them, or none where there is no room for all. */
  publishAll(outbounds: readonly Outbound[]): void {
    const room = this.#messagesMax - this.#stored
    const copies = outbounds.reduce((sum, { kind, message }) => sum + (this.#byType.get(message.type)?.length ?? (kind === 'command' ? 1 : 0)), 0)
    const [first] = outbounds
    if (first !== undefined && copies > room) throw this.#full(first)
    for (const outbound of outbounds) this.publish(outbound)
  }

  #full({ message }: Outbound): TrunklineError {
    return new TrunklineError('bus.publish_refused', { type: message.type, id: message.id, problem: `the broker holds its maximum of ${this.#messagesMax} messages` })
  }

  /** @internal */
  join(instance: string, subscription: Subscription, sink: DeliverySink): { readonly group: MemoryGroup; readonly member: MemoryMember } {
    const group = this.#group(subscription.group, subscription.kind, subscription.types)
    const member = new MemoryMember(instance, subscription, sink)
    group.join(member, subscription)
    return { group, member }
  }

  #group(name: string, kind: 'event' | 'command', types: readonly string[]): MemoryGroup {
    const address = groupAddress(kind, name)
    let group = this.#groups.get(address)
    if (group === undefined) {
      group = new MemoryGroup(name, kind, this.#time, () => {
        this.#stored--
      })
      this.#groups.set(address, group)
    }
    for (const type of types) {
      const interested = this.#byType.get(type)
      if (interested === undefined) this.#byType.set(type, [group])
      else if (!interested.includes(group)) interested.push(group)
    }
    return group
  }

  /**
   * Cuts an instance off as a death of its process would: its subscriptions vanish, what it had out comes
   * back to others as suspects, its later settles do nothing.
   */
  sever(instance: string): void {
    for (const group of this.#groups.values()) for (const member of group.membersOf(instance)) group.leave(member)
    for (const listener of this.#listeners) if (listener.instance === instance) this.#listeners.delete(listener)
    this.#inboxes.delete(instance)
  }

  /** @internal */
  listen(listener: MemoryListener): void {
    this.#listeners.add(listener)
  }

  /** @internal */
  unlisten(listener: MemoryListener): void {
    this.#listeners.delete(listener)
  }

  /** @internal */
  openInbox(instance: string, sink: (token: string, reply: LightReply) => void): void {
    this.#inboxes.set(instance, sink)
  }

  /** @internal Hands an event to every broadcast subscription. */
  broadcast(message: WireMessage): void {
    this.#tell(message)
  }

  #tell(message: WireMessage): void {
    if (this.#listeners.size === 0) return
    for (const listener of this.#listeners) {
      if (listener.kind === 'broadcast' && listener.types.includes(message.type)) this.#later(() => listener.sink({ message, replyTo: undefined }))
    }
  }

  /** @internal Hands a request to one of the listeners of its type, in turn; those of one instance where `to` names it. */
  request(message: WireMessage, instance: string, token: string, to?: string): void {
    const answers = (listener: MemoryListener): boolean => listener.kind === 'request' && listener.types.includes(message.type)
    const listeners = [...this.#listeners].filter((listener) => answers(listener) && (to === undefined || listener.instance === to))
    const turn = this.#nextResponder.get(message.type) ?? 0
    this.#nextResponder.set(message.type, turn + 1)
    const listener = listeners[turn % listeners.length]
    if (listener === undefined) this.#later(() => this.#inboxes.get(instance)?.(token, { kind: 'no-responder' }))
    else this.#later(() => listener.sink({ message, replyTo: `${instance}/${token}` }))
  }

  /** @internal */
  reply(replyTo: string, message: WireMessage): void {
    const slash = replyTo.indexOf('/')
    const token = replyTo.slice(slash + 1)
    this.#later(() => this.#inboxes.get(replyTo.slice(0, slash))?.(token, { kind: 'reply', message }))
  }

  #later(work: () => void): void {
    this.#time.defer(work)
  }

  list(filter: DeadLetterFilter, options: { readonly limit: number; readonly after?: string | undefined }): Promise<DeadLetterPage> {
    const { after, limit } = options
    // From a letter on and not from a count, so that what is redriven between two pages makes the next one skip nothing.
    const items = this.#letters().filter((letter) => matches(letter, filter) && (after === undefined || byAge(letter.id, after) > 0))
    const page = items.slice(0, limit)
    return Promise.resolve({ items: page, next: items.length > page.length ? page.at(-1)?.id : undefined })
  }

  #letters(): DeadLetter[] {
    return [...this.#groups.values()].flatMap((group) => group.deadLetters()).toSorted((left, right) => byAge(left.id, right.id))
  }

  read(id: string): Promise<DeadLetter | undefined> {
    return Promise.resolve(this.#letters().find((letter) => letter.id === id))
  }

  redrive(id: string): Promise<boolean> {
    return Promise.resolve(this.#groupOf(id)?.redrive(sequenceOf(id)) ?? false)
  }

  remove(id: string): Promise<boolean> {
    return Promise.resolve(this.#groupOf(id)?.remove(sequenceOf(id)) ?? false)
  }

  #groupOf(id: string): MemoryGroup | undefined {
    return this.#groups.get(id.slice(0, id.lastIndexOf(':')))
  }
}

function sequenceOf(id: string): number {
  return Number(id.slice(id.lastIndexOf(':') + 1))
}

/** Oldest first; the letters of one event in several groups by the groups' addresses. */
function byAge(left: string, right: string): number {
  return sequenceOf(left) - sequenceOf(right) || (left < right ? -1 : left > right ? 1 : 0)
}

function matches(letter: DeadLetter, filter: DeadLetterFilter): boolean {
  return (
    (filter.group === undefined || letter.group === filter.group) &&
    (filter.type === undefined || letter.message.type === filter.type) &&
    (filter.reason === undefined || letter.record.reason === filter.reason)
  )
}

/** Makes a broker for the services of one process to share. */
export function memoryBroker(options: MemoryBrokerOptions = {}): MemoryBroker {
  return new MemoryBroker(options)
}
