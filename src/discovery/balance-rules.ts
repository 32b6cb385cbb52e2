import { createHash } from 'node:crypto'
import type { BalanceCandidate, BalanceName, BalanceRule } from '../bus/balancer.ts'
import type { Random } from '../core/random.ts'

type Candidates = readonly [BalanceCandidate, ...BalanceCandidate[]]

/** Pending calls of an instance may be this much above the average before a key goes to the next one. */
const LOAD_FACTOR = 1.25

/** Every rule by its name. Those of no weight are not among the candidates. */
export const balanceRules: Readonly<Record<BalanceName, BalanceRule>> = {
  'round-robin': (candidates, { turn }) => candidates[turn % candidates.length] ?? candidates[0],
  random: (candidates, { random }) => candidates[Math.floor(random.next() * candidates.length)] ?? candidates[0],
  weighted: (candidates, { random }) => byWeight(candidates, random),
  'least-pending': (candidates, { random }) => betterOfTwo(candidates, random, ({ pending, weight }) => (pending + 1) / weight),
  latency: (candidates, { random }) => {
    const known = candidates.flatMap(({ latencyMs }) => (latencyMs === undefined ? [] : [latencyMs]))
    const usual = known.length === 0 ? 1 : known.reduce((sum, one) => sum + one, 0) / known.length
    // Pending calls multiply: they are what the next one has to wait for.
    return betterOfTwo(candidates, random, ({ pending, latencyMs, weight }) => (((latencyMs ?? usual) + 1) * (pending + 1)) / weight)
  },
  hash: (candidates, { key, random }) => (key === undefined ? betterOfTwo(candidates, random, ({ pending }) => pending) : byHash(candidates, key)),
}

function byWeight(candidates: Candidates, random: Random): BalanceCandidate {
  let point = random.next() * candidates.reduce((sum, { weight }) => sum + weight, 0)
  for (const candidate of candidates) {
    point -= candidate.weight
    if (point < 0) return candidate
  }
  return candidates[0]
}

/** Two at random, and the better of them: nearly as even as looking at all, and no herd runs to the same one. */
function betterOfTwo(candidates: Candidates, random: Random, cost: (candidate: BalanceCandidate) => number): BalanceCandidate {
  const at = Math.floor(random.next() * candidates.length)
  const first = candidates[at] ?? candidates[0]
  if (candidates.length === 1) return first
  const second = candidates[(at + 1 + Math.floor(random.next() * (candidates.length - 1))) % candidates.length] ?? candidates[0]
  return cost(second) < cost(first) ? second : first
}

/**
 * Rendezvous hashing with bounded loads: a key stays with its instance while that is there and not far busier than the others, and
 * only the keys of an instance that goes move.
 */
function byHash(candidates: Candidates, key: string): BalanceCandidate {
  const pending = candidates.reduce((sum, candidate) => sum + candidate.pending, 0)
  const most = Math.ceil(((pending + 1) / candidates.length) * LOAD_FACTOR)
  const ranked = candidates.map((candidate) => ({ candidate, rank: rankOf(key, candidate) })).toSorted((left, right) => right.rank - left.rank)
  return (ranked.find(({ candidate }) => candidate.pending < most) ?? ranked[0])?.candidate ?? candidates[0]
}

/** The higher, the more a key belongs to an instance; an instance of twice the weight gets twice the keys. */
function rankOf(key: string, { instance, weight }: BalanceCandidate): number {
  return -weight / Math.log(unitHash(key, instance))
}

/** A number above 0 and below 1 that is the same for the same texts on every machine. */
export function unitHash(...texts: readonly string[]): number {
  const digest = createHash('sha256').update(JSON.stringify(texts)).digest()
  return (digest.readUIntBE(0, 6) + 1) / (2 ** 48 + 1)
}
