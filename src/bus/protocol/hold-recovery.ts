import { identityOf } from './key-queue.ts'
import type { FollowerEntry, HeadEntry, HoldEntry, HoldPlace } from './lane-port.ts'

/** An entry as found at take-over. */
export interface FoundEntry {
  readonly entry: HoldEntry
  readonly place: HoldPlace
}

/** A message of the hold list after its duplicates were resolved. */
export interface RecoveredMessage {
  /** The entry that counts. */
  readonly entry: HeadEntry | FollowerEntry
  readonly place: HoldPlace
  /** Other entries of the same message, which a crash left over. */
  readonly superfluous: readonly HoldPlace[]
}

/** A control entry as found at take-over. */
export interface RecoveredControl {
  readonly target: string
  readonly control: 'redrive' | 'remove'
  readonly place: HoldPlace
}

/** What a hold list means. */
export interface RecoveredHold {
  /** Per key in the order in which they were accepted; keys are mixed. */
  readonly messages: readonly RecoveredMessage[]
  readonly controls: readonly RecoveredControl[]
}

interface Copies {
  head: FoundOf<HeadEntry> | undefined
  follower: FoundOf<FollowerEntry> | undefined
  readonly superfluous: HoldPlace[]
}

interface FoundOf<E> {
  readonly entry: E
  readonly place: HoldPlace
}

/**
 * Reads a hold list, given in append order.
 *
 * Of one message the last head counts, any head more than a follower, and of followers the first. Messages with a head
 * come first, by their first head: a message gets one only once it is at the front of its key, so that it was accepted
 * before everything that only waits. Two messages of one key with heads mean that the removal of the first one's was lost
 * with its owner: it is handled again, as at-least-once allows, and before the other.
 */
export function recoverHold(found: readonly FoundEntry[]): RecoveredHold {
  const heads = new Map<string, Copies>()
  const all = new Map<string, Copies>()
  const controls: RecoveredControl[] = []
  for (const { entry, place } of found) {
    if (entry.role === 'control') {
      controls.push({ target: entry.target, control: entry.control, place })
      continue
    }
    const identity = identityOf(entry.message)
    const copies = all.get(identity) ?? { head: undefined, follower: undefined, superfluous: [] }
    all.set(identity, copies)
    if (entry.role === 'head') {
      heads.set(identity, copies)
      if (copies.head !== undefined) copies.superfluous.push(copies.head.place)
      copies.head = { entry, place }
    } else if (copies.follower === undefined) {
      copies.follower = { entry, place }
    } else {
      copies.superfluous.push(place)
    }
  }
  const waiting = [...all].filter(([identity]) => !heads.has(identity)).map(([, copies]) => copies)
  return { messages: [...heads.values(), ...waiting].flatMap(resolved), controls }
}

function resolved({ head, follower, superfluous }: Copies): readonly RecoveredMessage[] {
  if (head === undefined) return follower === undefined ? [] : [{ ...follower, superfluous }]
  return [{ ...head, superfluous: follower === undefined ? superfluous : [...superfluous, follower.place] }]
}
