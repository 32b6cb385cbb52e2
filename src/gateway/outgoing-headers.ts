import { currentScope } from '../bus/scope.ts'
import { type Clock, systemClock } from '../core/clock.ts'
import { CORRELATION_HEADER, TIMEOUT_HEADER, TRACE_HEADER } from './request-context.ts'

/**
 * Headers for a request that a handler makes over HTTP itself: the correlation id, the trace, and the time that is left until its deadline, as a
 * gateway on the other side takes them. Outside of handlers there are none.
 *
 * `await fetch(url, { headers: outgoingHeaders() })`
 */
export function outgoingHeaders(clock: Clock = systemClock): Readonly<Record<string, string>> {
  const scope = currentScope()
  if (scope === undefined) return {}
  const { correlationId, traceparent, deadlineAtMs } = scope
  return {
    // One that cannot go into a header is of a flow that did not begin at a gateway.
    ...(/^[\u0021-\u007e]+$/.test(correlationId) ? { [CORRELATION_HEADER]: correlationId } : {}),
    ...(traceparent === undefined ? {} : { [TRACE_HEADER]: traceparent }),
    ...(deadlineAtMs === undefined ? {} : { [TIMEOUT_HEADER]: `${Math.max(1, Math.floor(deadlineAtMs - clock.nowMs()))}` }),
  }
}
