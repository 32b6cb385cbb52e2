import type { Books, Reckoning } from './reckoning.ts'

/** Effects that sagas have, and how each ends. */
export const SAGA_PLACES = ['debit', 'credit', 'ended'] as const

/**
 * Counts sagas. `lost`: without an end, or ended without what its outcome says. `doubled`: a step, a compensation or an end that is there more than once.
 * `ghosts`: what was not undone although the outcome says so, and what nobody asked for. Order is not promised between sagas.
 */
export function reckonSagas({ asked, effects, cents }: Books, openingCents: number): Reckoning {
  const known = new Set(asked.map(({ id }) => id))
  const counts = new Map<string, Map<string, number>>()
  const outcomes = new Map<string, string>()
  let [lost, doubled, ghosts] = [0, 0, 0]
  for (const { place, id, name } of effects) {
    if (!known.has(id)) ghosts++
    if (place === 'ended') outcomes.set(id, name)
    const of = counts.get(id) ?? new Map<string, number>()
    const count = (of.get(place) ?? 0) + 1
    if (count > 1) doubled++
    counts.set(id, of.set(place, count))
  }
  const right = new Map([...cents.keys()].map((name) => [name, openingCents]))
  for (const { id, from, to, cents: moved } of asked) {
    const has = (place: string): boolean => counts.get(id)?.has(place) === true
    const outcome = outcomes.get(id)
    if (outcome === undefined) lost++
    else if (outcome === 'completed') {
      if (!has('debit') || !has('credit')) lost++
      if (has('refund') || has('take-back')) ghosts++
      right.set(from, (right.get(from) ?? 0) - moved)
      right.set(to, (right.get(to) ?? 0) + moved)
    } else if (outcome !== 'compensated' || has('debit') !== has('refund') || has('credit') !== has('take-back')) ghosts++
  }
  const balances = [...right].every(([name, sum]) => cents.get(name) === sum)
  return { requests: asked.length, messages: effects.length, lost, doubled, outOfOrder: 0, ghosts, balances }
}
