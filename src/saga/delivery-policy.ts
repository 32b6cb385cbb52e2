import type { RetryOptions } from '../core/backoff.ts'
import type { Decision, Failure } from '../bus/retry-policy.ts'
import { isTrunklineError } from '../core/errors.ts'

/**
 * Attempts after which a message that kills its process is given up. More than other subscriptions have, because a database that is away for long
 * spends attempts, too, and a dead letter leaves a saga without what it waits for.
 */
export const SAGA_RETRY: RetryOptions = { attemptsMax: 25 }
/** Attempts for what nobody foresaw. */
const UNFORESEEN_MAX = 5
const CONTENDED_MS = 500
const ELSEWHERE_MS = 1_000
const AWAY_MS_MAX = 30_000

/**
 * What becomes of a message that a saga could not handle. What passes is waited for as long as it takes: a database that is away, other processes that are
 * faster, a version that only another process has. A user's function is no reason, since its instance is quarantined.
 */
export function afterFailure({ error, disposition, attempt }: Failure): Decision | undefined {
  if (isTrunklineError(error, 'saga.version_unknown')) return { kind: 'retry', delayMs: ELSEWHERE_MS }
  if (isTrunklineError(error, 'store.conflict')) return { kind: 'retry', delayMs: CONTENDED_MS }
  if (isTrunklineError(error) && disposition === 'retry') return { kind: 'retry', delayMs: Math.min(AWAY_MS_MAX, CONTENDED_MS * 2 ** Math.min(attempt - 1, 10)) }
  return !isTrunklineError(error) && attempt >= UNFORESEEN_MAX ? { kind: 'deadLetter' } : undefined
}
