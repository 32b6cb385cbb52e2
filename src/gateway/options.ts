import type { Bus } from '../bus/bus.ts'
import { wholeInRange } from '../bus/retry-policy.ts'
import type { AnyCommand, AnyQuery } from '../contract/contract.ts'
import type { Clock } from '../core/clock.ts'
import { TrunklineError } from '../core/errors.ts'
import { ASK_TIMEOUT_MS, BODY_BYTES_MAX } from '../core/limits.ts'
import type { Logger } from '../core/logger.ts'
import { type OptionNames, optionNames, refuseUnknown } from '../core/option-names.ts'
import type { Random } from '../core/random.ts'
import type { CorsOptions } from './cors.ts'
import type { IdempotencyKeys } from './idempotency.ts'
import type { DocumentOptions } from './openapi.ts'
import type { Authenticate } from './principal.ts'
import type { Route } from './route.ts'
import type { Stream } from './stream-route.ts'

/** Bounds of one gateway. */
export interface GatewayLimits {
  /** Largest body of a request, in bytes. Default 262,144. */
  readonly bodyBytesMax?: number
  /** Names and values of all headers of a request together, in bytes. Default 16,384. */
  readonly headerBytesMax?: number
  /** Longest path with its query, in bytes. Default 8,192. */
  readonly urlBytesMax?: number
  /** Requests that are being answered at the same time; more are refused with 503. Default 1,000. */
  readonly requestsMax?: number
  /** Time to be answered or stored where neither route nor caller says it, in milliseconds. Default 5,000. */
  readonly timeoutMs?: number
}

/** What `gateway` takes. */
export interface GatewayOptions {
  /** Started and stopped by the caller. */
  readonly bus: Bus
  /** What is served; a contract by itself is a route with defaults. With streams that come by broadcast the gateway is made before the bus starts. */
  readonly routes: readonly (Route | Stream | AnyQuery | AnyCommand)[]
  /** Before every path, where the gateway is mounted below one: `/api`. Default: none. */
  readonly basePath?: string
  /** Finds out who asks. Default: everybody may call everything. */
  readonly authenticate?: Authenticate
  /** What WWW-Authenticate says to callers who are not known. Default `Bearer`. */
  readonly challenge?: string
  /** What the types of problems begin with, such as `https://api.example.com/problems/`. Default `urn:trunkline:problem:`. */
  readonly problemBase?: string
  readonly limits?: GatewayLimits
  /** Pages of other origins that may call. Default: none, and no header says anything of them. */
  readonly cors?: CorsOptions
  /** Remembers requests with an `Idempotency-Key`. Default: in the memory of this process; `storedKeys(store.events)` for all instances. */
  readonly idempotency?: IdempotencyKeys
  /** Serves an OpenAPI 3.1 document of the routes. Default: it is only made by `openApi()`. */
  readonly document?: DocumentOptions
  /** Whether `/livez`, `/readyz` and `/healthz` are served, and whether the last one tells reasons. Default: served, without reasons. */
  readonly health?: boolean | { readonly reasons: boolean }
  /** For what the caller is not told. Default: as the bus without a logger, warnings and errors to standard error. */
  readonly logger?: Logger
  /** Default: the machine's. */
  readonly clock?: Clock
  /** Default: the machine's. */
  readonly random?: Random
}

const GATEWAY: OptionNames = optionNames<GatewayOptions>({
  bus: true, routes: true, basePath: true, authenticate: true, challenge: true, problemBase: true, limits: true, cors: true, idempotency: true, document: true, health: true,
  logger: true, clock: true, random: true,
})
const LIMITS: OptionNames = optionNames<GatewayLimits>({ bodyBytesMax: true, headerBytesMax: true, urlBytesMax: true, requestsMax: true, timeoutMs: true })

const HEADER_BYTES_MAX = 16_384
const URL_BYTES_MAX = 8_192
const REQUESTS_MAX = 1_000
const MIB = 1_048_576

/** Checks names and grammar. @throws `core.option_unknown`, `core.option_invalid`. */
export function checkGatewayOptions(options: GatewayOptions): void {
  refuseUnknown('gateway', options, GATEWAY, 'an object such as { bus, routes }')
  const { basePath = '', challenge = '', routes } = options
  if (!Array.isArray(routes)) throw new TrunklineError('core.option_invalid', { option: 'routes', expected: 'a list of contracts and routes', actual: typeof routes })
  if (basePath !== '' && !/^(?:\/[A-Za-z0-9._~-]+)+$/.test(basePath)) throw new TrunklineError('core.option_invalid', { option: 'basePath', expected: 'a path such as /api, without a slash at its end', actual: basePath.slice(0, 100) })
  if (!/^[\u0020-\u007e]*$/.test(challenge)) throw new TrunklineError('core.option_invalid', { option: 'challenge', expected: 'the printable value of a WWW-Authenticate header', actual: 'something else' })
}

/** The bounds with their defaults. @throws `core.option_unknown`, `core.option_invalid`. */
export function checkedLimits(limits: GatewayLimits = {}): Required<GatewayLimits> {
  refuseUnknown('limits of gateway', limits, LIMITS)
  return {
    bodyBytesMax: wholeInRange('bodyBytesMax', limits.bodyBytesMax ?? BODY_BYTES_MAX, 1, 64 * MIB),
    headerBytesMax: wholeInRange('headerBytesMax', limits.headerBytesMax ?? HEADER_BYTES_MAX, 256, MIB),
    urlBytesMax: wholeInRange('urlBytesMax', limits.urlBytesMax ?? URL_BYTES_MAX, 16, MIB),
    requestsMax: wholeInRange('requestsMax', limits.requestsMax ?? REQUESTS_MAX, 1, 1_000_000),
    timeoutMs: wholeInRange('timeoutMs', limits.timeoutMs ?? ASK_TIMEOUT_MS, 1, 86_400_000),
  }
}
