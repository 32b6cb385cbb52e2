import { Cron } from 'croner'
import { TrunklineError, errorText } from '../core/errors.ts'
import type { Recurrence } from '../store/port.ts'

/** A recurrence that was understood. */
export interface CheckedRecurrence {
  readonly recurrence: Recurrence
  /** The first instant after the given one, in milliseconds. */
  next(afterMs: number): number
}

/**
 * Reads a cron expression. Times that a change to summer time skips fire right after the gap; times that occur twice fire once.
 *
 * @throws `outbox.timer_invalid` for an expression or a time zone that means nothing, or that never comes.
 */
export function checkedRecurrence(id: string, recurrence: Recurrence): CheckedRecurrence {
  const { cron, timeZone } = recurrence
  const fail = (problem: string, cause?: unknown): never => {
    throw new TrunklineError('outbox.timer_invalid', { id, problem }, { cause })
  }
  let expression: Cron
  try {
    expression = new Cron(cron, { timezone: timeZone, paused: true, legacyMode: true })
    expression.nextRun(new Date(0))
  } catch (thrown) {
    return fail(`the cron expression ${JSON.stringify(cron).slice(0, 120)} in the time zone ${JSON.stringify(timeZone).slice(0, 60)}: ${errorText(thrown).slice(0, 200)}`, thrown)
  }
  return {
    recurrence,
    next: (afterMs) => expression.nextRun(new Date(afterMs))?.getTime() ?? fail(`the cron expression ${JSON.stringify(cron).slice(0, 120)} never comes again`),
  }
}
