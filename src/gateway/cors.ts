import { TrunklineError } from '../core/errors.ts'
import { type OptionNames, optionNames, refuseUnknown } from '../core/option-names.ts'

/** Which pages of other origins may call the gateway, and what they may see. */
export interface CorsOptions {
  /** Origins such as `https://shop.example.com`, or `*` for all, which cannot have credentials. */
  readonly origins: '*' | readonly string[]
  /** Whether cookies and other credentials may come along. Default false. */
  readonly credentials?: boolean
  /** Request headers beside those of the gateway itself. `authorization` has to be named. */
  readonly headers?: readonly string[]
  /** Time that a browser remembers a permission, in seconds. Default 600. */
  readonly maxAgeS?: number
}

const CORS: OptionNames = optionNames<CorsOptions>({ origins: true, credentials: true, headers: true, maxAgeS: true })
const REQUEST_HEADERS: readonly string[] = ['content-type', 'idempotency-key', 'if-match', 'if-none-match', 'last-event-id', 'request-timeout-ms', 'traceparent', 'x-correlation-id']
const RESPONSE_HEADERS = 'etag, idempotency-replayed, request-timeout-ms, retry-after, traceparent, x-correlation-id'
const MAX_AGE_S = 600
const NO_CONTENT = 204

/** @throws `core.option_unknown`, `core.option_invalid`. */
export function checkCors(cors: CorsOptions): void {
  refuseUnknown('cors of gateway', cors, CORS, 'an object such as { origins: ["https://shop.example.com"] }')
  const { origins, credentials } = cors
  const invalid = (actual: string): TrunklineError => new TrunklineError('core.option_invalid', { option: 'origins of cors', expected: 'origins such as https://shop.example.com, or "*" without credentials', actual })
  if (origins === '*') {
    if (credentials === true) throw invalid('"*" with credentials')
    return
  }
  for (const origin of origins) if (!URL.canParse(origin) || new URL(origin).origin !== origin) throw invalid(JSON.stringify(origin).slice(0, 100))
}

/** Cross-origin requests of one gateway. Without options nothing is allowed, and no header says anything. */
export class Cors {
  readonly #options: CorsOptions | undefined

  constructor(options: CorsOptions | undefined) {
    if (options !== undefined) checkCors(options)
    this.#options = options
  }

  /**
   * Refuses what a page of another origin would change with the rights of whoever looks at it. Reading is left to the browser, which
   * shows nothing that no header allows.
   *
   * @throws `gateway.origin_refused`.
   */
  check(request: Request, url: URL): void {
    const origin = request.headers.get('origin')
    if (origin === null || request.method === 'GET' || request.method === 'HEAD' || this.#allows(origin)) return
    // A proxy before us may speak TLS for us, so the scheme does not count.
    const host = request.headers.get('host') ?? url.host
    if (URL.canParse(origin) && new URL(origin).host === host) return
    throw new TrunklineError('gateway.origin_refused', { origin: origin.slice(0, 100) })
  }

  /** The answer to a browser that asks beforehand; undefined for everything else. */
  preflight(request: Request, methods: readonly string[]): Response | undefined {
    const origin = request.headers.get('origin')
    const isAsked = request.method === 'OPTIONS' && request.headers.has('access-control-request-method')
    if (this.#options === undefined || !isAsked || methods.length === 0 || origin === null || !this.#allows(origin)) return undefined
    const headers = new Headers({
      'access-control-allow-methods': methods.join(', '),
      'access-control-allow-headers': [...REQUEST_HEADERS, ...(this.#options.headers ?? [])].join(', '),
      'access-control-max-age': `${this.#options.maxAgeS ?? MAX_AGE_S}`,
    })
    return new Response(null, { status: NO_CONTENT, headers })
  }

  /** Says in an answer who may see it. */
  complete(request: Request, headers: Headers): void {
    if (this.#options === undefined) return
    const { origins, credentials } = this.#options
    if (origins !== '*') headers.append('vary', 'origin')
    const origin = request.headers.get('origin')
    if (origin === null || !this.#allows(origin)) return
    headers.set('access-control-allow-origin', origins === '*' ? '*' : origin)
    headers.set('access-control-expose-headers', RESPONSE_HEADERS)
    if (credentials === true) headers.set('access-control-allow-credentials', 'true')
  }

  #allows(origin: string): boolean {
    const origins = this.#options?.origins
    return origins === '*' || (origins?.includes(origin) ?? false)
  }
}
