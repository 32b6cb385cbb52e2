/** One broken rule: where in the data, and what the schema said. */
export interface Issue {
  /** Dotted path to the value, such as `lines.0.price`; empty for the whole body. */
  readonly path: string
  /** The rule that was broken, in the schema library's words. */
  readonly rule: string
}

/**
 * What each failure carries, keyed by code. The part before the dot names the folder under `src/`
 * whose rule was broken. The list is closed: adapters translate what their client reports into one
 * of these and keep the original as `cause`.
 */
export interface ErrorDetails {
  'core.invariant_broken': { expected: string }
  'core.option_invalid': { option: string; expected: string; actual: string }
  'core.peer_missing': { package: string; install: string }
  'contract.definition_invalid': { type: string; problem: string }
  'contract.definition_conflict': { type: string; problem: string }
  'contract.payload_invalid': { type: string; during: 'publish' | 'consume' | 'reply'; issues: readonly Issue[] }
  'contract.payload_unencodable': { type: string; path: string; problem: string }
  'contract.payload_too_large': { type: string; bytes: number; bytesMax: number }
  'contract.body_malformed': { type: string; problem: string }
  'contract.message_foreign': { problem: string }
  'contract.version_unknown': { type: string; version: string; versionMax: number }
  'contract.upcast_failed': { type: string; fromVersion: number; problem: string }
  'contract.header_refused': { header: string; problem: string }
  'contract.attribute_invalid': { attribute: string; problem: string }
  'contract.declared_error': { type: string; name: string; data: unknown }
  'bus.unsupported': { adapter: string; capability: string; needed: string }
  'bus.subscription_conflict': { subscription: string; problem: string }
  'bus.not_running': { operation: string; state: string }
  'bus.connection_lost': { adapter: string; problem: string }
  'bus.publish_timeout': { type: string; id: string; timeoutMs: number }
  'bus.publish_refused': { type: string; id: string; problem: string }
  'bus.overloaded': { what: string; limit: number }
  'bus.type_unhandled': { type: string; group: string }
  'bus.handler_timeout': { type: string; group: string; timeoutMs: number }
  'bus.handler_failed': { type: string; group: string; problem: string }
  'bus.rejected': { reason: string }
  'bus.attempts_exhausted': { type: string; group: string; attempts: number; problem: string }
  'bus.deadline_passed': { type: string; deadline: string }
  'bus.hops_exceeded': { type: string; hops: string; hopsMax: number }
  'bus.ask_timeout': { type: string; timeoutMs: number }
  'bus.ask_cancelled': { type: string }
  'bus.no_responder': { type: string }
  'bus.answer_failed': { type: string; code: string; problem: string }
  'bus.dead_letter_missing': { id: string }
  'store.wrong_revision': { stream: string; expected: string; actual: string }
  'store.conflict': { store: string; problem: string }
  'store.rolled_back': { store: string; problem: string }
  'store.down': { store: string; problem: string }
  'store.refused': { store: string; problem: string }
  'store.lease_lost': { store: string; lease: string }
  'store.event_unreadable': { stream: string; revision: string; problem: string }
  'outbox.transaction_missing': { library: string; problem: string }
  'outbox.unit_over': { operation: string }
  'outbox.unit_too_long': { store: string; limitMs: number }
  'outbox.unit_nested': { operation: string }
  'outbox.not_attached': { store: string; operation: string }
  'outbox.attached_twice': { store: string; service: string }
  'outbox.id_collision': { id: string; source: string; group: string }
  'outbox.retention_too_short': { retentionMs: number; horizonMs: number; problem: string }
  'outbox.timer_invalid': { id: string; problem: string }
  'outbox.body_missing': { id: string }
}

/** A code of the closed list above. */
export type ErrorCode = keyof ErrorDetails

/**
 * What the bus does with the message whose handling failed: `retry` redelivers it after a backoff,
 * `reject` dead-letters it at once, `stop` halts the subscription and keeps the message, because no
 * redelivery can succeed until someone changes code or configuration.
 */
export type Disposition = 'retry' | 'reject' | 'stop'

const DISPOSITIONS = {
  'core.invariant_broken': 'stop',
  'core.option_invalid': 'stop',
  'core.peer_missing': 'stop',
  'contract.definition_invalid': 'stop',
  'contract.definition_conflict': 'stop',
  'contract.payload_invalid': 'reject',
  'contract.payload_unencodable': 'reject',
  'contract.payload_too_large': 'reject',
  'contract.body_malformed': 'reject',
  'contract.message_foreign': 'reject',
  'contract.version_unknown': 'reject',
  'contract.upcast_failed': 'reject',
  'contract.header_refused': 'reject',
  'contract.attribute_invalid': 'reject',
  'contract.declared_error': 'reject',
  'bus.unsupported': 'stop',
  'bus.subscription_conflict': 'stop',
  'bus.not_running': 'retry',
  'bus.connection_lost': 'retry',
  'bus.publish_timeout': 'retry',
  'bus.publish_refused': 'retry',
  'bus.overloaded': 'retry',
  'bus.type_unhandled': 'reject',
  'bus.handler_timeout': 'retry',
  'bus.handler_failed': 'retry',
  'bus.rejected': 'reject',
  'bus.attempts_exhausted': 'reject',
  'bus.deadline_passed': 'reject',
  'bus.hops_exceeded': 'reject',
  'bus.ask_timeout': 'retry',
  'bus.ask_cancelled': 'retry',
  'bus.no_responder': 'retry',
  'bus.answer_failed': 'retry',
  'bus.dead_letter_missing': 'reject',
  'store.wrong_revision': 'retry',
  'store.conflict': 'retry',
  'store.rolled_back': 'retry',
  'store.down': 'retry',
  'store.refused': 'reject',
  'store.lease_lost': 'retry',
  'store.event_unreadable': 'reject',
  'outbox.transaction_missing': 'reject',
  'outbox.unit_over': 'reject',
  'outbox.unit_too_long': 'retry',
  'outbox.unit_nested': 'reject',
  'outbox.not_attached': 'stop',
  'outbox.attached_twice': 'stop',
  'outbox.id_collision': 'reject',
  'outbox.retention_too_short': 'stop',
  'outbox.timer_invalid': 'reject',
  'outbox.body_missing': 'retry',
} as const satisfies Record<ErrorCode, Disposition>

/** Every code with what the bus does next; `docs/errors.md` is checked against it. */
export const errorDispositions: Readonly<Record<ErrorCode, Disposition>> = DISPOSITIONS

// Registered, so that an error thrown by a second installed copy of this package still matches.
const BRAND = Symbol.for('trunkline.error')

/**
 * The only error class that the library throws.
 *
 * Branch on `code`; the message is for people and may change in any release. What a broker, a
 * database or a handler reported is kept as `cause`.
 */
export class TrunklineError<C extends ErrorCode = ErrorCode> extends Error {
  override readonly name: string = 'TrunklineError'
  readonly code: C
  readonly details: ErrorDetails[C]
  readonly disposition: Disposition

  constructor(code: C, details: ErrorDetails[C], options?: ErrorOptions) {
    super(`${code} ${describe(details)}`, options)
    this.code = code
    this.details = details
    this.disposition = DISPOSITIONS[code]
    Object.defineProperty(this, BRAND, { value: true })
  }
}

/** True for an error of this library, narrowed to `code` where one is given. */
export function isTrunklineError<C extends ErrorCode = ErrorCode>(
  error: unknown,
  code?: C,
): error is TrunklineError<C> {
  if (!(error instanceof Error) || !(BRAND in error)) return false
  return code === undefined || ('code' in error && error.code === code)
}

/**
 * Stops on a programmer's error.
 *
 * @throws `core.invariant_broken` when `condition` is false.
 */
export function assert(condition: boolean, expected: string): asserts condition {
  if (!condition) throw new TrunklineError('core.invariant_broken', { expected })
}

/** Details as one line of JSON; `bigint` as text, cycles and other surprises as a note. */
function describe(details: object): string {
  try {
    return JSON.stringify(details, (_name, value: unknown) => (typeof value === 'bigint' ? `${value}` : value))
  } catch {
    return '(details that JSON cannot hold)'
  }
}

/** The text of anything that was thrown, with control characters made visible. It never throws, whatever it is given. */
export function errorText(thrown: unknown): string {
  try {
    // Nothing makes a handler's error keep to the type: its message can be anything.
    const text: unknown = thrown instanceof Error ? thrown.message : thrown
    return escapeControls(typeof text === 'string' ? text : `${typeof text}: ${JSON.stringify(text) ?? String(text)}`)
  } catch {
    return `a thrown ${typeof thrown}`
  }
}

/** Replaces control characters by their code, so that a text cannot forge a log line or a terminal. */
export function escapeControls(text: string): string {
  // oxlint-disable-next-line no-control-regex -- the control characters are what is looked for
  return text.replaceAll(/[\u0000-\u001f\u007f-\u009f\u2028\u2029]/g, (char) => `\\u${(char.codePointAt(0) ?? 0).toString(16).padStart(4, '0')}`)
}
