import type { CallPolicy, PolicyRun, PolicyWork } from '../bus/call-policy.ts'
import type { Policy } from './policy.ts'

/** A policy that can be exchanged while it is in use. */
export class Replaceable<Fallback> implements Policy<Fallback> {
  declare readonly '~fallback'?: { readonly value: Fallback }
  readonly kind = 'composed'
  #inner: CallPolicy<Fallback>

  constructor(inner: CallPolicy<Fallback>) {
    this.#inner = inner
  }

  get name(): string {
    return this.#inner.name
  }

  /** From now on calls run under another one; those under way end under the one that they began with. */
  replace(inner: CallPolicy<Fallback>): void {
    this.#inner = inner
  }

  run<T>(work: PolicyWork<T>, options?: PolicyRun): Promise<T | Fallback> {
    return this.#inner.run(work, options)
  }
}

/** A policy that can be exchanged while it is in use, by a setting for instance. The new one begins with a state of its own. */
export function replaceable<Fallback>(inner: CallPolicy<Fallback>): Replaceable<Fallback> {
  return new Replaceable(inner)
}
