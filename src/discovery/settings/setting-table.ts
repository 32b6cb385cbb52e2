import type { Setting } from './setting.ts'
import type { SettingChange } from './setting-contracts.ts'
import { type SettingReader, fit, scopeKey } from './setting-scope.ts'

/** What a reader has of a setting now. */
export interface Resolved<T> {
  readonly value: T
  /** The change that it comes from; undefined for the default. */
  readonly change: SettingChange | undefined
  /** Why a newer or more exact value is not used: this program's schema refuses it. */
  readonly problem: string | undefined
}

/**
 * The last change of every setting and scope, as far as it is known here. Changes may come in any order and any number of times: the one with
 * the higher revision stays.
 */
export class SettingTable {
  readonly #reader: SettingReader
  /** By name, then by scope. */
  readonly #changes = new Map<string, Map<string, SettingChange>>()

  constructor(reader: SettingReader) {
    this.#reader = reader
  }

  /** Every last change. */
  all(): readonly SettingChange[] {
    return [...this.#changes.values()].flatMap((scopes) => [...scopes.values()])
  }

  /** Takes a change in; false where it was known, or a later one is. */
  apply(change: SettingChange): boolean {
    const scopes = this.#changes.get(change.name) ?? new Map<string, SettingChange>()
    const key = scopeKey(change.scope)
    const known = scopes.get(key)
    if (known !== undefined && known.revision >= change.revision) return false
    this.#changes.set(change.name, scopes.set(key, change))
    return true
  }

  /** What the reader has: the most exact value that fits it and that the schema accepts, else the default. */
  resolve<T>(setting: Setting<T, unknown>): Resolved<T> {
    let problem: string | undefined
    for (const change of this.#fitting(setting.name)) {
      try {
        return { value: setting.checked(change.value), change, problem }
      } catch (error) {
        problem ??= error instanceof Error ? error.message : `the value of revision ${change.revision} is refused`
      }
    }
    return { value: setting.initial, change: undefined, problem }
  }

  /** Most exact first. */
  #fitting(name: string): readonly SettingChange[] {
    const scopes = [...(this.#changes.get(name)?.values() ?? [])]
    const ranked = scopes.flatMap((change) => {
      const rank = change.isCleared ? undefined : fit(change.scope, this.#reader)
      return rank === undefined ? [] : [{ change, rank }]
    })
    return ranked.toSorted((left, right) => right.rank - left.rank).map(({ change }) => change)
  }
}
