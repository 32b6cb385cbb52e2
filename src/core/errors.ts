import { type Disposition, type ErrorCode, type ErrorDetails, errorRegistry, errorSentences } from './error-registry.ts'

export { type Disposition, type ErrorCode, type ErrorDetails, type Issue, errorDispositions } from './error-registry.ts'

// Registered, so that an error thrown by a second installed copy of this package still matches.
const BRAND = Symbol.for('trunkline.error')

/**
 * The only error class that the library throws.
 *
 * Branch on `code`; the message says in sentences what happened, where, and what to do. It is for people and may
 * change in any release. What a broker, a database or a handler reported is kept as `cause`.
 */
export class TrunklineError<C extends ErrorCode = ErrorCode> extends Error {
  override readonly name: string = 'TrunklineError'
  readonly code: C
  readonly details: ErrorDetails[C]
  readonly disposition: Disposition

  constructor(code: C, details: ErrorDetails[C], options?: ErrorOptions) {
    super(escapeControls(errorSentences(code, details)), options)
    this.code = code
    this.details = details
    this.disposition = errorRegistry[code].disposition
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

/** Milliseconds after which whoever refused wants to be asked again; undefined for errors that do not say. */
export function retryAfterMsOf(error: unknown): number | undefined {
  if (!isTrunklineError(error)) return undefined
  const { details } = error
  if (!('retryAfterMs' in details)) return undefined
  const { retryAfterMs } = details
  return typeof retryAfterMs === 'number' && retryAfterMs >= 0 ? retryAfterMs : undefined
}

/**
 * Stops on a programmer's error.
 *
 * @throws `core.invariant_broken` when `condition` is false.
 */
export function assert(condition: boolean, expected: string): asserts condition {
  if (!condition) throw new TrunklineError('core.invariant_broken', { expected })
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
