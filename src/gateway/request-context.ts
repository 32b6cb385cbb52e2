import { idProblem } from '../contract/names.ts'
import type { Clock } from '../core/clock.ts'
import { TrunklineError } from '../core/errors.ts'
import type { Random } from '../core/random.ts'

/** Time that the caller waits, in milliseconds from the arrival of the request on; the answer tells what it came to. */
export const TIMEOUT_HEADER = 'request-timeout-ms'
/** Common to everything that one flow does; the answer has it, whether the request had it or not. */
export const CORRELATION_HEADER = 'x-correlation-id'
/** W3C trace context. */
export const TRACE_HEADER = 'traceparent'

/** What a request brings along beside its data. */
export interface RequestContext {
  readonly correlationId: string
  readonly traceparent: string | undefined
  /** What the caller gave, or undefined. */
  readonly timeoutMs: number | undefined
}

const TRACEPARENT = /^(?!ff)[0-9a-f]{2}-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}$/
const VISIBLE = /^[\u0021-\u007e]+$/
const TIMEOUT_MAX_MS = 86_400_000

/** The caller's correlation id, or a fresh one where it has none or one that cannot go into a header. */
export function correlationIdOf(headers: Headers, clock: Clock, random: Random): string {
  const given = headers.get(CORRELATION_HEADER)
  return given !== null && VISIBLE.test(given) && idProblem(given) === undefined ? given : random.id(clock.nowMs())
}

/** Reads what a request brings along. A trace that is no W3C trace is dropped. @throws `gateway.request_malformed` for a time limit that is none. */
export function requestContext(headers: Headers, correlationId: string): RequestContext {
  const trace = headers.get(TRACE_HEADER)
  return { correlationId, traceparent: trace !== null && TRACEPARENT.test(trace) ? trace : undefined, timeoutMs: timeoutOf(headers.get(TIMEOUT_HEADER)) }
}

function timeoutOf(given: string | null): number | undefined {
  if (given === null) return undefined
  const timeoutMs = /^\d{1,9}$/.test(given) ? Number(given) : 0
  if (timeoutMs >= 1) return Math.min(timeoutMs, TIMEOUT_MAX_MS)
  throw new TrunklineError('gateway.request_malformed', { part: 'Request-Timeout-Ms header', problem: 'it is not a whole number of milliseconds from 1' })
}
