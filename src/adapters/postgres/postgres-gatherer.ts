import type { Clock } from '../../core/clock.ts'
import type { Appended, LogPage, NewTimer } from '../../store/port.ts'
import { PgFlight } from './postgres-flight.ts'
import type { PgEventLog, StreamAppend, StreamRead } from './postgres-log.ts'
import type { PgUnitExecutor } from './postgres-session.ts'
import type { PgTimers } from './postgres-timers.ts'

/** What the gatherer writes to. */
export interface GatheredTables {
  readonly log: Pick<PgEventLog, 'appendStreamsOn' | 'readStreamsOn'>
  readonly timers: Pick<PgTimers, 'putMany' | 'cancelMany'>
}

/**
 * Gathers what the units that share a transaction want within one turn of the event loop: one statement reads all their streams, one appends to them, one
 * removes their timers and one sets them. Nothing overtakes anything of the same stream or timer.
 */
export class PgGatherer {
  readonly #clock: Pick<Clock, 'defer'>
  readonly #reads: PgFlight<StreamRead, LogPage>
  readonly #appends: PgFlight<StreamAppend, Appended>
  readonly #cancels: PgFlight<string, boolean>
  readonly #puts: PgFlight<NewTimer, true>
  /** Streams and timers that something waits for. */
  readonly #names = new Set<string>()
  #left: Promise<unknown> = Promise.resolve()

  constructor(executor: PgUnitExecutor, { log, timers }: GatheredTables, clock: Pick<Clock, 'defer'>) {
    this.#clock = clock
    this.#reads = new PgFlight((reads) => log.readStreamsOn(executor, reads))
    this.#appends = new PgFlight((appends) => log.appendStreamsOn(executor, appends))
    this.#cancels = new PgFlight((ids) => timers.cancelMany(executor, ids))
    this.#puts = new PgFlight(async (puts) => {
      await timers.putMany(executor, puts)
      return puts.map(() => true)
    })
  }

  readStream(read: StreamRead): Promise<LogPage> {
    return this.#gathered(`stream ${read.stream}`, () => this.#reads.add(read))
  }

  append(append: StreamAppend): Promise<Appended> {
    return this.#gathered(`stream ${append.stream}`, () => this.#appends.add(append))
  }

  cancelTimer(id: string): Promise<boolean> {
    return this.#gathered(`timer ${id}`, () => this.#cancels.add(id))
  }

  async putTimer(timer: NewTimer): Promise<void> {
    await this.#gathered(`timer ${timer.id}`, () => this.#puts.add(timer))
  }

  /** Sends what waits; resolves when all that was sent has an outcome. */
  async flush(): Promise<void> {
    this.leave()
    await this.#left
  }

  /** Sends what waits. */
  leave(): void {
    if (this.#names.size === 0) return
    this.#names.clear()
    this.#left = Promise.all([this.#left, this.#reads.leave(), this.#appends.leave(), this.#cancels.leave(), this.#puts.leave()])
  }

  #gathered<T>(name: string, add: () => T): T {
    if (this.#names.has(name)) this.leave()
    if (this.#names.size === 0) this.#clock.defer(() => this.leave())
    this.#names.add(name)
    return add()
  }
}
