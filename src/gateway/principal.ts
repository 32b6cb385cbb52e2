import { isTenant } from '../contract/names.ts'
import { TrunklineError } from '../core/errors.ts'

/** Who asks, as the authentication hook found out. */
export interface Principal {
  /** Goes into the header `principal` of the message: printable, at most 255 characters. */
  readonly id: string
  /** Goes into the envelope: `[a-z0-9-]`, at most 63 characters. */
  readonly tenant?: string
  /** What the caller may do, for `authorize`. */
  readonly scopes?: readonly string[]
}

/** What the authentication hook is told of the route. */
export interface RouteInfo {
  readonly method: string
  /** With its parameters in braces: `/orders/{orderId}`. */
  readonly path: string
  /** Types of the contracts behind it. */
  readonly types: readonly string[]
}

/**
 * Finds out who asks. Undefined is answered 401; throwing `gateway.forbidden` is answered 403, and everything else that it throws 500.
 * It must not read the body.
 */
export type Authenticate = (request: Request, route: RouteInfo) => Principal | undefined | PromiseLike<Principal | undefined>

/** Name of the message header that tells who asked. */
export const PRINCIPAL_HEADER = 'principal'
const ID_MAX = 255

/** The hook's answer, checked: it goes into envelopes. @throws `contract.attribute_invalid`. */
export function checkedPrincipal(given: Principal | undefined): Principal | undefined {
  if (given === undefined || given === null) return undefined
  if (typeof given.id !== 'string' || !/^[\u0021-\u007e](?:[\u0020-\u007e]*[\u0021-\u007e])?$/.test(given.id) || given.id.length > ID_MAX) {
    throw new TrunklineError('contract.attribute_invalid', { attribute: 'principal', problem: `its id is not 1 to ${ID_MAX} printable characters` })
  }
  if (given.tenant !== undefined && !isTenant(given.tenant)) {
    throw new TrunklineError('contract.attribute_invalid', { attribute: 'tenant', problem: 'it is not 1 to 63 characters of a-z, 0-9 and dashes' })
  }
  return given
}
