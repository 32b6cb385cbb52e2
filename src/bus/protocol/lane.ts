import { TrunklineError } from '../../core/errors.ts'
import { LANE_SETTLED_MAX, RETRY_DELAY_LIMIT_MS } from '../../core/limits.ts'
import type { Clock } from '../../core/clock.ts'
import type { DeadLetterRecord, Delivery } from '../port.ts'
import type { DeliveryWindow, Dispenser } from './delivery-window.ts'
import { HoldList } from './hold-list.ts'
import { recoverHold, type FoundEntry } from './hold-recovery.ts'
import { KeyQueue, LaneMessage, identityOf, orderingKey, type PendingControl } from './key-queue.ts'
import { LaneDelivery, type Outcome, type Settles } from './lane-delivery.ts'
import type { ControlEntry, FollowerEntry, HeadEntry, HoldEntry, HoldPlace, Lane, LaneSettings, LanesSettings, LiveItem } from './lane-port.ts'
import { LiveWindow } from './live-window.ts'
import { RecentIds } from './recent-ids.ts'

/**
 * One lane that this process owns: a queue per key, fed by the hold list first and by live messages after it.
 *
 * At every step the copies in the broker are enough to go on from: a live message is acked, and an entry removed, only after
 * what replaces it is stored. What a crash leaves over is therefore a duplicate, never a hole. A message that was handled
 * while its ack or removal was lost comes again with the next owner, before messages that were not handled yet where the
 * broker redelivers in order; handlers see that as any redelivery.
 */
export class OrderedLane implements Lane, Dispenser, Settles {
  readonly number: number
  readonly #group: LanesSettings
  readonly #clock: Clock
  readonly #live: LiveWindow
  readonly #window: DeliveryWindow
  readonly #onLost: () => void
  readonly #hold: HoldList
  readonly #queues = new Map<string, KeyQueue>()
  readonly #messages = new Map<string, LaneMessage>()
  /** Keys whose front is dead, by the id of the dead letter. */
  readonly #dead = new Map<string, KeyQueue>()
  /** The last messages handled: a late redelivery must not run after its successors. */
  readonly #handled = new RecentIds(LANE_SETTLED_MAX)
  readonly #closed = Promise.withResolvers<void>()
  #found: FoundEntry[] = []
  #early: LiveItem[] = []
  #state: 'recovering' | 'open' | 'closing' | 'lost' = 'recovering'
  #running = 0
  #tasks = 0

  constructor(group: LanesSettings, settings: LaneSettings, window: DeliveryWindow, onLost: () => void) {
    this.number = settings.number
    this.#group = group
    this.#clock = group.clock
    this.#window = window
    this.#onLost = onLost
    this.#live = new LiveWindow({
      clock: group.clock,
      liveMax: settings.liveMax,
      hasRoom: () => window.hasRoom,
      onStalled: () => {
        for (const queue of this.#live.blockers(this.#queues.values())) this.#storeLoose(queue)
      },
    })
    this.#hold = new HoldList({
      backing: settings.backing,
      title: `lane ${settings.number} of group ${JSON.stringify(group.group)}`,
      ownership: group.random.id(group.clock.nowMs()),
      onRoom: () => {
        this.#storeBlocked()
      },
    })
  }

  onHeld(entry: HoldEntry, place: HoldPlace): void {
    if (this.#state === 'lost') return
    if (this.#state === 'recovering') this.#found.push({ entry, place })
    else if (this.#hold.recognise(entry, place) || this.#state === 'closing') return
    else if (entry.role === 'control') this.#wish(entry, place)
    else this.#late(entry, place)
  }

  recovered(): void {
    if (this.#state !== 'recovering') return
    this.#state = 'open'
    const { messages, controls } = recoverHold(this.#found)
    this.#found = []
    const leftOver = messages.flatMap(({ entry, place, superfluous }) => {
      const item = this.#recoveredItem(entry)
      const queue = this.#add(item)
      queue.items.push(item)
      this.#hold.adopt(queue, item, entry.id, place)
      return superfluous.length === 0 ? [] : [{ item, superfluous }]
    })
    for (const { target, control, place } of controls) this.#wish({ target, control }, place)
    for (const { item, superfluous } of leftOver) void this.#task(() => this.#clear(item, superfluous))
    for (const queue of this.#queues.values()) {
      const front = queue.items[0]
      // Whatever was at the front and not waiting may have been running when its owner vanished.
      if (front?.wait === 'none') front.isSuspect = true
      this.#advance(queue)
    }
    const early = this.#early
    this.#early = []
    for (const item of early) this.onLive(item)
  }

  onLive(live: LiveItem): void {
    if (this.#state === 'recovering') this.#early.push(live)
    if (this.#state !== 'open') return
    this.#live.took()
    const identity = identityOf(live.message)
    const known = this.#messages.get(identity)
    if (known !== undefined) {
      known.live.push(live)
      this.#ackCopies(known)
    } else if (this.#handled.has(identity)) {
      void this.#ack(live)
    } else {
      this.#fresh(live)
    }
  }

  #fresh(live: LiveItem): void {
    const item = new LaneMessage(live.message, live.attempt, live.isSuspect)
    item.live.push(live)
    const queue = this.#add(item)
    queue.items.push(item)
    if (queue.items.length === 1) this.#advance(queue)
    else if (queue.isBlocked) this.#storeLoose(queue)
  }

  lost(): void {
    if (this.#state === 'lost') return
    this.#state = 'lost'
    this.#stop()
    this.#hold.lost()
    this.#messages.clear()
    this.#dead.clear()
    this.#queues.clear()
    this.#closed.resolve()
    this.#onLost()
  }

  async close(signal: AbortSignal): Promise<void> {
    if (this.#state === 'lost') return
    this.#state = 'closing'
    this.#stop()
    const giveUp = (): void => {
      this.#closed.resolve()
    }
    signal.addEventListener('abort', giveUp, { once: true })
    if (signal.aborted) giveUp()
    this.#checkClosed()
    await this.#closed.promise
    signal.removeEventListener('abort', giveUp)
    this.lost()
  }

  /** Hands released messages out again. */
  resume(): void {
    for (const queue of this.#queues.values()) {
      if (queue.status !== 'released') continue
      queue.status = 'idle'
      this.#advance(queue)
    }
  }

  handOut(queue: KeyQueue): Delivery {
    const front = queue.items[0]
    if (front === undefined) throw new TrunklineError('core.invariant_broken', { expected: 'a key that is ready has a message' })
    queue.status = 'running'
    this.#running++
    return new LaneDelivery(this, queue, front)
  }

  async begin({ queue, item, attempt }: LaneDelivery): Promise<void> {
    const isStored = await this.#task(() => this.#putHead(queue, item, this.#head(item, 'begun', attempt, 0)))
    if (isStored) return
    throw new TrunklineError('bus.connection_lost', { adapter: this.#group.adapter, problem: 'the attempt could not be recorded, because the lane was lost' })
  }

  async settle(delivery: LaneDelivery, outcome: Outcome): Promise<void> {
    this.#running--
    // A zombie's outcome is not sent: the lane has another owner, who handles the message again.
    const stored = this.#state === 'lost' ? undefined : this.#task(() => this.#settle(delivery, outcome))
    this.#window.settled()
    await stored
  }

  async #settle({ queue, item, attempt, isBegun }: LaneDelivery, outcome: Outcome): Promise<void> {
    if (queue.status === 'running') queue.status = 'idle'
    switch (outcome.kind) {
      case 'ack':
        return await this.#finish(queue, item)
      case 'retry':
        return await this.#retry(queue, item, attempt, outcome.delayMs)
      case 'dead':
        return await this.#bury(queue, item, attempt, outcome.record)
      case 'release':
        if (queue.status !== 'broken') queue.status = 'released'
        // The attempt was recorded, but no handler saw the message: it must not count.
        if (isBegun) await this.#putHead(queue, item, this.#head(item, 'retry', attempt - 1, 0))
    }
  }

  /** The message is done: takes its copies away, then the key goes on. */
  async #finish(queue: KeyQueue, item: LaneMessage, wish?: PendingControl): Promise<void> {
    queue.items.shift()
    if (item.isHeld) queue.held--
    this.#messages.delete(item.identity)
    this.#handled.add(item.identity)
    const acked = this.#ackLive(item)
    if (item.copies.length > 0) {
      if (queue.status === 'idle') queue.status = 'settling'
      // A successor that ran while the entry was still there could run before it once more after a crash.
      const isGone = (await this.#hold.remove(item.copies)) && (wish === undefined || (await this.#hold.removePlace(wish.place)))
      if (!isGone) return this.#break(queue)
      if (queue.status === 'settling') queue.status = 'idle'
    }
    this.#hold.leave(item)
    this.#advance(queue)
    await acked
  }

  async #retry(queue: KeyQueue, item: LaneMessage, attempt: number, delayMs: number): Promise<void> {
    item.wait = 'due'
    item.isSuspect = false
    item.attempt = attempt
    item.dueAtMs = this.#clock.monotonicMs() + delayMs
    const stored = this.#putHead(queue, item, this.#head(item, 'retry', attempt, this.#clock.nowMs() + delayMs))
    if (this.#state === 'open') {
      this.#storeLoose(queue)
      this.#awaitDue(queue, item)
    }
    await stored
  }

  async #bury(queue: KeyQueue, item: LaneMessage, attempt: number, record: DeadLetterRecord): Promise<void> {
    item.wait = 'dead'
    item.isSuspect = false
    item.attempt = attempt
    item.record = record
    const head = this.#head(item, 'dead', attempt, 0, record)
    item.deadId = head.id
    this.#dead.set(head.id, queue)
    const stored = this.#putHead(queue, item, head)
    if (this.#state === 'open') this.#storeLoose(queue)
    await stored
  }

  /** Stores what the front has become, then takes its older copies away; false where that failed. */
  async #putHead(queue: KeyQueue, item: LaneMessage, head: HeadEntry): Promise<boolean> {
    item.busy++
    const older = item.copies.splice(0)
    let isPut = await this.#hold.append(queue, item, head)
    if (isPut && head.record !== undefined) isPut = await this.#hold.storeDeadLetter(head.id, item, head.record)
    if (isPut) {
      item.isBuried = head.record !== undefined
      item.isDurable = true
      void this.#ackLive(item)
      isPut = await this.#hold.remove(older)
    }
    item.busy--
    if (isPut) this.#stored(queue, item)
    else this.#break(queue)
    return isPut
  }

  /** Moves the key's messages that are only in the lane to the hold list, in order. */
  #storeLoose(queue: KeyQueue): void {
    if (this.#state !== 'open' || queue.status === 'broken') return
    for (const item of queue.loose()) {
      if (this.#hold.isFull) return
      void this.#task(() => this.#storeFollower(queue, item))
    }
  }

  async #storeFollower(queue: KeyQueue, item: LaneMessage): Promise<void> {
    item.busy++
    const { message, attempt, isSuspect } = item
    const entry: FollowerEntry = { role: 'follower', id: this.#hold.newId(), message, attempt, isSuspect }
    const isStored = await this.#hold.append(queue, item, entry)
    item.busy--
    if (!isStored) return this.#break(queue)
    item.isDurable = true
    this.#stored(queue, item)
  }

  #stored(queue: KeyQueue, item: LaneMessage): void {
    this.#ackCopies(item)
    this.#advance(queue)
  }

  /** Acks what the lane still has of a message that is safe in the hold list. */
  #ackCopies(item: LaneMessage): void {
    if (!item.isDurable || item.busy > 0 || item.live.length === 0 || this.#state === 'lost') return
    const { isBuried, deadId, record } = item
    if (isBuried || deadId === undefined || record === undefined) void this.#ackLive(item)
    else void this.#task(() => this.#storeDeadLetterAgain(item, deadId, record))
  }

  /**
   * The lane still had the message, so that its last owner may have died before it stored the dead letter. Where it had stored
   * it and an operator acts in this very moment, a dead letter stays listed that nothing waits for; acting on it drops it.
   */
  async #storeDeadLetterAgain(item: LaneMessage, id: string, record: DeadLetterRecord): Promise<void> {
    item.busy++
    const isStored = await this.#hold.storeDeadLetter(id, item, record)
    item.busy--
    if (isStored) {
      item.isBuried = true
      await this.#ackLive(item)
    }
    const queue = this.#queues.get(orderingKey(item.message))
    if (queue !== undefined) this.#advance(queue)
  }

  /** Removes what a crash left over beside the entry that counts. */
  async #clear(item: LaneMessage, superfluous: readonly HoldPlace[]): Promise<void> {
    if (item.deadId !== undefined && item.record !== undefined && item.control === undefined) {
      if (!(await this.#hold.storeDeadLetter(item.deadId, item, item.record))) return
      item.isBuried = true
    }
    for (const place of superfluous) await this.#hold.removePlace(place)
  }

  /** An operator wants a dead letter redriven or removed. */
  #wish({ target, control }: Pick<ControlEntry, 'target' | 'control'>, place: HoldPlace): void {
    const queue = this.#dead.get(target)
    const item = queue?.items.find(({ deadId }) => deadId === target)
    if (queue === undefined || item === undefined || item.control !== undefined) {
      void this.#task(() => this.#hold.removePlace(place))
      return
    }
    item.control = { control, place }
    this.#advance(queue)
  }

  async #obey(queue: KeyQueue, item: LaneMessage, wish: PendingControl): Promise<void> {
    if (item.deadId !== undefined) this.#dead.delete(item.deadId)
    item.control = undefined
    item.deadId = undefined
    item.record = undefined
    item.isBuried = false
    item.wait = 'none'
    if (wish.control === 'remove') return await this.#finish(queue, item, wish)
    item.attempt = 0
    item.isRedriven = true
    item.busy++
    const isPut = await this.#putHead(queue, item, this.#head(item, 'retry', 0, 0))
    const isObeyed = isPut && (await this.#hold.removePlace(wish.place))
    item.busy--
    if (isObeyed) this.#stored(queue, item)
    else this.#break(queue)
  }

  /** A previous owner's entry that was stored after this owner had read the list. */
  #late(entry: HeadEntry | FollowerEntry, place: HoldPlace): void {
    const identity = identityOf(entry.message)
    const known = this.#messages.get(identity)
    if (known !== undefined) {
      // Not a reason to ack the live copy: that would leave the earlier messages of the key behind this one.
      this.#hold.attach(known, entry.id, place)
    } else if (this.#handled.has(identity)) {
      void this.#task(() => this.#hold.removePlace(place))
    } else {
      const item = this.#recoveredItem(entry)
      item.isSuspect = true
      const queue = this.#add(item)
      // Never before what may be running, and before what has not run yet.
      queue.items.splice(1, 0, item)
      this.#hold.adopt(queue, item, entry.id, place)
      this.#advance(queue)
    }
  }

  #recoveredItem(entry: HeadEntry | FollowerEntry): LaneMessage {
    const item = new LaneMessage(entry.message, entry.attempt, entry.role === 'head' ? entry.state === 'begun' : entry.isSuspect)
    if (entry.role === 'follower') return item
    item.isRedriven = entry.isRedriven
    if (entry.state === 'dead') {
      item.wait = 'dead'
      item.deadId = entry.id
      item.record = entry.record
    }
    const delayMs = Math.min(entry.dueAtMs - this.#clock.nowMs(), RETRY_DELAY_LIMIT_MS)
    if (entry.state === 'retry' && delayMs > 0) {
      item.wait = 'due'
      item.dueAtMs = this.#clock.monotonicMs() + delayMs
    }
    return item
  }

  /** Registers a message; the caller puts it into the queue. */
  #add(item: LaneMessage): KeyQueue {
    const key = orderingKey(item.message)
    const queue = this.#queues.get(key) ?? new KeyQueue(key)
    this.#queues.set(key, queue)
    this.#messages.set(item.identity, item)
    if (item.deadId !== undefined) this.#dead.set(item.deadId, queue)
    return queue
  }

  /** Does what the front of a key calls for, if anything can be done now. */
  #advance(queue: KeyQueue): void {
    if (this.#state !== 'open' || queue.status !== 'idle') return
    const front = queue.items[0]
    if (front === undefined) {
      this.#queues.delete(queue.key)
      return
    }
    if (front.busy > 0) return
    const wish = front.control
    if (wish !== undefined) {
      void this.#task(() => this.#obey(queue, front, wish))
    } else if (front.wait === 'none') {
      queue.status = 'ready'
      this.#window.offer(queue, this)
    } else {
      if (front.wait === 'due') this.#awaitDue(queue, front)
      this.#storeLoose(queue)
    }
  }

  #awaitDue(queue: KeyQueue, item: LaneMessage): void {
    queue.timer ??= this.#clock.setTimer(item.dueAtMs - this.#clock.monotonicMs(), () => {
      queue.timer = undefined
      item.wait = 'none'
      this.#advance(queue)
    })
  }

  #head(item: LaneMessage, state: HeadEntry['state'], attempt: number, dueAtMs: number, record?: DeadLetterRecord): HeadEntry {
    const { message, isRedriven } = item
    return { role: 'head', id: this.#hold.newId(), message, state, attempt, dueAtMs, isRedriven, record }
  }

  #ackLive(item: LaneMessage): Promise<unknown> {
    return Promise.all(item.live.splice(0).map((live) => this.#ack(live)))
  }

  async #ack(live: LiveItem): Promise<void> {
    if (this.#state !== 'lost') await this.#live.ack(live)
  }

  #storeBlocked(): void {
    for (const queue of this.#queues.values()) if (queue.isBlocked) this.#storeLoose(queue)
  }

  #break(queue: KeyQueue): void {
    queue.stopTimer()
    this.#window.withdraw(queue)
    queue.status = 'broken'
  }

  #stop(): void {
    this.#live.close()
    this.#early = []
    this.#found = []
    for (const queue of this.#queues.values()) {
      queue.stopTimer()
      this.#window.withdraw(queue)
    }
  }

  /** Runs work that `close` waits for. */
  async #task<T>(work: () => Promise<T>): Promise<T> {
    this.#tasks++
    try {
      return await work()
    } finally {
      this.#tasks--
      this.#checkClosed()
    }
  }

  #checkClosed(): void {
    if (this.#state === 'closing' && this.#running === 0 && this.#tasks === 0) this.#closed.resolve()
  }
}
