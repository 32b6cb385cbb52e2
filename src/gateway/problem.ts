import { errorRegistry } from '../core/error-registry.ts'
import { type ErrorCode, type ErrorDetails, type TrunklineError, isTrunklineError } from '../core/errors.ts'
import { answeredStatus, problemStatuses } from './problem-status.ts'

/** A problem as RFC 9457 describes it, with what Trunkline adds. It holds no stack, no address and no text of a service's own errors. */
export interface Problem {
  /** `urn:trunkline:problem:` and the code, or contract and name of a declared error; with a base of your own, a URL. */
  readonly type: string
  readonly title: string
  readonly status: number
  readonly detail: string
  readonly code: string
  readonly correlationId: string
  /** What does not fit the schema. */
  readonly issues?: readonly { readonly path: string; readonly rule: string }[]
  /** A declared error: the contract's type, the error's name and its data. */
  readonly contract?: string
  readonly name?: string
  readonly data?: unknown
}

/** What is known of the request that failed. */
export interface ProblemContext {
  readonly correlationId: string
  readonly base: string
  /** Statuses of the declared errors of the route's contract. */
  readonly declared: Readonly<Record<string, number | undefined>> | undefined
  /** Type of the route's contract. */
  readonly type: string | undefined
}

/** What the types of problems begin with where the gateway is given no base. */
export const PROBLEM_BASE = 'urn:trunkline:problem:'
/** Media type of RFC 9457. */
export const PROBLEM_TYPE = 'application/problem+json'
const INTERNAL = 500
const DECLARED = 422

const SAID: Readonly<Record<number, string>> = {
  500: 'The request could not be handled because of a fault on this side.',
  502: 'The service behind this gateway gave no valid answer.',
  503: 'The service is not available at the moment. Repeat the request later.',
  504: 'The service did not answer in time. It may have done what was asked for.',
}

/** The problem that anything thrown is for the caller. */
export function problemOf(thrown: unknown, context: ProblemContext): Problem {
  const { correlationId, base } = context
  if (!isTrunklineError(thrown) || !Object.hasOwn(problemStatuses, thrown.code)) {
    return { type: `${base}core.unexpected`, title: 'Unexpected error', status: INTERNAL, detail: SAID[INTERNAL] ?? '', code: 'core.unexpected', correlationId }
  }
  if (isTrunklineError(thrown, 'contract.declared_error')) return declaredProblem(thrown, context)
  const { code } = thrown
  const status = statusOf(thrown)
  const detail = status < INTERNAL ? `${said(code, thrown.details)}.` : (SAID[status] ?? SAID[INTERNAL] ?? '')
  const problem: Problem = { type: `${base}${code}`, title: titleOf(code), status, detail, code, correlationId }
  return status < INTERNAL && isTrunklineError(thrown, 'contract.payload_invalid') ? { ...problem, issues: thrown.details.issues } : problem
}

/** The status that an error has over HTTP; declared errors have that of their route. */
export function statusOf(error: TrunklineError): number {
  if (isTrunklineError(error, 'bus.answer_failed')) return answeredStatus(error.details.code)
  // Data that does not fit when it comes back is not the caller's.
  if (isTrunklineError(error, 'contract.payload_invalid') && error.details.during !== 'publish') return 502
  return problemStatuses[error.code]
}

function declaredProblem(error: TrunklineError<'contract.declared_error'>, { correlationId, base, declared, type }: ProblemContext): Problem {
  const { details } = error
  // A hook may throw an error of another contract; its data is nothing that this route promised to show.
  const isOfRoute = details.type === type
  const status = (isOfRoute && declared !== undefined && Object.hasOwn(declared, details.name) ? declared[details.name] : undefined) ?? DECLARED
  const problem: Problem = {
    type: `${base}${details.type}:${details.name}`,
    title: words(details.name),
    status,
    detail: `${details.type} was refused: ${words(details.name).toLowerCase()}.`,
    code: error.code,
    correlationId,
    contract: details.type,
    name: details.name,
  }
  return isOfRoute ? { ...problem, data: details.data } : problem
}

function said<C extends ErrorCode>(code: C, details: ErrorDetails[C]): string {
  return errorRegistry[code].says(details).replace(/[\s.]+$/, '')
}

/** `bus.ask_timeout` is `Ask timeout`. It is the same for every occurrence, as RFC 9457 asks. */
export function titleOf(code: string): string {
  return words(code.slice(code.indexOf('.') + 1))
}

/** `unknownSku` and `unknown_sku` are `Unknown sku`. */
function words(name: string): string {
  const text = name.replaceAll(/([a-z0-9])([A-Z])/g, '$1 $2').replaceAll(/[_-]+/g, ' ').toLowerCase()
  return text.charAt(0).toUpperCase() + text.slice(1)
}
