import type { MessageMaker, ScheduleOptions, Scheduling } from '../bus/port.ts'
import { refuseInUnit } from '../bus/unit-scope.ts'
import type { Contract } from '../contract/contract.ts'
import type { Clock } from '../core/clock.ts'
import { TrunklineError } from '../core/errors.ts'
import type { Random } from '../core/random.ts'
import type { StoredTimer } from '../store/port.ts'
import type { TimerTable } from './port.ts'
import { timerOf } from './schedule-options.ts'
import type { UnitRunner } from './unit-runner.ts'

/** What is scheduled, for people. */
export interface Scheduled {
  readonly id: string
  readonly dueAtMs: number
  readonly type: string
  readonly kind: 'event' | 'command'
  readonly cron: string | undefined
  readonly timeZone: string | undefined
}

/** What a scheduler gets from its store while that is open. */
export interface SchedulerParts {
  readonly messages: MessageMaker
  readonly clock: Clock
  readonly random: Random
  readonly runner: UnitRunner<unknown>
  readonly timers: TimerTable
  /** A timer was put that is due in about this time. */
  readonly put: (inMs: number) => void
}

const LIST_MAX = 1_000

/** Messages that leave later, at an instant, after a time or again and again; durable, and cancellable by id. */
export class Scheduler implements Scheduling {
  readonly #parts: (operation: string) => SchedulerParts

  constructor(parts: (operation: string) => SchedulerParts) {
    this.#parts = parts
  }

  /**
   * Schedules an event or command in a transaction of its own; inside a unit of work use the unit's `schedule`. The same id again replaces
   * what was there, so a repetition schedules once.
   *
   * @throws `contract.*`, `outbox.timer_invalid`, `outbox.not_attached`, `outbox.unit_nested`, `store.*`.
   */
  async schedule(contract: Contract, data: unknown, options: ScheduleOptions): Promise<string> {
    refuseInUnit('schedule')
    const { messages, clock, random, runner, put } = this.#parts('schedule')
    const { id: given, at: _at, afterMs: _afterMs, cron: _cron, timeZone: _timeZone, ...message } = options
    const nowMs = clock.nowMs()
    const id = given ?? random.id(nowMs)
    const timer = timerOf(id, messages.make(contract, data, message), options, nowMs)
    await runner.commit(async (tx) => {
      await tx.putTimer(timer)
      return []
    })
    put('atMs' in timer.due ? timer.due.atMs - nowMs : timer.due.afterMs)
    return id
  }

  /** Cancels. False where it has fired, or never was. @throws `outbox.not_attached`, `outbox.unit_nested`, `store.*`. */
  async cancel(id: string): Promise<boolean> {
    refuseInUnit('cancel')
    const { runner } = this.#parts('cancel')
    let isCancelled = false
    await runner.commit(async (tx) => {
      isCancelled = await tx.cancelTimer(id)
      return []
    })
    return isCancelled
  }

  /**
   * Moves what is scheduled to another instant, with the same message. False where it has fired, or never was.
   *
   * @throws `outbox.timer_invalid`, `outbox.not_attached`, `outbox.unit_nested`, `store.*`.
   */
  async reschedule(id: string, when: Pick<ScheduleOptions, 'at' | 'afterMs' | 'cron' | 'timeZone'>): Promise<boolean> {
    refuseInUnit('reschedule')
    const { runner, timers, clock, put } = this.#parts('reschedule')
    const timer = await timers.read(id)
    if (timer === undefined) return false
    const nowMs = clock.nowMs()
    const moved = timerOf(id, timer, when, nowMs)
    let isMoved = false
    await runner.commit(async (tx) => {
      // It may have fired since it was read: then there is nothing to move.
      isMoved = await tx.cancelTimer(id)
      if (isMoved) await tx.putTimer(moved)
      return []
    })
    if (isMoved) put('atMs' in moved.due ? moved.due.atMs - nowMs : moved.due.afterMs)
    return isMoved
  }

  /** What is scheduled under an id, or undefined. */
  async read(id: string): Promise<Scheduled | undefined> {
    const timer = await this.#parts('read').timers.read(id)
    return timer === undefined ? undefined : scheduledOf(timer)
  }

  /** A page of what is scheduled, by id. @throws `core.option_invalid` for a limit outside 1 to 1,000. */
  async list(options: { readonly limit?: number; readonly after?: string } = {}): Promise<readonly Scheduled[]> {
    const limit = options.limit ?? 100
    if (!(Number.isInteger(limit) && limit >= 1 && limit <= LIST_MAX)) {
      throw new TrunklineError('core.option_invalid', { option: 'limit', expected: `a whole number from 1 to ${LIST_MAX}`, actual: String(limit) })
    }
    return (await this.#parts('list').timers.list(limit, options.after)).map(scheduledOf)
  }
}

function scheduledOf(timer: StoredTimer): Scheduled {
  return {
    id: timer.id, dueAtMs: timer.dueAtMs, type: timer.message.type, kind: timer.kind, cron: timer.recurrence?.cron, timeZone: timer.recurrence?.timeZone,
  }
}
