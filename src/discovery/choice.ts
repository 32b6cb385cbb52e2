import type { BalanceCandidate, BalanceOptions } from '../bus/balancer.ts'
import type { Random } from '../core/random.ts'
import { isVersionIn } from './balance-options.ts'
import { balanceRules, unitHash } from './balance-rules.ts'
import type { CallBook } from './call-book.ts'
import type { Instance } from './directory-state.ts'

/** An instance with the address that a call of this kind goes to. */
export interface Reachable {
  readonly instance: Instance
  readonly address: string
}

/** What a choice is made with. */
export interface ChoiceParts {
  readonly book: CallBook
  readonly random: Random
  readonly nowMs: number
  /** Zone of the caller. */
  readonly zone: string | undefined
  readonly turn: number
  /** Addresses that were tried for this call. */
  readonly tried: ReadonlySet<string>
}

/** Near instances with fewer unanswered calls than this keep to themselves. */
const SPILL_AT = 10

/**
 * Chooses where a call goes: version and canary first, which are about what is right; then zone and outliers, which give way where
 * nobody would be left; then the rule. Undefined where nobody is left.
 */
export function choose(reachable: readonly Reachable[], options: BalanceOptions, parts: ChoiceParts): Reachable | undefined {
  const right = reachable.filter(({ instance }) => isRight(instance, options))
  const versioned = ofCanary(right, options, parts.random)
  const untried = versioned.filter(({ address }) => !parts.tried.has(address))
  const sound = orAll(withoutOutliers(untried, parts), untried)
  const near = orAll(nearOnes(sound, options, parts), sound)
  const [first, ...rest] = near.map((one) => candidateOf(one, parts))
  if (first === undefined) return undefined
  const { by = 'least-pending', key } = options
  const rule = typeof by === 'function' ? by : balanceRules[by]
  const chosen = rule([first, ...rest], { random: parts.random, key, turn: parts.turn })
  return near.find(({ address }) => address === chosen.address) ?? near[0]
}

function isRight({ weight, version }: Instance, options: BalanceOptions): boolean {
  return weight > 0 && (options.version === undefined || isVersionIn(version, options.version))
}

/** A share of the calls is for the canary; a key sticks to its side. Where one side has nobody, the other takes all. */
function ofCanary(reachable: readonly Reachable[], { canary, key }: BalanceOptions, random: Random): readonly Reachable[] {
  if (canary === undefined) return reachable
  const isForCanary = (key === undefined ? random.next() : unitHash('canary', key)) < canary.share
  return orAll(reachable.filter(({ instance }) => isVersionIn(instance.version, canary.version) === isForCanary), reachable)
}

function withoutOutliers(reachable: readonly Reachable[], { book, random, nowMs }: ChoiceParts): readonly Reachable[] {
  const out = book.out(reachable.map(({ address }) => address), nowMs)
  return reachable.filter(({ address }) => {
    if (out.has(address)) return false
    const { share } = book.standing(address, nowMs)
    // One that comes back gets a part of its share; one that only the limit keeps in gets it whole.
    return share === 0 || share === 1 || random.next() < share
  })
}

function nearOnes(reachable: readonly Reachable[], { zone = 'any', spillAt = SPILL_AT }: BalanceOptions, { book, nowMs, zone: own }: ChoiceParts): readonly Reachable[] {
  if (zone === 'any' || own === undefined) return []
  const near = reachable.filter(({ instance }) => instance.zone === own)
  const pending = near.reduce((sum, { address }) => sum + book.standing(address, nowMs).pending, 0)
  return pending < spillAt * near.length ? near : []
}

function orAll(some: readonly Reachable[], all: readonly Reachable[]): readonly Reachable[] {
  return some.length > 0 ? some : all
}

function candidateOf({ instance: { instance, version, zone, weight, tags }, address }: Reachable, { book, nowMs }: ChoiceParts): BalanceCandidate {
  const { pending, latencyMs } = book.standing(address, nowMs)
  return { instance, address, version, zone, weight, tags, pending, latencyMs }
}
