import { idProblem } from '../contract/names.ts'
import { TrunklineError } from '../core/errors.ts'
import type { Outbound, ScheduleOptions } from '../bus/port.ts'
import type { NewTimer, Recurrence } from '../store/port.ts'
import { checkedRecurrence } from './recurrence.ts'

/** A century: beyond it a delay is a mistake in units. */
const AFTER_MAX_MS = 3_155_760_000_000
/** The last millisecond that RFC 3339 can write. */
const INSTANT_MAX_MS = 253_402_300_799_999

/**
 * Makes an alarm.
 *
 * @throws `outbox.timer_invalid`.
 */
export function timerOf(id: string, outbound: Outbound, options: ScheduleOptions, nowMs: number): NewTimer {
  const problem = idProblem(id)
  if (problem !== undefined) throw invalid(id, problem)
  const given = [options.at, options.afterMs, options.cron].filter((part) => part !== undefined)
  if (given.length !== 1) throw invalid(id, 'give exactly one of at, afterMs and cron')
  const recurrence = recurrenceOf(id, options)
  return { id, kind: outbound.kind, message: outbound.message, recurrence: recurrence?.recurrence, due: recurrence === undefined ? dueOf(id, options) : { atMs: recurrence.next(nowMs) } }
}

function recurrenceOf(id: string, { cron, timeZone }: ScheduleOptions): { readonly recurrence: Recurrence; next(afterMs: number): number } | undefined {
  if (cron !== undefined) return checkedRecurrence(id, { cron, timeZone: timeZone ?? 'UTC' })
  if (timeZone !== undefined) throw invalid(id, 'a time zone belongs to cron')
  return undefined
}

function dueOf(id: string, { at, afterMs }: ScheduleOptions): NewTimer['due'] {
  if (afterMs !== undefined) {
    if (!(typeof afterMs === 'number' && afterMs >= 0 && afterMs <= AFTER_MAX_MS)) throw invalid(id, `afterMs ${String(afterMs)} is not a number from 0 to ${AFTER_MAX_MS}`)
    return { afterMs: Math.ceil(afterMs) }
  }
  const atMs = at instanceof Date ? at.getTime() : at
  if (!(typeof atMs === 'number' && atMs >= 0 && atMs <= INSTANT_MAX_MS)) throw invalid(id, `at ${String(at).slice(0, 60)} is not an instant from 1970 to 9999`)
  return { atMs: Math.ceil(atMs) }
}

function invalid(id: string, problem: string): TrunklineError {
  return new TrunklineError('outbox.timer_invalid', { id: String(id).slice(0, 255), problem })
}
