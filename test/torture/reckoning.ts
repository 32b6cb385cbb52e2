// What must come out, whatever was killed: counted from what was asked for, what was done, and in which order.

/** Where effects are counted: the ledger's own, one message further, and what follows the log of events. */
export const PLACES = ['ledger', 'audit', 'tally'] as const
export type Place = (typeof PLACES)[number]

/** A transfer that was committed. */
export interface Asked {
  readonly id: string
  readonly from: string
  readonly to: string
  readonly cents: number
  /** The `n`-th of its account, from 1, in the order of the commits. */
  readonly n: number
}

/** Something that a handler has committed. */
export interface Effect {
  readonly place: string
  readonly id: string
  /** The account that it is of. */
  readonly name: string
  readonly n: number
}

/** Everything that is in the database. */
export interface Books {
  readonly asked: readonly Asked[]
  /** In the order in which they were committed, at least within a place and an account. */
  readonly effects: readonly Effect[]
  readonly cents: ReadonlyMap<string, number>
}

/** What came out. */
export interface Reckoning {
  /** Transfers that were committed. */
  readonly requests: number
  /** Messages and events that had to have their effect. */
  readonly messages: number
  readonly lost: number
  readonly doubled: number
  readonly outOfOrder: number
  /** Effects of transfers that were never committed. */
  readonly ghosts: number
  /** True where every balance is, to the cent, what the transfers make it. */
  readonly balances: boolean
}

/** Counts. */
export function reckon({ asked, effects, cents }: Books, openingCents: number): Reckoning {
  const known = new Set(asked.map(({ id }) => id))
  let [lost, doubled, outOfOrder, ghosts] = [0, 0, 0, 0]
  for (const place of PLACES) {
    const seen = new Set<string>()
    const last = new Map<string, number>()
    for (const { id, name, n } of effects.filter((effect) => effect.place === place)) {
      if (!known.has(id)) ghosts++
      if (seen.has(id)) {
        doubled++
        continue
      }
      // After a lost one the next is in order again: it is counted as lost, once.
      if (n <= (last.get(name) ?? 0)) outOfOrder++
      last.set(name, Math.max(n, last.get(name) ?? 0))
      seen.add(id)
    }
    lost += asked.filter(({ id }) => !seen.has(id)).length
  }
  return { requests: asked.length, messages: asked.length * PLACES.length, lost, doubled, outOfOrder, ghosts, balances: areRight(asked, cents, openingCents) }
}

function areRight(asked: readonly Asked[], cents: ReadonlyMap<string, number>, openingCents: number): boolean {
  const right = new Map([...cents.keys()].map((name) => [name, openingCents]))
  const numbers = new Map<string, number>()
  for (const one of asked) {
    right.set(one.from, (right.get(one.from) ?? openingCents) - one.cents)
    right.set(one.to, (right.get(one.to) ?? openingCents) + one.cents)
    numbers.set(one.from, (numbers.get(one.from) ?? 0) + 1)
  }
  // What was asked for is itself without gaps: else a lost commit would not be missed.
  const highest = new Map<string, number>()
  for (const { from, n } of asked) highest.set(from, Math.max(n, highest.get(from) ?? 0))
  if ([...highest].some(([name, n]) => numbers.get(name) !== n)) return false
  return [...right].every(([name, sum]) => cents.get(name) === sum)
}
