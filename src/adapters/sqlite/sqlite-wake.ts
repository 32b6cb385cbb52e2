import { closeSync, openSync, watch, writeSync } from 'node:fs'
import type { FSWatcher } from 'node:fs'

const ONE_BYTE = Buffer.from('.')

/**
 * A file beside the database that processes touch after a commit and watch for the touches of others.
 * The database itself is no good for that: it changes with every page that anybody writes.
 *
 * A touch is only a hint. What it does not tell in time, the pulse finds.
 */
export class SqliteWake {
  readonly #file: string
  readonly #onTouched: () => void
  readonly #onLost: (thrown: unknown) => void
  #descriptor: number | undefined
  #watcher: FSWatcher | undefined

  constructor(file: string, onTouched: () => void, onLost: (thrown: unknown) => void) {
    this.#file = file
    this.#onTouched = onTouched
    this.#onLost = onLost
  }

  /** True while touches of others are noticed at once. */
  get isWatching(): boolean {
    return this.#watcher !== undefined
  }

  /** Begins to watch, or tries it again. It tells of a failure by `onLost`. */
  watch(): void {
    if (this.#watcher !== undefined) return
    try {
      this.#open()
      const watcher = watch(this.#file, { persistent: false })
      watcher.on('change', (event) => {
        // The file was moved or removed: this watcher would never hear of a new one.
        if (event === 'rename') this.#lose(undefined)
        this.#onTouched()
      })
      watcher.on('error', (thrown) => this.#lose(thrown))
      this.#watcher = watcher
    } catch (thrown) {
      this.#lose(thrown)
    }
  }

  /** Wakes the other processes. */
  touch(): void {
    try {
      writeSync(this.#open(), ONE_BYTE, 0, 1, 0)
    } catch {
      // Their pulse finds what was committed.
      this.#closeDescriptor()
    }
  }

  #open(): number {
    // 0600 as for the database itself.
    this.#descriptor ??= openSync(this.#file, 'w', 0o600)
    return this.#descriptor
  }

  #lose(thrown: unknown): void {
    this.close()
    this.#onLost(thrown)
  }

  #closeDescriptor(): void {
    if (this.#descriptor === undefined) return
    const descriptor = this.#descriptor
    this.#descriptor = undefined
    try {
      closeSync(descriptor)
    } catch {
      // Nothing of value is in the file.
    }
  }

  close(): void {
    this.#watcher?.close()
    this.#watcher = undefined
    this.#closeDescriptor()
  }
}
