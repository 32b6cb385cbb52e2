import { type Clock, instantText, type Timer } from '../../core/clock.ts'
import type { WireMessage } from '../../core/envelope.ts'
import type { DeadLetter, DeadLetterRecord, Delivery, DeliverySink, Subscription } from '../../bus/port.ts'

/** One message on its way to one group. */
export interface MemoryItem {
  readonly message: WireMessage
  readonly sequence: number
  /** Attempts that are known to have begun and have ended or vanished. */
  begun: number
  isSuspect: boolean
  isRedriven: boolean
  record: DeadLetterRecord | undefined
  timer: Timer | undefined
}

/** A subscription of one running instance. */
export class MemoryMember {
  readonly instance: string
  readonly window: number
  readonly sink: DeliverySink
  readonly out: Set<MemoryDelivery> = new Set()
  isPaused = false

  constructor(instance: string, subscription: Subscription, sink: DeliverySink) {
    this.instance = instance
    this.window = subscription.inFlightMax
    this.sink = sink
  }

  get hasRoom(): boolean {
    return !this.isPaused && this.out.size < this.window
  }
}

/**
 * One group: what waits for it, who consumes it, and its dead letters.
 *
 * In an ordered group each key has a line; only the head of a line can be ready, delayed, out or dead,
 * so a failing or dead message holds back its key and nothing else.
 */
export class MemoryGroup {
  readonly name: string
  readonly kind: 'event' | 'command'
  /** Unique among all groups: a command's type can be the name of an event group. */
  readonly address: string
  readonly types: Set<string> = new Set()
  readonly #clock: Clock
  /** Changes the broker's count of stored messages. */
  readonly #settled: () => void
  #isOrdered = false
  #ready: MemoryItem[] = []
  #readyFrom = 0
  readonly #lines = new Map<string, MemoryItem[]>()
  readonly #dead = new Map<number, MemoryItem>()
  readonly #members: MemoryMember[] = []
  #nextMember = 0
  #isDispatching = false

  constructor(name: string, kind: 'event' | 'command', clock: Clock, settled: () => void) {
    this.name = name
    this.kind = kind
    this.address = groupAddress(kind, name)
    this.#clock = clock
    this.#settled = settled
  }

  /** Joins an instance. The group's order is that of its latest subscription. */
  join(member: MemoryMember, subscription: Subscription): void {
    for (const type of subscription.types) this.types.add(type)
    this.#setOrder(subscription.order === 'key')
    this.#members.push(member)
    this.dispatch()
  }

  /** Commands can wait before anybody has said whether their order counts. */
  #setOrder(isOrdered: boolean): void {
    if (isOrdered === this.#isOrdered) return
    this.#isOrdered = isOrdered
    const waiting = this.#ready.slice(this.#readyFrom)
    const behind = [...this.#lines.values()].flatMap((line) => line.slice(1))
    this.#lines.clear()
    this.#ready = []
    this.#readyFrom = 0
    for (const item of [...waiting, ...behind].toSorted((left, right) => left.sequence - right.sequence)) this.#line(item)
  }

  /** Removes an instance; what it had out comes back, as suspects. */
  leave(member: MemoryMember): void {
    const index = this.#members.indexOf(member)
    if (index >= 0) this.#members.splice(index, 1)
    for (const delivery of [...member.out].toReversed()) delivery.vanish()
  }

  membersOf(instance: string): readonly MemoryMember[] {
    return this.#members.filter((member) => member.instance === instance)
  }

  /** Takes a new message. */
  add(message: WireMessage, sequence: number): void {
    this.#line({ message, sequence, begun: 0, isSuspect: false, isRedriven: false, record: undefined, timer: undefined })
    this.dispatch()
  }

  #line(item: MemoryItem): void {
    const key = this.#isOrdered ? item.message.key : undefined
    if (key !== undefined) {
      const line = this.#lines.get(key)
      if (line !== undefined) {
        line.push(item)
        return
      }
      this.#lines.set(key, [item])
    }
    this.#ready.push(item)
  }

  /** Hands out what is ready, in a later turn of the event loop. */
  dispatch(): void {
    if (this.#isDispatching || this.#members.length === 0 || this.#readyFrom === this.#ready.length) return
    this.#isDispatching = true
    this.#clock.defer(() => {
      this.#isDispatching = false
      this.#handOut()
    })
  }

  #handOut(): void {
    while (this.#readyFrom < this.#ready.length) {
      const member = this.#freeMember()
      if (member === undefined) break
      const item = this.#ready[this.#readyFrom++]
      if (item === undefined) break
      const delivery = new MemoryDelivery(this, member, item)
      member.out.add(delivery)
      member.sink(delivery)
    }
    if (this.#readyFrom > 1_024 || this.#readyFrom === this.#ready.length) {
      this.#ready = this.#ready.slice(this.#readyFrom)
      this.#readyFrom = 0
    }
  }

  /** Round robin over the members with room. */
  #freeMember(): MemoryMember | undefined {
    for (let tried = 0; tried < this.#members.length; tried++) {
      const member = this.#members[this.#nextMember++ % this.#members.length]
      if (member?.hasRoom === true) return member
    }
    return undefined
  }

  /** The item was handled, or removed for good. */
  finish(item: MemoryItem): void {
    this.#settled()
    const { key } = item.message
    const line = key === undefined ? undefined : this.#lines.get(key)
    if (key !== undefined && line !== undefined && line[0] === item) {
      line.shift()
      const next = line[0]
      if (next === undefined) this.#lines.delete(key)
      else this.#makeReady(next)
    }
    this.dispatch()
  }

  /** The item becomes ready after a delay, or at once. */
  bringBack(item: MemoryItem, delayMs: number): void {
    if (delayMs <= 0) {
      this.#makeReady(item)
      return
    }
    item.timer = this.#clock.setTimer(delayMs, () => {
      item.timer = undefined
      this.#makeReady(item)
    }, { background: true })
  }

  /** Ready in the order of arrival, so that what comes back goes before what came later. */
  #makeReady(item: MemoryItem): void {
    let index = this.#ready.length
    while (index > this.#readyFrom && (this.#ready[index - 1]?.sequence ?? 0) > item.sequence) index--
    if (index === this.#readyFrom && index > 0) this.#ready[--this.#readyFrom] = item
    else this.#ready.splice(index, 0, item)
    this.dispatch()
  }

  bury(item: MemoryItem, record: DeadLetterRecord): void {
    item.record = record
    this.#dead.set(item.sequence, item)
    this.dispatch()
  }

  deadLetters(): readonly DeadLetter[] {
    return [...this.#dead.values()].map((item) => this.#letter(item))
  }

  #letter(item: MemoryItem): DeadLetter {
    const { key } = item.message
    const unknown: DeadLetterRecord = { reason: '', errors: [], attempts: item.begun, handler: '', service: '', instance: '', at: instantText(0) }
    return {
      id: `${this.address}:${item.sequence}`,
      group: this.name,
      kind: this.kind,
      message: item.message,
      record: item.record ?? unknown,
      holdsKey: key !== undefined && this.#lines.get(key)?.[0] === item,
    }
  }

  redrive(sequence: number): boolean {
    const item = this.#dead.get(sequence)
    if (item === undefined) return false
    this.#dead.delete(sequence)
    item.begun = 0
    item.isSuspect = false
    item.isRedriven = true
    item.record = undefined
    this.#makeReady(item)
    return true
  }

  remove(sequence: number): boolean {
    const item = this.#dead.get(sequence)
    if (item === undefined) return false
    this.#dead.delete(sequence)
    this.finish(item)
    return true
  }
}

/** Address of a group; names have no colon. */
export function groupAddress(kind: 'event' | 'command', name: string): string {
  return `${kind}:${name}`
}

/** A message handed to one member until it is settled; later settles do nothing. */
export class MemoryDelivery implements Delivery {
  readonly message: WireMessage
  readonly attempt: number
  readonly isSuspect: boolean
  readonly isRedriven: boolean
  readonly #group: MemoryGroup
  readonly #member: MemoryMember
  readonly #item: MemoryItem
  #hasBegun = false

  constructor(group: MemoryGroup, member: MemoryMember, item: MemoryItem) {
    this.message = item.message
    this.attempt = item.begun + 1
    this.isSuspect = item.isSuspect
    this.isRedriven = item.isRedriven
    this.#group = group
    this.#member = member
    this.#item = item
  }

  begin(): Promise<number> {
    if (this.#member.out.has(this) && !this.#hasBegun) {
      this.#hasBegun = true
      this.#item.begun = this.attempt
    }
    return Promise.resolve(this.attempt)
  }

  ack(): undefined {
    if (this.#take()) this.#group.finish(this.#item)
    return undefined
  }

  retry(delayMs: number): Promise<void> {
    if (!this.#take()) return DONE
    this.#item.begun = this.attempt
    this.#item.isSuspect = false
    this.#group.bringBack(this.#item, delayMs)
    this.#group.dispatch()
    return DONE
  }

  deadLetter(record: DeadLetterRecord): Promise<void> {
    if (this.#take()) this.#group.bury(this.#item, record)
    return DONE
  }

  release(): Promise<void> {
    if (this.#take()) this.#group.bringBack(this.#item, 0)
    return DONE
  }

  /** The member is gone without settling: the attempt counts only where `begin` has recorded it. */
  vanish(): void {
    if (!this.#take()) return
    this.#item.isSuspect = true
    this.#group.bringBack(this.#item, 0)
  }

  #take(): boolean {
    return this.#member.out.delete(this)
  }
}

const DONE: Promise<void> = Promise.resolve()
