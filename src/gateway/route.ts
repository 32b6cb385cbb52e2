import type { BalanceName, BalanceOptions } from '../bus/balancer.ts'
import type { AnyCommand, AnyQuery, Contract, ReplyInput, ReplyOutput } from '../contract/contract.ts'
import { TrunklineError } from '../core/errors.ts'
import { type OptionNames, optionNames, refuseUnknown } from '../core/option-names.ts'
import type { Principal } from './principal.ts'

/** Methods that a route can have. */
export type HttpMethod = 'GET' | 'POST' | 'PUT' | 'PATCH' | 'DELETE'

/** Names of the errors that a contract declares. */
export type ErrorNameOf<C extends Contract> = keyof NonNullable<C['~types']>['errors'] & string

/** What `route` takes beside the contract. `N` is the contract that the service works with, where that is a newer version. */
export interface RouteOptions<C extends AnyQuery | AnyCommand, N extends AnyQuery | AnyCommand = C> {
  /** Default: POST for commands; for queries GET where every field of the request fits into a query string, else POST. */
  readonly method?: HttpMethod
  /** `/orders/{orderId}`: names in braces are fields of the contract's data. Default: `/context/name` of its type. */
  readonly path?: string
  /**
   * For commands: `reply` answers 200 with the outcome, `accepted` answers 202 as soon as the command is stored. Default: `reply` where the
   * contract has a response or declared errors, else `accepted`.
   */
  readonly answer?: 'reply' | 'accepted'
  /** Status of success. Default 200, 202 for `accepted`, and 204 where there is nothing to say. */
  readonly successStatus?: number
  /** Status of declared errors, by name. Default 422. */
  readonly errors?: { readonly [E in ErrorNameOf<N>]?: number }
  /** Time to be answered or stored, in milliseconds; a caller's `Request-Timeout-Ms` can only shorten it. Default: that of the gateway. */
  readonly timeoutMs?: number
  /** Chooses the instance that is asked, as `balance` of `bus.ask`; the bus needs discovery. A command that comes with an `Idempotency-Key` may be done twice. Default: the broker chooses. */
  readonly balance?: BalanceName | BalanceOptions
  /** Gives answers an ETag: `hash` over the answer's JSON, or a version that the answer itself tells. Default: none. */
  readonly etag?: 'hash' | ((answer: ReplyOutput<N>) => string | number | bigint)
  /** Field of the data that takes the version of `If-Match`; it is not taken from the body then. Where the field is required, so is the header. */
  readonly ifMatch?: string
  /** Whether commands may, must or cannot have an `Idempotency-Key`. Default `optional`; queries ignore it. */
  readonly idempotencyKey?: 'optional' | 'required' | 'ignored'
  /** May be called without authentication. Default false, where the gateway has a hook for it. */
  readonly isPublic?: boolean
  /** Whether this caller may do this; false is answered 403. `data` is validated by the service, not yet here. */
  readonly authorize?: (principal: Principal | undefined, data: unknown) => boolean | PromiseLike<boolean>
  /** The newer version of the contract that the service works with: what comes in is lifted by its upcasters. */
  readonly as?: N
  /** Makes the answer of this version out of that of the newer one. Default: the answer as it is; it has to fit this version's response. */
  readonly downgrade?: (answer: ReplyOutput<N>) => ReplyInput<C>
  /** For the OpenAPI document. */
  readonly summary?: string
  /** For the OpenAPI document. Default: the context of the type. */
  readonly tags?: readonly string[]
  /** For the OpenAPI document: unique in the gateway. Default: the type and version of the contract. */
  readonly operationId?: string
}

type AnyCall = AnyQuery | AnyCommand

/** The options of a route with the types of its contract erased; `route` tied them together. */
export type ErasedRouteOptions = RouteOptions<AnyCall>

/** One contract served over HTTP. */
export class Route {
  /** The version that callers see. */
  readonly contract: AnyCall
  /** The version that the service works with. */
  readonly target: AnyCall
  readonly options: ErasedRouteOptions

  constructor(contract: AnyCall, options: ErasedRouteOptions) {
    this.contract = contract
    this.target = options.as ?? contract
    this.options = options
  }
}

const ROUTE: OptionNames = optionNames<ErasedRouteOptions>({
  method: true, path: true, answer: true, successStatus: true, errors: true, timeoutMs: true, balance: true, etag: true, ifMatch: true, idempotencyKey: true,
  isPublic: true, authorize: true, as: true, downgrade: true, summary: true, tags: true, operationId: true,
})

/**
 * Serves a query or command over HTTP, with what its contract does not say.
 *
 * @throws `gateway.route_invalid`, `core.option_unknown`.
 */
export function route<C extends AnyQuery | AnyCommand, N extends AnyQuery | AnyCommand = C>(contract: C, options: RouteOptions<C, N> = {}): Route {
  const kind: string = contract?.kind
  if (kind !== 'query' && kind !== 'command') throw new TrunklineError('gateway.route_invalid', { route: String(contract?.type), problem: 'a route serves a query or a command; events go out as a stream' })
  refuseUnknown(`route(${contract.type})`, options, ROUTE)
  return new Route(contract, options)
}

