/** A number from 0 below `range` that a text determines, so that every run of a file has the same luck: FNV-1a. */
export function spread(text: string, range: number): number {
  let hash = 0x811c9dc5
  for (let at = 0; at < text.length; at++) hash = Math.imul(hash ^ text.charCodeAt(at), 0x01000193)
  return (hash >>> 0) % range
}

/** What the customer's bank does with a payment: it says no, it makes it and answers too late, it makes it and never answers. */
export type BankMood = 'no' | 'late' | 'silent' | 'well'

const MOODS: readonly BankMood[] = ['no', 'late', 'silent']
/** One order in so many has each of the moods. */
const MOOD_RANGE = 20

/** The mood for one order, whatever run it belongs to. */
export function bankMoodOf(orderId: string): BankMood {
  return MOODS[spread(orderId.slice(orderId.indexOf('.') + 1), MOOD_RANGE)] ?? 'well'
}
