import { wholeInRange } from '../bus/retry-policy.ts'
import type { EventContract } from '../contract/contract.ts'
import { TrunklineError } from '../core/errors.ts'
import { type OptionNames, optionNames, refuseUnknown } from '../core/option-names.ts'
import { type EventStore, all } from '../store/event-store.ts'
import type { Selection } from '../store/port.ts'
import { type PathPattern, pathPattern } from './path-pattern.ts'
import type { Principal } from './principal.ts'

/** An event as a stream tells it: the attributes of CloudEvents 1.0, and the data. */
export interface StreamedEvent {
  readonly specversion: '1.0'
  readonly id: string
  readonly source: string
  readonly type: string
  /** RFC 3339; of a store when it was stored, else when it was published. */
  readonly time: string
  readonly dataversion: number
  readonly correlationid: string
  readonly partitionkey?: string
  readonly data: unknown
}

/** Parameters of the path, as texts. */
export type PathParams = Readonly<Record<string, string>>

/** What `stream` takes. */
export interface StreamOptions {
  /** `/orders/events`, or with parameters for `selection`: `/orders/{orderId}/events`. */
  readonly path: string
  /**
   * The event store whose log is followed: callers resume where they were, by `Last-Event-ID`. Without it events come by broadcast, and
   * what was published while a caller was away is gone for it.
   */
  readonly from?: EventStore
  /** Which part of the log. Default: all of it. */
  readonly selection?: Selection | ((params: PathParams) => Selection)
  /** Where callers begin who bring no `Last-Event-ID`. Default `new`. */
  readonly start?: 'new' | 'beginning'
  /** Whether this caller may see this event. Events of another tenant than the caller's are never shown. */
  readonly filter?: (event: StreamedEvent, principal: Principal | undefined, params: PathParams) => boolean
  /** May be followed without authentication. Default false, where the gateway has a hook for it. */
  readonly isPublic?: boolean
  /** Whether this caller may follow it; false is answered 403. */
  readonly authorize?: (principal: Principal | undefined, params: PathParams) => boolean | PromiseLike<boolean>
  /** Time between two signs of life, in milliseconds. Default 15,000. */
  readonly heartbeatMs?: number
  /** Events that wait for one caller; a broadcast's caller who lets more wait is cut. Default 256. */
  readonly bufferMax?: number
  /** Time after which a caller is cut that takes nothing of what waits, in milliseconds. Default 30,000. */
  readonly stallMs?: number
  /** Callers at the same time; more are refused with 503. Default 1,000. */
  readonly clientsMax?: number
  /** Time that a browser waits before it comes again, in milliseconds. Default 3,000. */
  readonly retryMs?: number
  /** For the OpenAPI document. */
  readonly summary?: string
}

/** Events served over HTTP as they happen. */
export class Stream {
  readonly contracts: readonly EventContract[]
  readonly options: StreamOptions

  constructor(contracts: readonly EventContract[], options: StreamOptions) {
    this.contracts = contracts
    this.options = options
  }
}

const STREAM: OptionNames = optionNames<StreamOptions>({
  path: true, from: true, selection: true, start: true, filter: true, isPublic: true, authorize: true, heartbeatMs: true, bufferMax: true, stallMs: true,
  clientsMax: true, retryMs: true, summary: true,
})
const DAY_MS = 86_400_000

/**
 * Serves events as server-sent events. Of a store only public events are served, since the others must not leave their streams.
 *
 * @throws `gateway.route_invalid`, `core.option_unknown`.
 */
export function stream(contracts: EventContract | readonly EventContract[], options: StreamOptions): Stream {
  refuseUnknown('stream', options, STREAM, 'an object such as { path: "/orders/events" }')
  const listed = 'kind' in contracts ? [contracts] : contracts
  const refuse = (problem: string): TrunklineError => new TrunklineError('gateway.route_invalid', { route: String(options.path), problem })
  if (listed.length === 0) throw refuse('it has no contracts')
  for (const { type, kind: given, visibility } of listed) {
    // A caller without types may give anything.
    const kind: string = given
    if (kind !== 'event') throw refuse(`${type} is a ${kind}, and a stream serves events`)
    if (options.from !== undefined && visibility !== 'public') throw refuse(`${type} is private, and must not leave its stream`)
  }
  if (options.from === undefined && (options.selection !== undefined || options.start !== undefined)) throw refuse('a broadcast has neither a selection nor a start')
  return new Stream(listed, options)
}

/** A stream worked out. */
export interface StreamPlan {
  readonly kind: 'stream'
  readonly method: 'GET'
  readonly pattern: PathPattern
  readonly contracts: readonly EventContract[]
  readonly options: StreamOptions
  readonly selectionOf: (params: PathParams) => Selection
  readonly heartbeatMs: number
  readonly bufferMax: number
  readonly stallMs: number
  readonly clientsMax: number
  readonly retryMs: number
}

/** Works a stream out. @throws `gateway.route_invalid`, `core.option_invalid`. */
export function streamPlan({ contracts, options }: Stream, basePath: string): StreamPlan {
  const { selection = all() } = options
  return {
    kind: 'stream', method: 'GET', contracts, options,
    pattern: pathPattern(`${basePath}${options.path}`, (problem) => new TrunklineError('gateway.route_invalid', { route: options.path, problem })),
    selectionOf: typeof selection === 'function' ? selection : () => selection,
    heartbeatMs: wholeInRange('heartbeatMs', options.heartbeatMs ?? 15_000, 10, DAY_MS),
    bufferMax: wholeInRange('bufferMax', options.bufferMax ?? 256, 1, 100_000),
    stallMs: wholeInRange('stallMs', options.stallMs ?? 30_000, 10, DAY_MS),
    clientsMax: wholeInRange('clientsMax', options.clientsMax ?? 1_000, 1, 1_000_000),
    retryMs: wholeInRange('retryMs', options.retryMs ?? 3_000, 1, DAY_MS),
  }
}
