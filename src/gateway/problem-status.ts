import { errorRegistry } from '../core/error-registry.ts'
import type { ErrorCode } from '../core/errors.ts'

const INTERNAL = 500

/** Every code that is not simply a fault of ours. */
const STATUSES: Readonly<Partial<Record<ErrorCode, number>>> = {
  'contract.payload_invalid': 422,
  'contract.payload_unencodable': 422,
  'contract.payload_too_large': 413,
  'contract.body_malformed': 400,
  'contract.message_foreign': 502,
  'contract.version_unknown': 502,
  'contract.upcast_failed': 422,
  'contract.attribute_invalid': 422,
  'contract.declared_error': 422,
  'bus.not_running': 503,
  'bus.connection_lost': 503,
  'bus.publish_timeout': 504,
  'bus.publish_refused': 503,
  'bus.overloaded': 503,
  'bus.type_unhandled': 502,
  'bus.handler_timeout': 504,
  'bus.deadline_passed': 504,
  'bus.ask_timeout': 504,
  'bus.ask_cancelled': 503,
  'bus.no_responder': 503,
  'bus.callee_overloaded': 503,
  'bus.dead_letter_missing': 404,
  'discovery.no_instance': 503,
  'discovery.wait_timeout': 503,
  'discovery.fetch_timeout': 504,
  'discovery.response_failed': 502,
  'store.wrong_revision': 409,
  'store.conflict': 503,
  'store.down': 503,
  'store.lease_lost': 503,
  'outbox.unit_too_long': 503,
  'outbox.not_attached': 503,
  'outbox.id_collision': 422,
  'saga.instance_missing': 404,
  'saga.action_refused': 409,
  'resilience.timeout': 504,
  'resilience.circuit_open': 503,
  'resilience.bulkhead_full': 503,
  'resilience.rate_limited': 503,
  'resilience.shed': 503,
  'resilience.cancelled': 503,
  'gateway.route_missing': 404,
  'gateway.method_refused': 405,
  'gateway.request_malformed': 400,
  'gateway.media_type_refused': 415,
  'gateway.head_too_large': 431,
  'gateway.unauthenticated': 401,
  'gateway.forbidden': 403,
  'gateway.origin_refused': 403,
  'gateway.host_refused': 421,
  'gateway.precondition_missing': 428,
  'gateway.key_missing': 400,
  'gateway.key_reused': 422,
  'gateway.key_in_progress': 409,
  'gateway.draining': 503,
}

const statuses: ReadonlyMap<string, number> = new Map(Object.entries(STATUSES))

/**
 * The status that each error has over HTTP. 4xx is the caller's fault, and its sentence is shown; 5xx is ours, and only its code is. A code
 * that nobody has decided about is a 500, which shows nothing.
 */
export const problemStatuses: Readonly<Record<ErrorCode, number>> = Object.fromEntries(
  Object.keys(errorRegistry).map((code) => [code, statuses.get(code) ?? INTERNAL]),
  // The keys are those of a record of all codes.
) as Record<ErrorCode, number>

/** What a service answered with is no fault of the gateway: the code of its error decides where it says who is to blame. */
const ANSWERED: ReadonlyMap<string, number> = new Map([
  ['bus.overloaded', 503],
  ['bus.handler_timeout', 504],
  ['bus.deadline_passed', 504],
  ['store.down', 503],
  // What the service needed itself was away, or too late.
  ['bus.no_responder', 503],
  ['bus.ask_timeout', 504],
  ['discovery.no_instance', 503],
  ['discovery.fetch_timeout', 504],
  ['resilience.timeout', 504],
  ['resilience.circuit_open', 503],
  ['resilience.bulkhead_full', 503],
  ['resilience.rate_limited', 503],
  ['resilience.shed', 503],
  ['contract.payload_invalid', 502],
  ['contract.payload_unencodable', 502],
  ['contract.payload_too_large', 502],
  ['contract.version_unknown', 502],
  ['bus.type_unhandled', 502],
  ['outbox.id_collision', 422],
])

/** Status of a service's answer that failed with this code. Default 500: its handler failed. */
export function answeredStatus(code: string): number {
  return ANSWERED.get(code) ?? INTERNAL
}
