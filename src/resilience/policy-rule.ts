import type { CallPolicy } from '../bus/call-policy.ts'
import type { AnyCommand, AnyQuery, Contract, ReplyOutput } from '../contract/contract.ts'
import { isTypeName, splitType } from '../contract/names.ts'
import { TrunklineError, errorText } from '../core/errors.ts'

/** Which policy stands round which contracts. */
export interface PolicyRule {
  /** A type, `context.*`, or `*`. */
  readonly matches: string
  readonly policyFor: (contract: Contract) => CallPolicy<unknown>
}

const OWN_CONTEXT = 'trunkline'
const CONTEXT = /^[a-z][a-z0-9]*(?:-[a-z0-9]+)*\.\*$/

/**
 * Says which policy stands round which contracts: a contract (or its type), all of a context (`'pricing.*'`), or all there are (`'*'`). One policy value shares its
 * breaker and its permits among everything that it stands round; give a function to make one for each contract.
 *
 * @throws `core.option_invalid`.
 */
export function policyRule<C extends AnyQuery | AnyCommand, F extends ReplyOutput<C> = never>(contract: C, policy: CallPolicy<F>): PolicyRule
export function policyRule(pattern: string | Contract, policy: CallPolicy | ((contract: Contract) => CallPolicy)): PolicyRule
export function policyRule(target: string | Contract, policy: CallPolicy<unknown> | ((contract: Contract) => CallPolicy<unknown>)): PolicyRule {
  const matches = typeof target === 'string' ? target : target?.type
  if (typeof matches !== 'string' || !(matches === '*' || CONTEXT.test(matches) || isTypeName(matches))) {
    throw new TrunklineError('core.option_invalid', { option: 'given to policyRule', expected: 'a contract, its type, "context.*" or "*"', actual: errorText(matches).slice(0, 200) })
  }
  if (typeof policy === 'function') return { matches, policyFor: (contract) => checked(policy(contract)) }
  const one = checked(policy)
  return { matches, policyFor: () => one }
}

function checked(policy: CallPolicy<unknown>): CallPolicy<unknown> {
  if (typeof policy?.run === 'function') return policy
  throw new TrunklineError('core.option_invalid', { option: 'policy of policyRule', expected: 'a policy, or a function that makes one', actual: typeof policy })
}

/** Finds the policy of a contract: the rule for its type comes before that for its context, and that before the one for all. Each contract has one. */
export class RuleBook {
  readonly #rules: ReadonlyMap<string, PolicyRule>
  readonly #found = new Map<string, CallPolicy<unknown> | undefined>()

  /** @throws `core.option_invalid` for two rules for the same. */
  constructor(place: string, rules: readonly PolicyRule[]) {
    const twice = rules.find(({ matches }, at) => rules.findIndex((other) => other.matches === matches) !== at)
    if (twice !== undefined) throw new TrunklineError('core.option_invalid', { option: place, expected: 'one rule for each contract, context or all', actual: `two rules for ${twice.matches}` })
    this.#rules = new Map(rules.map((rule) => [rule.matches, rule]))
  }

  readonly policyOf = (contract: Contract): CallPolicy<unknown> | undefined => {
    const { type } = contract
    if (this.#found.has(type)) return this.#found.get(type)
    const { context } = splitType(type)
    // What the library says to itself is not slowed down by a rule for the user's own.
    const rule = this.#rules.get(type) ?? this.#rules.get(`${context}.*`) ?? (context === OWN_CONTEXT ? undefined : this.#rules.get('*'))
    const policy = rule?.policyFor(contract)
    this.#found.set(type, policy)
    return policy
  }
}
