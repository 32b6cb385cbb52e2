import type { UnitHost } from '../bus/port.ts'
import { backoffMs } from '../core/backoff.ts'
import { type Timer, instantText } from '../core/clock.ts'
import { derivedId } from '../core/random.ts'
import type { StoredTimer } from '../store/port.ts'
import type { LeaseKeeper } from './lease-keeper.ts'
import type { NewOutboxRow, TimerTable, UnitTransaction } from './port.ts'
import { checkedRecurrence } from './recurrence.ts'
import type { Sharder } from './shards.ts'

/** What the alarm clock needs. */
export interface AlarmClockParts {
  readonly timers: TimerTable
  readonly host: UnitHost
  readonly leases: LeaseKeeper
  readonly sharder: Sharder
  /** Runs in one transaction and writes what it gives back to the outbox. */
  readonly commit: (work: (tx: UnitTransaction<unknown>) => Promise<readonly NewOutboxRow[]>) => Promise<number>
  readonly hearsOthers: () => boolean
}

/** Name of the lease of those who fire timers. */
export const ALARM_LEASE = 'alarm-clock'

/** Timers fired in one transaction. */
const FIRE_MAX = 100
/** Longest wait between two looks at the table. */
const LOOK_MS = 500
const LOOK_HEARD_MS = 10_000
const BACKOFF = { initialMs: 200, factor: 2, maxMs: 5_000 } as const

/**
 * Fires what was scheduled: takes due timers out of their table and writes their messages to the outbox in one transaction, so that
 * each fires once in effect, however often this process dies (F74). One process does it at a time, by a lease; it would
 * be right without it, and only cost more.
 */
export class AlarmClock {
  readonly #parts: AlarmClockParts
  #timer: Timer | undefined
  #dueAtMs = Number.POSITIVE_INFINITY
  #isStopped = true
  #isFiring = false
  #isAgain = false
  #failures = 0
  #turn: Promise<void> = Promise.resolve()

  constructor(parts: AlarmClockParts) {
    this.#parts = parts
  }

  start(): void {
    this.#isStopped = false
    this.look()
  }

  /** Something was scheduled, or a lease was gained. */
  look(): void {
    if (this.#isStopped) return
    if (this.#isFiring) {
      this.#isAgain = true
      return
    }
    this.#isFiring = true
    this.#turn = this.#round().finally(() => {
      this.#isFiring = false
      if (this.#isAgain) {
        this.#isAgain = false
        this.look()
      }
    })
  }

  async #round(): Promise<void> {
    const { timers, host, leases, hearsOthers } = this.#parts
    const lookMs = hearsOthers() ? LOOK_HEARD_MS : LOOK_MS
    let waitMs = lookMs
    try {
      if (leases.get(ALARM_LEASE) !== undefined) {
        const nextMs = await timers.nextInMs()
        if (nextMs !== undefined && nextMs <= 0) waitMs = await this.#fire()
        else waitMs = Math.min(nextMs ?? lookMs, lookMs)
      }
      this.#failures = 0
    } catch (error) {
      if (this.#failures++ === 0) host.logger.warn({ err: error }, 'scheduled messages could not be fired; it is tried again')
      waitMs = backoffMs(BACKOFF, this.#failures, host.random)
    }
    this.#plan(waitMs)
  }

  #plan(waitMs: number): void {
    if (this.#isStopped) return
    const { clock } = this.#parts.host
    this.#timer?.cancel()
    this.#dueAtMs = clock.monotonicMs() + waitMs
    this.#timer = clock.setTimer(waitMs, () => this.look(), { background: true })
  }

  /** A timer was put that is due in about this time; a later one than what is waited for changes nothing. */
  put(inMs: number): void {
    if (!this.#isStopped && this.#parts.host.clock.monotonicMs() + inMs < this.#dueAtMs) this.#plan(Math.max(0, inMs))
  }

  /** Fires a page; 0 where more may be due. */
  async #fire(): Promise<number> {
    let count = 0
    await this.#parts.commit(async (tx) => {
      const due = await tx.takeDue(FIRE_MAX)
      count = due.length
      const rows: NewOutboxRow[] = []
      for (const timer of due) {
        rows.push(this.#row(timer))
        await this.#again(tx, timer)
      }
      return rows
    })
    return count === 0 ? 1 : 0
  }

  #row(timer: StoredTimer): NewOutboxRow {
    const id = timer.recurrence === undefined ? timer.message.id : derivedId('timer', timer.id, `${timer.dueAtMs}`)
    return this.#parts.sharder.place({ kind: timer.kind, message: { ...timer.message, id, time: instantText(timer.dueAtMs) } })
  }

  /** What was missed while nobody ran is not made up for: it fires once, and next at its next time from now on. */
  async #again(tx: UnitTransaction<unknown>, timer: StoredTimer): Promise<void> {
    if (timer.recurrence === undefined) return
    const recurrence = checkedRecurrence(timer.id, timer.recurrence)
    const atMs = recurrence.next(Math.max(timer.dueAtMs, this.#parts.host.clock.nowMs()))
    await tx.putTimer({ id: timer.id, due: { atMs }, kind: timer.kind, message: timer.message, recurrence: timer.recurrence })
  }

  async stop(): Promise<void> {
    this.#isStopped = true
    this.#timer?.cancel()
    await this.#turn
  }
}
