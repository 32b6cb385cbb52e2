import type { Bus } from '../bus/bus.ts'
import { type Clock, systemClock } from '../core/clock.ts'
import { TrunklineError, isTrunklineError } from '../core/errors.ts'
import type { Logger } from '../core/logger.ts'
import { type Random, systemRandom } from '../core/random.ts'
import { StandardLogger } from '../core/standard-logger.ts'
import { type Answer, type Call, runCall } from './call-runner.ts'
import { Cors } from './cors.ts'
import { hashTag, isKnown } from './etag.ts'
import { EventStreams } from './event-streams.ts'
import { type HealthEndpoints, healthEndpoints } from './health.ts'
import { type IdempotencyKeys, memoryKeys } from './idempotency.ts'
import { type Ended, keyedRequest, runOnce } from './keyed-calls.ts'
import { type DocumentOptions, openApiDocument } from './openapi.ts'
import { type GatewayLimits, type GatewayOptions, checkGatewayOptions, checkedLimits } from './options.ts'
import { type Principal, checkedPrincipal } from './principal.ts'
import { PROBLEM_BASE, type ProblemContext } from './problem.ts'
import { refusal } from './refusal.ts'
import { CORRELATION_HEADER, TIMEOUT_HEADER, TRACE_HEADER, correlationIdOf, requestContext } from './request-context.ts'
import { requestData } from './request-data.ts'
import { Route, route } from './route.ts'
import { type CallPlan, callPlan } from './route-plan.ts'
import { type Match, Router } from './router.ts'
import { Stream, type StreamPlan, streamPlan } from './stream-route.ts'

const NOT_MODIFIED = 304
const DOCUMENT_PATH = '/openapi.json'
const NO_ROUTES = { title: 'Trunkline', version: '0.0.0' }

/**
 * Serves contracts over HTTP: `gateway({ bus, routes }).fetch` takes a `Request` and gives a `Response`, so that every framework and runtime
 * that knows them can mount it. It never rejects.
 *
 * @throws `gateway.route_invalid`, `core.option_invalid`, `core.option_unknown`.
 */
export function gateway(options: GatewayOptions): Gateway {
  return new Gateway(options)
}

type Plan = CallPlan | StreamPlan

/** What one request has come to know of itself. */
interface Exchange {
  readonly correlationId: string
  plan: Plan | undefined
  traceparent: string | undefined
  timeoutMs: number | undefined
}

/** Contracts behind HTTP. */
export class Gateway {
  readonly #bus: Bus
  readonly #router: Router<Plan>
  readonly #plans: readonly Plan[]
  readonly #streams: EventStreams
  readonly #options: GatewayOptions
  readonly #limits: Required<GatewayLimits>
  readonly #clock: Clock
  readonly #random: Random
  readonly #logger: Logger
  readonly #cors: Cors
  readonly #keys: IdempotencyKeys
  readonly #health: HealthEndpoints
  readonly #problemBase: string
  #documentText: string | undefined
  #inFlight = 0
  #isDraining = false

  constructor(options: GatewayOptions) {
    checkGatewayOptions(options)
    const { bus, basePath = '', health = true } = options
    this.#options = options
    this.#bus = bus
    this.#limits = checkedLimits(options.limits)
    this.#clock = options.clock ?? systemClock
    this.#random = options.random ?? systemRandom
    this.#logger = (options.logger ?? standardLogger()).child({ service: bus.service.name })
    this.#cors = new Cors(options.cors)
    this.#keys = options.idempotency ?? memoryKeys({ clock: this.#clock })
    this.#problemBase = options.problemBase ?? PROBLEM_BASE
    this.#plans = options.routes.map((one) => (one instanceof Stream ? streamPlan(one, basePath) : callPlan(one instanceof Route ? one : route(one), basePath)))
    this.#router = new Router(this.#plans)
    this.#streams = new EventStreams(bus, this.#clock, this.#logger, this.#plans.filter((plan) => plan.kind === 'stream'))
    const reasons = typeof health === 'object' && health.reasons
    this.#health = health === false ? () => undefined : healthEndpoints({ bus, isDraining: () => this.#isDraining, reasons }, basePath)
  }

  /** Requests that are being answered. */
  get inFlight(): number {
    return this.#inFlight
  }

  /** Callers who follow events. */
  get followers(): number {
    return this.#streams.size
  }

  /**
   * Begins to stop: `/readyz` says so from now on, and event streams end, so that their callers come again elsewhere. Other requests are
   * still answered, until the server takes no more. Idempotent.
   */
  drain(): void {
    this.#isDraining = true
    this.#streams.close()
  }

  /** The OpenAPI 3.1 document of the routes, a JSON value. */
  openApi(options: DocumentOptions = this.#options.document ?? NO_ROUTES): Readonly<Record<string, unknown>> {
    const { authenticate, challenge = 'Bearer' } = this.#options
    return openApiDocument({ options, plans: this.#plans, problemBase: this.#problemBase, challenge: authenticate === undefined ? undefined : challenge })
  }

  /** Answers one request. It never rejects: everything that fails is a problem (RFC 9457). Bound, so that it can be handed on as it is. */
  readonly fetch = async (request: Request): Promise<Response> => {
    const exchange: Exchange = { correlationId: correlationIdOf(request.headers, this.#clock, this.#random), plan: undefined, traceparent: undefined, timeoutMs: undefined }
    this.#inFlight++
    try {
      return this.#completed(request, exchange, await this.#answered(request, exchange))
    } catch (error) {
      return this.#completed(request, exchange, this.#refused(request, exchange, error))
    } finally {
      this.#inFlight--
    }
  }

  async #answered(request: Request, exchange: Exchange): Promise<Response> {
    const url = this.#checkedHead(request)
    const own = this.#health(request.method, url.pathname) ?? this.#document(request, url.pathname) ?? this.#cors.preflight(request, this.#router.methodsOf(url.pathname))
    if (own !== undefined) return own
    const { requestsMax, bodyBytesMax } = this.#limits
    if (this.#inFlight > requestsMax) throw new TrunklineError('bus.overloaded', { what: 'requests', limit: requestsMax })
    const context = requestContext(request.headers, exchange.correlationId)
    exchange.traceparent = context.traceparent
    const match = this.#router.find(request.method, url.pathname)
    exchange.plan = match.route
    this.#cors.check(request, url)
    const principal = await this.#principal(request, match.route)
    if (match.route.kind === 'stream') return await this.#followed(request, url, match.route, match.params, principal)
    const plan = match.route
    exchange.timeoutMs = Math.min(plan.timeoutMs ?? this.#limits.timeoutMs, context.timeoutMs ?? Infinity)
    const data = await requestData(plan, match.params, request, url, bodyBytesMax)
    await authorized(plan, () => plan.options.authorize?.(principal, data))
    return await this.#called(request, exchange, { plan, data, context, principal, timeoutMs: exchange.timeoutMs, signal: request.signal })
  }

  async #followed(request: Request, url: URL, plan: StreamPlan, found: Match<Plan>['params'], principal: Principal | undefined): Promise<Response> {
    if (this.#isDraining) throw new TrunklineError('gateway.draining', { operation: `GET ${plan.pattern.text}` })
    const params = Object.fromEntries(found)
    await authorized(plan, () => plan.options.authorize?.(principal, params))
    if (request.method === 'HEAD') return new Response(null, { headers: { 'content-type': 'text/event-stream' } })
    return await this.#streams.open(plan, { principal, params, headers: request.headers, url })
  }

  async #called(request: Request, exchange: Exchange, call: Omit<Call, 'id' | 'isRepeatable'>): Promise<Response> {
    const keyed = keyedRequest(call.plan, request.headers, call.principal, call.data)
    const id = keyed?.id ?? this.#random.id(this.#clock.nowMs())
    const run = async (): Promise<Response> => answerResponse(request, await runCall(this.#bus, { ...call, id, isRepeatable: keyed !== undefined }))
    if (keyed === undefined) return await run()
    return await runOnce(this.#keys, keyed, this.#logger, async (): Promise<Ended> => {
      try {
        return { response: await run(), isKnown: true }
      } catch (error) {
        // A declared error is an answer; what was refused before it was sent takes up no key, and of the rest nothing is known.
        if (!isTrunklineError(error, 'contract.declared_error')) throw error
        return { response: this.#refused(request, exchange, error), isKnown: true }
      }
    })
  }

  #checkedHead(request: Request): URL {
    const { urlBytesMax, headerBytesMax } = this.#limits
    const url = new URL(request.url)
    const urlBytes = url.pathname.length + url.search.length
    if (urlBytes > urlBytesMax) throw new TrunklineError('gateway.head_too_large', { what: 'address', bytes: urlBytes, bytesMax: urlBytesMax })
    let bytes = 0
    for (const [name, value] of request.headers) bytes += name.length + value.length
    if (bytes > headerBytesMax) throw new TrunklineError('gateway.head_too_large', { what: 'headers', bytes, bytesMax: headerBytesMax })
    return url
  }

  #document(request: Request, path: string): Response | undefined {
    const { document, basePath = '' } = this.#options
    if (document === undefined || path !== `${basePath}${document.path ?? DOCUMENT_PATH}` || (request.method !== 'GET' && request.method !== 'HEAD')) return undefined
    this.#documentText ??= JSON.stringify(this.openApi(document))
    const body = Buffer.from(this.#documentText)
    return answerResponse(request, { status: 200, body, etag: hashTag(body) })
  }

  async #principal(request: Request, plan: Plan): Promise<Principal | undefined> {
    const { authenticate, challenge = 'Bearer' } = this.#options
    if (authenticate === undefined || plan.options.isPublic === true) return undefined
    // The hook gets no body: what it reads would be gone for the route.
    const head = new Request(request.url, { method: request.method, headers: request.headers, signal: request.signal })
    const principal = checkedPrincipal(await authenticate(head, { method: plan.method, path: plan.pattern.text, types: plan.kind === 'call' ? [plan.contract.type] : plan.contracts.map(({ type }) => type) }))
    if (principal === undefined) throw new TrunklineError('gateway.unauthenticated', { challenge })
    return principal
  }

  #refused(request: Request, { plan, correlationId }: Exchange, error: unknown): Response {
    const call = plan?.kind === 'call' ? plan : undefined
    const context: ProblemContext = { correlationId, base: this.#problemBase, declared: call?.options.errors, type: call?.target.type }
    return refusal(request, error, context, plan?.pattern.text, this.#logger)
  }

  /** What every answer has. */
  #completed(request: Request, { correlationId, traceparent, timeoutMs }: Exchange, response: Response): Response {
    const { headers } = response
    headers.set(CORRELATION_HEADER, correlationId)
    headers.set('x-content-type-options', 'nosniff')
    if (traceparent !== undefined) headers.set(TRACE_HEADER, traceparent)
    if (timeoutMs !== undefined) headers.set(TIMEOUT_HEADER, `${timeoutMs}`)
    this.#cors.complete(request, headers)
    return response
  }
}

/** Without a hook everybody may. @throws `gateway.forbidden`. */
async function authorized(plan: Plan, ask: () => boolean | PromiseLike<boolean> | undefined): Promise<void> {
  if (plan.options.authorize === undefined || (await ask()) === true) return
  throw new TrunklineError('gateway.forbidden', { problem: `${plan.method} ${plan.pattern.text}` })
}

function standardLogger(): StandardLogger {
  const logger = new StandardLogger()
  // Without pino its lines have nowhere to go; that is no reason not to answer.
  logger.load().catch(() => {})
  return logger
}

function answerResponse(request: Request, { status, body, etag }: Answer): Response {
  const headers = new Headers({ 'cache-control': etag === undefined ? 'no-store' : 'private, no-cache' })
  if (etag !== undefined) headers.set('etag', etag)
  const isRead = request.method === 'GET' || request.method === 'HEAD'
  if (etag !== undefined && isRead && isKnown(request.headers.get('if-none-match'), etag)) return new Response(null, { status: NOT_MODIFIED, headers })
  if (body === undefined) return new Response(null, { status, headers })
  headers.set('content-type', 'application/json')
  return new Response(request.method === 'HEAD' ? null : Buffer.from(body), { status, headers })
}
