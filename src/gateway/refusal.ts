import { isTrunklineError } from '../core/errors.ts'
import type { Logger } from '../core/logger.ts'
import { PROBLEM_TYPE, type ProblemContext, problemOf } from './problem.ts'

const INTERNAL = 500
const UNAVAILABLE = 503
const RETRY_AFTER_S = 1
const RETRY_AFTER_MAX_S = 3_600

/** What failed is a problem for the caller, and where it is ours, a line in the log. */
export function refusal(request: Request, error: unknown, context: ProblemContext, route: string | undefined, logger: Logger): Response {
  const problem = problemOf(error, context)
  const { status } = problem
  if (status >= INTERNAL) logger.warn({ err: error, correlationId: context.correlationId, method: request.method, route, status }, 'a request could not be answered')
  const headers = new Headers({ 'content-type': PROBLEM_TYPE, 'cache-control': 'no-store' })
  if (isTrunklineError(error, 'gateway.method_refused')) headers.set('allow', error.details.allowed.join(', '))
  if (isTrunklineError(error, 'gateway.unauthenticated')) headers.set('www-authenticate', error.details.challenge)
  if (status === UNAVAILABLE || isTrunklineError(error, 'gateway.key_in_progress')) headers.set('retry-after', `${retryAfterS(error)}`)
  return new Response(request.method === 'HEAD' ? null : problemText(problem), { status, headers })
}

/** Whole seconds after which it is worth to ask again. */
function retryAfterS(error: unknown): number {
  const wanted: unknown = isTrunklineError(error) && 'retryAfterMs' in error.details ? error.details.retryAfterMs : undefined
  return typeof wanted === 'number' ? Math.min(Math.max(Math.ceil(wanted / 1_000), RETRY_AFTER_S), RETRY_AFTER_MAX_S) : RETRY_AFTER_S
}

/** Data of a declared error may be something that JSON cannot hold, where its schema changes types on the way. */
function problemText(problem: object): string {
  try {
    return JSON.stringify(problem)
  } catch {
    return JSON.stringify({ ...problem, data: undefined })
  }
}
