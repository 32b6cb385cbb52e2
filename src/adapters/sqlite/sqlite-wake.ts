import { closeSync, openSync, watch, writeSync } from 'node:fs'
import type { FSWatcher } from 'node:fs'

const ONE_BYTE = Buffer.from('.')
/** Checks in a row at which an own touch has not come back, before the watcher counts as deaf. */
const MISSES_MAX = 3

/** What the wake file has to tell, and how it is watched. */
export interface WakeOptions {
  /** False where touches of others are not to be watched. */
  readonly isWatching: boolean
  /** Somebody has touched the file. */
  readonly onTouched: () => void
  /** The file is no longer watched. */
  readonly onLost: (reason: unknown) => void
  /** Default: that of `node:fs`. */
  readonly watchFile?: typeof watch
}

/**
 * A file beside the database that processes touch after a commit and watch for the touches of others.
 * The database itself is no good for that: it changes with every page that anybody writes.
 *
 * A touch is only a hint. What it does not tell in time, the pulse finds. Some file systems let a file be
 * watched and never tell anything, so a watcher counts only after an own touch has come back to it.
 */
export class SqliteWake {
  readonly #file: string
  readonly #options: WakeOptions
  #descriptor: number | undefined
  #watcher: FSWatcher | undefined
  #isHeard = false
  #isAwaited = false
  #misses = 0

  constructor(file: string, options: WakeOptions) {
    this.#file = file
    this.#options = options
  }

  /** True while touches of others are noticed at once. */
  get isHearing(): boolean {
    return this.#watcher !== undefined && this.#isHeard
  }

  /** True where watching was asked for and is not under way. */
  get wantsWatching(): boolean {
    return this.#options.isWatching && this.#watcher === undefined
  }

  /** Begins to watch, or tries it again. It tells of a failure by `onLost`. */
  watch(): void {
    if (!this.wantsWatching) return
    try {
      this.#open()
      const watcher = (this.#options.watchFile ?? watch)(this.#file, { persistent: false })
      watcher.on('change', this.#onChange)
      watcher.on('error', (thrown) => this.#lose(thrown))
      this.#watcher = watcher
      this.touch()
    } catch (thrown) {
      this.#lose(thrown)
    }
  }

  readonly #onChange = (event: string): void => {
    // The file was moved or removed: this watcher would never hear of a new one.
    if (event === 'rename') this.#lose('it was moved or removed')
    else {
      this.#isHeard = true
      this.#isAwaited = false
      this.#misses = 0
    }
    this.#options.onTouched()
  }

  /** Wakes the other processes. */
  touch(): void {
    try {
      writeSync(this.#open(), ONE_BYTE, 0, 1, 0)
      this.#isAwaited = this.#watcher !== undefined
    } catch {
      // Their pulse finds what was committed.
      this.#closeDescriptor()
    }
  }

  /** Call it now and then, from a timer: between two calls the platform has had the time to tell of a touch. */
  check(): void {
    if (!this.#isAwaited) return
    this.#misses++
    if (this.#misses >= MISSES_MAX) this.#lose('the system tells of no change')
  }

  #open(): number {
    // 0600 as for the database itself.
    this.#descriptor ??= openSync(this.#file, 'w', 0o600)
    return this.#descriptor
  }

  #lose(reason: unknown): void {
    this.close()
    this.#options.onLost(reason)
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
    this.#isHeard = false
    this.#isAwaited = false
    this.#misses = 0
    this.#closeDescriptor()
  }
}
