import type { Timer } from '../../core/clock.ts'
import type { WireMessage } from '../../core/envelope.ts'
import type { DeadLetterRecord } from '../port.ts'
import type { HoldPlace, LiveItem } from './lane-port.ts'

/** What makes two deliveries the same message: source and id. */
export function identityOf(message: WireMessage): string {
  return `${message.source}\u0000${message.id}`
}

/** The key that orders a message. One without a key is alone: nothing is ordered behind it. */
export function orderingKey(message: WireMessage): string {
  // Keys hold no control characters, so that no key can equal the stand-in.
  return message.key ?? `\u0000${identityOf(message)}`
}

/** One copy of a message in the hold list. Its place may become known later than its storing. */
export class HoldCopy {
  readonly id: string
  readonly #place = Promise.withResolvers<HoldPlace>()

  constructor(id: string) {
    this.id = id
  }

  /** Resolves with the place as soon as it is known. */
  get place(): Promise<HoldPlace> {
    return this.#place.promise
  }

  /** The first place that is found counts. */
  found(place: HoldPlace): void {
    this.#place.resolve(place)
  }
}

/** An operator's wish about a dead message, with where the wish is stored. */
export interface PendingControl {
  readonly control: 'redrive' | 'remove'
  readonly place: HoldPlace
}

/** A message that the lane answers for, with all its copies in the broker. Only its lane changes it. */
export class LaneMessage {
  readonly message: WireMessage
  readonly identity: string
  /** Attempts begun so far. */
  attempt: number
  isSuspect: boolean
  isRedriven = false
  /** What it waits for besides its turn: a due time, or an operator. */
  wait: 'none' | 'due' | 'dead' = 'none'
  /** Monotonic milliseconds; counts while `wait` is `due`. */
  dueAtMs = 0
  /** Id of its `dead` head, which is its dead letter's. */
  deadId: string | undefined
  record: DeadLetterRecord | undefined
  /** Its dead letter is known to be stored. */
  isBuried = false
  control: PendingControl | undefined
  /** Copies in the lane that are not acked. */
  readonly live: LiveItem[] = []
  /** Copies in the hold list, stored or being stored. */
  readonly copies: HoldCopy[] = []
  /** It counts against the limit of the hold list. */
  isHeld = false
  /** A copy in the hold list is known to be stored, so that the lane's own may be acked. */
  isDurable = false
  /** Changes that are on their way to the broker; it is not handed out meanwhile. */
  busy = 0

  constructor(message: WireMessage, attempt: number, isSuspect: boolean) {
    this.message = message
    this.identity = identityOf(message)
    this.attempt = attempt
    this.isSuspect = isSuspect
  }
}

/**
 * The messages of one key in the order in which they were accepted.
 *
 * The held ones are always a prefix: a message is stored only after all before it, the one that runs included. Otherwise
 * the next owner, who starts with the hold list, would run a later message first.
 */
export class KeyQueue {
  readonly key: string
  readonly items: LaneMessage[] = []
  /** How many of them are in the hold list. */
  held = 0
  /**
   * `idle`: the front decides what is next. `ready`: it waits for room in the window. `running`: it is with the sink.
   * `settling`: its predecessor is being taken out of the hold list. `released`: given back, until the group resumes.
   * `broken`: the broker refused something, until the lane is taken over again.
   */
  status: 'idle' | 'ready' | 'running' | 'settling' | 'released' | 'broken' = 'idle'
  timer: Timer | undefined
  /** Ends with whether everything appended for this key so far is stored. */
  appended: Promise<boolean> = Promise.resolve(true)

  constructor(key: string) {
    this.key = key
  }

  /** True while the front keeps later messages waiting for long. */
  get isBlocked(): boolean {
    const front = this.items[0]
    return front !== undefined && front.wait !== 'none'
  }

  /** Messages that are only in the lane, in order. */
  loose(): readonly LaneMessage[] {
    const loose: LaneMessage[] = []
    // From the end, where they nearly always are: a held key can have thousands of others before them.
    for (let index = this.items.length - 1; loose.length < this.items.length - this.held && index >= 0; index--) {
      const item = this.items[index]
      if (item?.isHeld === false) loose.push(item)
    }
    return loose.reverse()
  }

  /** How many messages that are only in the lane wait behind the front. */
  get looseBehindFront(): number {
    return this.items.length - this.held - (this.items[0]?.isHeld === false ? 1 : 0)
  }

  stopTimer(): void {
    this.timer?.cancel()
    this.timer = undefined
  }
}
