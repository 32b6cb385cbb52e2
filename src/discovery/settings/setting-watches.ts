import type { Logger } from '../../core/logger.ts'
import type { Setting } from './setting.ts'
import type { Resolved } from './setting-table.ts'

interface Watched {
  value: unknown
  /** JSON of it: a value that is the same is told once. */
  text: string
  problem: string | undefined
  readonly watchers: Set<(value: unknown, before: unknown) => void>
}

/** The values that hold now, and who is told when another one does. */
export class Watches {
  readonly #watched = new Map<string, Watched>()

  /** The value that holds now. */
  current<T>(setting: Setting<T, unknown>): T {
    // Only values that this setting gave are kept under its name.
    return this.#of(setting).value as T
  }

  /** Tells a watcher the value now and later ones. */
  add<T>(setting: Setting<T, unknown>, watcher: (value: T, before: T | undefined) => void, logger: Logger | undefined): () => void {
    const watched = this.#of(setting)
    // As above.
    const told = (value: unknown, before: unknown): void => watcher(value as T, before as T | undefined)
    watched.watchers.add(told)
    tell(setting.name, told, watched.value, undefined, logger)
    return () => {
      watched.watchers.delete(told)
    }
  }

  /** A value that this program's schema refuses changes nothing: what held before goes on. */
  update(setting: Setting<unknown, unknown>, { value, problem }: Resolved<unknown>, logger: Logger | undefined): void {
    const watched = this.#of(setting)
    const { value: before } = watched
    watched.problem = problem
    if (problem !== undefined) {
      logger?.warn({ setting: setting.name, problem }, 'a setting has a value that this program cannot use; what held before goes on')
      return
    }
    const text = JSON.stringify(value) ?? ''
    if (text === watched.text) return
    watched.value = value
    watched.text = text
    for (const watcher of watched.watchers) tell(setting.name, watcher, value, before, logger)
  }

  /** Settings that have a value that cannot be used. */
  problems(): readonly string[] {
    return [...this.#watched].flatMap(([name, { problem }]) => (problem === undefined ? [] : [`${name}: ${problem}`]))
  }

  #of(setting: Setting<unknown, unknown>): Watched {
    let watched = this.#watched.get(setting.name)
    if (watched === undefined) {
      watched = { value: setting.initial, text: JSON.stringify(setting.initial) ?? '', problem: undefined, watchers: new Set() }
      this.#watched.set(setting.name, watched)
    }
    return watched
  }
}

function tell(name: string, watcher: (value: unknown, before: unknown) => void, value: unknown, before: unknown, logger: Logger | undefined): void {
  try {
    watcher(value, before)
  } catch (error) {
    logger?.error({ err: error, setting: name }, 'a watcher of a setting threw')
  }
}
