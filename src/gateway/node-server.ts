import { type IncomingMessage, type Server, type ServerResponse, createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { wholeInRange } from '../bus/retry-policy.ts'
import { type Clock, systemClock } from '../core/clock.ts'
import { TrunklineError } from '../core/errors.ts'
import { type OptionNames, optionNames, refuseUnknown } from '../core/option-names.ts'
import { systemRandom } from '../core/random.ts'
import { isLoopback, isOwnHost } from './hosts.ts'
import { webRequest } from './node-request.ts'
import { writeResponse } from './node-response.ts'
import { PROBLEM_BASE, PROBLEM_TYPE, problemOf } from './problem.ts'
import { CORRELATION_HEADER } from './request-context.ts'

/** Anything that answers web requests. */
export type Fetch = (request: Request) => Response | PromiseLike<Response>

/** What `serve` takes. */
export interface ServeOptions {
  /** 0 for a free one. */
  readonly port: number
  /** Address to listen on. Default `127.0.0.1`: this machine alone. `0.0.0.0` for everybody, inside a container for instance. */
  readonly host?: string
  /**
   * Host names that this server answers for, without port; every other Host header is refused with 421. Default: on a loopback
   * address its names, so that no page of another site can reach it by DNS rebinding; elsewhere every host, since an ingress decides there.
   */
  readonly hosts?: readonly string[]
  /** Time that a caller has for the head of its request, in milliseconds. Default 10,000. */
  readonly headTimeoutMs?: number
  /** Time that a caller has for the whole request, in milliseconds. Default 30,000. */
  readonly requestTimeoutMs?: number
  /** Time that an idle connection stays open, in milliseconds; longer than that of a load balancer before it. Default 65,000. */
  readonly keepAliveMs?: number
  /** Connections at most; further ones are closed. Default 10,000. */
  readonly connectionsMax?: number
  /** Default: the machine's. */
  readonly clock?: Clock
}

const SERVE: OptionNames = optionNames<ServeOptions>({
  port: true, host: true, hosts: true, headTimeoutMs: true, requestTimeoutMs: true, keepAliveMs: true, connectionsMax: true, clock: true,
})
const HOUR_MS = 3_600_000
const HEAD_BYTES_MAX = 16_384
const GRACE_MS = 10_000

/**
 * Serves web requests with Node's own HTTP server. Resolves when it listens.
 *
 * @throws `core.option_invalid`, also where the address cannot be listened on; `core.option_unknown`.
 */
export async function serve(target: Fetch | { readonly fetch: Fetch }, options: ServeOptions): Promise<HttpServer> {
  refuseUnknown('serve', options, SERVE, 'an object such as { port: 8080 }')
  const server = new HttpServer(typeof target === 'function' ? target : target.fetch, options)
  await server.listen()
  return server
}

/** A server that listens, until it is closed. */
export class HttpServer implements AsyncDisposable {
  readonly host: string
  readonly #fetch: Fetch
  readonly #port: number
  readonly #hosts: readonly string[] | undefined
  readonly #clock: Clock
  readonly #server: Server
  #isClosing = false
  #closed: Promise<boolean> | undefined

  constructor(fetch: Fetch, options: ServeOptions) {
    this.#fetch = fetch
    this.host = options.host ?? '127.0.0.1'
    this.#port = wholeInRange('port', options.port, 0, 65_535)
    this.#hosts = options.hosts
    this.#clock = options.clock ?? systemClock
    this.#server = createServer({
      maxHeaderSize: HEAD_BYTES_MAX,
      headersTimeout: wholeInRange('headTimeoutMs', options.headTimeoutMs ?? 10_000, 1, HOUR_MS),
      requestTimeout: wholeInRange('requestTimeoutMs', options.requestTimeoutMs ?? 30_000, 1, HOUR_MS),
      keepAliveTimeout: wholeInRange('keepAliveMs', options.keepAliveMs ?? 65_000, 1, HOUR_MS),
      // What a time limit says is looked at this often.
      connectionsCheckingInterval: 1_000,
    })
    this.#server.maxConnections = wholeInRange('connectionsMax', options.connectionsMax ?? 10_000, 1, 1_000_000)
    this.#server.on('request', (incoming, outgoing) => {
      this.#answer(incoming, outgoing).catch(() => outgoing.destroy())
    })
  }

  /** The port that it listens on. */
  get port(): number {
    const address = this.#server.address()
    return isAddress(address) ? address.port : this.#port
  }

  /** `http://127.0.0.1:8080`. */
  get url(): string {
    return `http://${this.host.includes(':') ? `[${this.host}]` : this.host}:${this.port}`
  }

  /** Connections that are open. */
  connections(): Promise<number> {
    return new Promise((resolve) => this.#server.getConnections((error, count) => resolve(error === null ? count : 0)))
  }

  /** Begins to listen; `serve` calls it. @throws `core.option_invalid`. */
  listen(): Promise<void> {
    return new Promise((resolve, reject) => {
      this.#server.once('error', (cause: NodeJS.ErrnoException) => {
        reject(new TrunklineError('core.option_invalid', { option: 'port or host of serve', expected: 'an address that can be listened on', actual: cause.code ?? 'refused' }, { cause }))
      })
      this.#server.listen(this.#port, this.host, resolve)
    })
  }

  /**
   * Takes no new connections, lets the requests that are being answered end, and closes. Those that are not done after `graceMs` (default
   * 10,000) are cut. Idempotent.
   *
   * @returns true where nothing had to be cut.
   */
  close({ graceMs = GRACE_MS }: { readonly graceMs?: number } = {}): Promise<boolean> {
    this.#closed ??= this.#close(wholeInRange('graceMs', graceMs, 0, HOUR_MS))
    return this.#closed
  }

  #close(graceMs: number): Promise<boolean> {
    this.#isClosing = true
    return new Promise((resolve) => {
      let isCut = false
      const timer = this.#clock.setTimer(graceMs, () => {
        isCut = true
        this.#server.closeAllConnections()
      })
      this.#server.close(() => {
        timer.cancel()
        resolve(!isCut)
      })
    })
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close()
  }

  async #answer(incoming: IncomingMessage, outgoing: ServerResponse): Promise<void> {
    const left = new AbortController()
    outgoing.once('close', () => {
      if (!outgoing.writableFinished) left.abort()
    })
    let isUnread = (): boolean => !incoming.complete
    let response: Response
    try {
      this.#checkHost(incoming)
      const asked = webRequest(incoming, 'http', left.signal)
      isUnread = asked.isUnread
      response = await this.#fetch(asked.request)
    } catch (error) {
      response = refused(error)
    }
    await writeResponse(response, outgoing, this.#isClosing || isUnread())
  }

  #checkHost({ headers: { host = '' } }: IncomingMessage): void {
    const isOwn = this.#hosts === undefined ? !isLoopback(this.host) || isOwnHost(host, undefined) : isOwnHost(host, this.#hosts)
    if (!isOwn) throw new TrunklineError('gateway.host_refused', { host: host.slice(0, 100) })
  }
}

function isAddress(address: string | AddressInfo | null): address is AddressInfo {
  return typeof address === 'object' && address !== null
}

/** For what never came to the handler, and for handlers that throw; a gateway's does not. */
function refused(error: unknown): Response {
  const correlationId = systemRandom.id(systemClock.nowMs())
  const problem = problemOf(error, { correlationId, base: PROBLEM_BASE, declared: undefined, type: undefined })
  const headers = { 'content-type': PROBLEM_TYPE, 'cache-control': 'no-store', 'x-content-type-options': 'nosniff', [CORRELATION_HEADER]: correlationId }
  return new Response(JSON.stringify(problem), { status: problem.status, headers })
}
