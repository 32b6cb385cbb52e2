import { TrunklineError } from '../core/errors.ts'

/** Lifts data of one version to the next. */
export type Upcaster = (old: never) => unknown

/** `1 | 2 | … | V - 1`. */
type OlderThan<V extends number, Seen extends readonly 0[] = readonly [0]> = Seen['length'] extends V
  ? never
  : Seen['length'] extends 64
    ? number
    : Seen['length'] | OlderThan<V, readonly [...Seen, 0]>

type CountTo<N extends number, Seen extends readonly 0[] = readonly []> = Seen['length'] extends N ? Seen : CountTo<N, readonly [...Seen, 0]>
type Next<N extends number> = [...CountTo<N>, 0]['length']
type Taken<U, N extends number> = U extends { readonly [K in N]: (old: infer O) => unknown } ? O : never

/**
 * What the compiler asks of `upcast`: a function for each version before `V`, each giving what the
 * next one takes, the last one giving what the schema accepts.
 */
export type UpcastChain<V extends number, I, U> = [OlderThan<V>] extends [never]
  ? { readonly upcast?: undefined }
  : { readonly upcast: { readonly [N in OlderThan<V>]: (old: Taken<U, N>) => Next<N> extends V ? I : Next<N> extends number ? Taken<U, Next<N>> : never } }

/**
 * The chain as a list: the function at index `n - 1` lifts version `n`.
 *
 * @throws `contract.definition_invalid` for a gap, a surplus or something that is no function.
 */
export function checkedUpcasts(type: string, version: number, upcast: unknown): readonly Upcaster[] {
  const entries: ReadonlyMap<string, unknown> = new Map(Object.entries(typeof upcast === 'object' && upcast !== null ? upcast : {}))
  const chain: Upcaster[] = []
  for (let from = 1; from < version; from++) {
    const step = entries.get(`${from}`)
    if (!isUpcaster(step)) throw new TrunklineError('contract.definition_invalid', { type, problem: `version ${version} needs an upcaster from version ${from}` })
    chain.push(step)
  }
  const surplus = [...entries.keys()].find((key) => !(Number.isSafeInteger(Number(key)) && Number(key) >= 1 && Number(key) < version && `${Number(key)}` === key))
  if (surplus !== undefined) throw new TrunklineError('contract.definition_invalid', { type, problem: `the upcaster from ${JSON.stringify(surplus)} does not lead to version ${version}` })
  return chain
}

function isUpcaster(value: unknown): value is Upcaster {
  return typeof value === 'function'
}

/**
 * Data of version `from`, lifted to version `to`.
 *
 * @throws `contract.version_unknown` for a version that is newer or was never defined, `contract.upcast_failed`.
 */
export function upcasted(type: string, chain: readonly Upcaster[], from: number, to: number, data: unknown): unknown {
  if (!Number.isSafeInteger(from) || from < 1 || from > to) {
    throw new TrunklineError('contract.version_unknown', { type, version: String(from).slice(0, 40), versionMax: to })
  }
  let value = data
  for (let version = from; version < to; version++) {
    try {
      // The compiler checked that each step takes what the step before gives.
      value = chain[version - 1]?.(value as never)
    } catch (cause) {
      throw new TrunklineError('contract.upcast_failed', { type, fromVersion: version, problem: cause instanceof Error ? cause.message.slice(0, 500) : 'it threw' }, { cause })
    }
  }
  return value
}
