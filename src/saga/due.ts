import { checkedRecurrence } from '../outbox/recurrence.ts'
import { TrunklineError } from '../core/errors.ts'

/** When an alarm goes off: exactly one of the three. */
export interface Due {
  /** Milliseconds from now on, by the database's clock. At most a century. */
  readonly afterMs?: number
  /** An instant, as a date or in milliseconds since 1970. One that has passed goes off at once. */
  readonly at?: Date | number
  /** Cron expression of five fields, or of six with seconds first: the first time that fits, from now on. */
  readonly cron?: string
  /** IANA time zone of `cron`. Default `UTC`. */
  readonly timeZone?: string
}

/** An alarm that was understood. */
export interface CheckedDue {
  readonly dueAtMs: number
  /** How the store is told: a time that passes is measured by its own clock. */
  readonly due: { readonly atMs: number } | { readonly afterMs: number }
  readonly cron: string | undefined
  readonly timeZone: string | undefined
}

/** A century: beyond it a delay is a mistake in units. */
const AFTER_MAX_MS = 3_155_760_000_000
const INSTANT_MAX_MS = 253_402_300_799_999

/**
 * The instant that is meant.
 *
 * @throws `saga.timer_invalid`, `outbox.timer_invalid` for a cron expression that means nothing or never comes.
 */
export function checkedDue(timer: string, { afterMs, at, cron, timeZone }: Due, nowMs: number): CheckedDue {
  const given = [afterMs, at, cron].filter((part) => part !== undefined)
  if (given.length !== 1) throw invalid(timer, 'give exactly one of afterMs, at and cron')
  if (cron !== undefined) {
    const zone = timeZone ?? 'UTC'
    const atMs = checkedRecurrence(timer, { cron, timeZone: zone }).next(nowMs)
    return { dueAtMs: atMs, due: { atMs }, cron, timeZone: zone }
  }
  if (timeZone !== undefined) throw invalid(timer, 'a time zone belongs to cron')
  if (afterMs !== undefined) {
    if (!(typeof afterMs === 'number' && afterMs >= 0 && afterMs <= AFTER_MAX_MS)) throw invalid(timer, `afterMs ${String(afterMs)} is not a number from 0 to ${AFTER_MAX_MS}`)
    const whole = Math.ceil(afterMs)
    return { dueAtMs: nowMs + whole, due: { afterMs: whole }, cron: undefined, timeZone: undefined }
  }
  const atMs = at instanceof Date ? at.getTime() : at
  if (!(typeof atMs === 'number' && atMs >= 0 && atMs <= INSTANT_MAX_MS)) throw invalid(timer, `at ${String(at).slice(0, 60)} is not an instant from 1970 to 9999`)
  return { dueAtMs: Math.ceil(atMs), due: { atMs: Math.ceil(atMs) }, cron: undefined, timeZone: undefined }
}

function invalid(timer: string, problem: string): TrunklineError {
  return new TrunklineError('saga.timer_invalid', { timer: timer.slice(0, 100), problem })
}
