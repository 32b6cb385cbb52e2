import { LANE_HELD_MAX } from '../../core/limits.ts'
import type { DeadLetterRecord } from '../port.ts'
import { BrokerCalls, type CallResult } from './broker-calls.ts'
import { HoldCopy, type KeyQueue, type LaneMessage } from './key-queue.ts'
import type { FollowerEntry, HeadEntry, HoldEntry, HoldPlace, LaneBacking } from './lane-port.ts'

/** The hold list may take live messages in again when it has shrunk to this part of its limit. */
const RESUME_SHARE = 0.75

/** What a hold list needs to know of its lane. */
export interface HoldListSettings {
  readonly backing: LaneBacking
  /** For logs and health: which lane of which group it is. */
  readonly title: string
  /** Unique to this ownership, so that entries of other owners are told apart. */
  readonly ownership: string
  /** The list has room again. */
  readonly onRoom: () => void
}

/** The owner's side of a lane's hold list: writes it, keeps the places of its entries, and bounds it. */
export class HoldList {
  readonly #settings: HoldListSettings
  readonly #calls = new BrokerCalls()
  readonly #copies = new Map<string, HoldCopy>()
  #lastId = 0
  #held = 0
  #isPaused = false
  #isGivenUp = false

  constructor(settings: HoldListSettings) {
    this.#settings = settings
  }

  /** True where no further live message should be moved here. Heads are still stored: they are as many as run. */
  get isFull(): boolean {
    return this.#held >= LANE_HELD_MAX
  }

  /** A new id for an entry; unique among all owners. */
  newId(): string {
    this.#lastId++
    return `${this.#settings.ownership}-${this.#lastId}`
  }

  /**
   * Starts to store an entry and resolves with true when it and all entries of the key before it are stored. After false
   * nothing of the key may be acked: the lane was lost, or the broker refused and the lane is given up.
   */
  append(queue: KeyQueue, item: LaneMessage, entry: HeadEntry | FollowerEntry): Promise<boolean> {
    const copy = this.#newCopy(item, entry.id)
    this.#enter(queue, item)
    const stored = this.#calls.run(() => this.#settings.backing.append(entry))
    queue.appended = this.#confirmed(copy, stored, queue.appended)
    return queue.appended
  }

  async #confirmed(copy: HoldCopy, stored: Promise<CallResult<HoldPlace | undefined>>, before: Promise<boolean>): Promise<boolean> {
    const result = await stored
    const isDone = this.#isDone(result)
    if (result.kind === 'done' && result.value !== undefined) copy.found(result.value)
    if (await before) return isDone
    // A later entry without the earlier one would let its message overtake after a crash.
    if (isDone) void this.remove([copy])
    return false
  }

  /** Keeps a message's entry that was found in the broker. */
  adopt(queue: KeyQueue, item: LaneMessage, id: string, place: HoldPlace): void {
    this.#newCopy(item, id).found(place)
    this.#enter(queue, item)
    item.isDurable = true
  }

  /** Keeps an entry to remove with the message, without relying on it. */
  attach(item: LaneMessage, id: string, place: HoldPlace): void {
    this.#newCopy(item, id).found(place)
  }

  /** True for an entry that is already known here: of this owner, come back with its place. */
  recognise(entry: HoldEntry, place: HoldPlace): boolean {
    this.#copies.get(entry.id)?.found(place)
    return this.#copies.has(entry.id) || entry.id.startsWith(`${this.#settings.ownership}-`)
  }

  /** Removes copies as soon as their places are known; false as with `append`. */
  async remove(copies: readonly HoldCopy[]): Promise<boolean> {
    const results = await Promise.all(
      copies.map((copy) =>
        this.#calls.run(async () => {
          const place = await copy.place
          await place.remove()
        }),
      ),
    )
    for (const { id } of copies) this.#copies.delete(id)
    return results.every((result) => this.#isDone(result))
  }

  /** Removes an entry that belongs to no message; false as with `append`. */
  async removePlace(place: HoldPlace): Promise<boolean> {
    return this.#isDone(await this.#calls.run(() => place.remove()))
  }

  /** Stores the dead letter of a `dead` item; false as with `append`. */
  async storeDeadLetter(id: string, item: LaneMessage, record: DeadLetterRecord): Promise<boolean> {
    return this.#isDone(await this.#calls.run(() => this.#settings.backing.storeDeadLetter(id, item.message, record)))
  }

  /** The message is no longer held. */
  leave(item: LaneMessage): void {
    if (!item.isHeld) return
    item.isHeld = false
    this.#held--
    if (!this.#isPaused || this.#held > LANE_HELD_MAX * RESUME_SHARE) return
    this.#isPaused = false
    this.#settings.backing.degraded(undefined)
    this.#settings.backing.resumeLive()
    this.#settings.onRoom()
  }

  /** Every call that is on its way ends now, and nothing is sent any more. */
  lost(): void {
    this.#calls.abandon()
    if (this.#isPaused) this.#settings.backing.degraded(undefined)
  }

  #newCopy(item: LaneMessage, id: string): HoldCopy {
    const copy = new HoldCopy(id)
    this.#copies.set(id, copy)
    item.copies.push(copy)
    return copy
  }

  #enter(queue: KeyQueue, item: LaneMessage): void {
    if (item.isHeld) return
    item.isHeld = true
    queue.held++
    this.#held++
    if (this.isFull && !this.#isPaused) this.#pause()
  }

  #pause(): void {
    this.#isPaused = true
    this.#settings.backing.pauseLive()
    this.#settings.backing.degraded(`${this.#settings.title} holds back ${this.#held} messages and takes no new ones until some of them are settled`)
  }

  #isDone(result: CallResult<unknown>): boolean {
    if (result.kind === 'refused' && !this.#isGivenUp) {
      this.#isGivenUp = true
      this.#settings.backing.giveUp(result.problem)
    }
    return result.kind === 'done'
  }
}
