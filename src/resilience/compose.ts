import type { CallPolicy, PolicyCall, PolicyRun, PolicyWork } from '../bus/call-policy.ts'
import { TrunklineError } from '../core/errors.ts'
import { type Policy, wholeCall } from './policy.ts'

class Composed<Fallback> implements Policy<Fallback> {
  declare readonly '~fallback'?: { readonly value: Fallback }
  readonly kind = 'composed'
  readonly name: string
  readonly #policies: readonly CallPolicy<Fallback>[]

  constructor(policies: readonly CallPolicy<Fallback>[]) {
    this.#policies = policies
    this.name = policies.map(({ name }) => name).join(' > ')
  }

  run<T>(work: PolicyWork<T>, options?: PolicyRun): Promise<T | Fallback> {
    return this.#inside(0, work, wholeCall(options, this.name))
  }

  #inside<T>(index: number, work: PolicyWork<T>, call: PolicyCall): Promise<T | Fallback> {
    const policy = this.#policies[index]
    if (policy === undefined) return once(work, call)
    if (index === this.#policies.length - 1) return policy.run(work, call)
    return policy.run((_signal, inner) => this.#inside(index + 1, work, inner), call)
  }
}

async function once<T>(work: PolicyWork<T>, call: PolicyCall): Promise<T> {
  return await work(call.signal, call)
}

/**
 * One policy of several, at most eight, the first one outermost: `compose(fallback({ value: 0 }), retry(), circuitBreaker(), timeout(500))` limits each attempt,
 * counts each attempt, and stands in when all of them failed.
 *
 * @throws `core.option_invalid` for something that is no policy.
 */
export function compose<A = never, B = never, C = never, D = never, E = never, F = never, G = never, H = never>(
  first?: CallPolicy<A>, second?: CallPolicy<B>, third?: CallPolicy<C>, fourth?: CallPolicy<D>,
  fifth?: CallPolicy<E>, sixth?: CallPolicy<F>, seventh?: CallPolicy<G>, eighth?: CallPolicy<H>,
): Policy<A | B | C | D | E | F | G | H> {
  const given: readonly (CallPolicy<A | B | C | D | E | F | G | H> | undefined)[] = [first, second, third, fourth, fifth, sixth, seventh, eighth]
  const policies = given.filter((policy) => policy !== undefined)
  for (const policy of policies) {
    if (typeof policy.run !== 'function') throw new TrunklineError('core.option_invalid', { option: 'given to compose', expected: 'policies, such as timeout(500)', actual: typeof policy })
  }
  return new Composed(policies)
}
