import { TrunklineError, errorDispositions, isTrunklineError, retryAfterMsOf } from '../core/errors.ts'

/** True where what was called is not well; false where it works and said no, or was never reached. */
export type IsFailure = (error: unknown) => boolean

/** Codes of refusals that happen on this side: they say nothing about what would have been called. */
const OWN: ReadonlySet<string> = new Set(['resilience.circuit_open', 'resilience.bulkhead_full', 'resilience.rate_limited', 'resilience.shed', 'resilience.cancelled', 'bus.ask_cancelled', 'bus.not_running'])

/**
 * What counts by default: time limits, lost links, overload, and everything that is not an error of this library. What can only end the
 * same way again (a declared error, data that does not fit, a rejected message) does not, since the service works; neither do refusals of our
 * own policies and calls that their caller gave up.
 */
export const isFailure: IsFailure = (error) => {
  if (!isTrunklineError(error)) return true
  if (OWN.has(error.code) || error.disposition !== 'retry') return false
  return !isTrunklineError(error, 'bus.answer_failed') || dispositionOf(error.details.code) === 'retry'
}

/** True for what happened on this side alone. */
export function isOwn(error: unknown): boolean {
  return isTrunklineError(error) && OWN.has(error.code)
}

/** What is worth another try: failures, and refusals of our own that may be over soon. */
export const isPassing: IsFailure = (error) => isFailure(error) || isRefusal(error)

/** What a fallback stands in for: everything that is worth another try, and an open circuit. */
export const isUnanswered: IsFailure = (error) => isPassing(error) || isTrunklineError(error, 'resilience.circuit_open')

/** Refused on this side, for now. An open circuit is none: a retry would only meet it again. */
function isRefusal(error: unknown): boolean {
  return isTrunklineError(error, 'resilience.bulkhead_full') || isTrunklineError(error, 'resilience.rate_limited') || isTrunklineError(error, 'resilience.shed')
}

const TIME_LIMITS: ReadonlySet<string> = new Set(['resilience.timeout', 'bus.ask_timeout', 'bus.handler_timeout', 'bus.deadline_passed'])

/** True where a time limit aborted the signal, and not a caller who lost interest. */
export function isOutOfTime(signal: AbortSignal): boolean {
  const reason: unknown = signal.reason
  return signal.aborted && isTrunklineError(reason) && TIME_LIMITS.has(reason.code)
}

/** What was certainly not begun by the one called: also a command may be sent again. */
export function isNotBegun(error: unknown): boolean {
  if (isTrunklineError(error, 'bus.callee_overloaded')) return error.details.hasBegun !== true
  return isRefusal(error) || retryAfterMsOf(error) !== undefined || isTrunklineError(error, 'bus.publish_refused') || isOverload(error)
}

/** No room on this side, or on the other one without a word about when there will be. */
function isOverload(error: unknown): boolean {
  return isTrunklineError(error, 'bus.overloaded') || (isTrunklineError(error, 'bus.answer_failed') && error.details.code === 'bus.overloaded')
}

/** Codes come from other processes, perhaps of a later version. */
function dispositionOf(code: string): string {
  return (Object.hasOwn(errorDispositions, code) ? Reflect.get(errorDispositions, code) : undefined) ?? 'retry'
}

/** What a call ends with whose caller gave it up while a policy held it back. */
export function cancelled(name: string, signal: AbortSignal): TrunklineError<'resilience.cancelled'> {
  return new TrunklineError('resilience.cancelled', { name }, { cause: signal.reason })
}
