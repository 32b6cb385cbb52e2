import type { Bus } from '../bus/bus.ts'
import type { EventContract } from '../contract/contract.ts'
import { type Clock, instantText } from '../core/clock.ts'
import type { Message } from '../core/envelope.ts'
import { TrunklineError } from '../core/errors.ts'
import type { Logger } from '../core/logger.ts'
import type { EventStore } from '../store/event-store.ts'
import type { Selection } from '../store/port.ts'
import { EventClient } from './event-client.ts'
import { EventLogSource } from './event-log-source.ts'
import { EVENT_STREAM_TYPE, cursorOf, eventText, gapText, openingText } from './event-text.ts'
import type { Principal } from './principal.ts'
import type { PathParams, StreamPlan, StreamedEvent } from './stream-route.ts'

/** One caller who wants to follow. */
export interface Follower {
  readonly principal: Principal | undefined
  readonly params: PathParams
  readonly headers: Headers
  readonly url: URL
}

/** A caller of a broadcast. */
interface Listener {
  readonly client: EventClient
  readonly wants: (event: StreamedEvent, tenant: string | undefined) => boolean
}

/** The event streams of one gateway: who follows them, and what they are told. */
export class EventStreams {
  readonly #clock: Clock
  readonly #logger: Logger
  readonly #clients = new Map<StreamPlan, Set<EventClient>>()
  readonly #listeners = new Map<StreamPlan, Set<Listener>>()

  /** Subscribes what comes by broadcast. @throws `bus.not_running` where the bus has started already. */
  constructor(bus: Bus, clock: Clock, logger: Logger, plans: readonly StreamPlan[]) {
    this.#clock = clock
    this.#logger = logger
    for (const plan of plans) {
      this.#clients.set(plan, new Set())
      if (plan.options.from !== undefined) continue
      const listeners = new Set<Listener>()
      this.#listeners.set(plan, listeners)
      bus.on(plan.contracts, { broadcast: true, name: `gateway ${plan.pattern.text}` }, (message) => this.#told(listeners, message))
    }
  }

  /** Callers who follow now. */
  get size(): number {
    return [...this.#clients.values()].reduce((sum, { size }) => sum + size, 0)
  }

  /**
   * Lets a caller follow.
   *
   * @throws `bus.overloaded`, `gateway.request_malformed`, `store.down`.
   */
  async open(plan: StreamPlan, follower: Follower): Promise<Response> {
    const clients = this.#clients.get(plan) ?? new Set()
    if (clients.size >= plan.clientsMax) throw new TrunklineError('bus.overloaded', { what: 'callers who follow the events', limit: plan.clientsMax })
    const { from } = plan.options
    const client = from === undefined ? this.#listening(plan, follower, clients) : await this.#following(plan, from, follower, clients)
    return new Response(client.body, { headers: { 'content-type': EVENT_STREAM_TYPE, 'cache-control': 'no-store', 'x-accel-buffering': 'no' } })
  }

  /** Ends all streams; their callers come again elsewhere. */
  close(): void {
    for (const clients of this.#clients.values()) for (const client of clients) client.close()
  }

  #listening(plan: StreamPlan, follower: Follower, clients: Set<EventClient>): EventClient {
    const listeners = this.#listeners.get(plan)
    const isBack = cursorOf(follower.headers, follower.url) !== undefined
    const opening = openingText(plan.retryMs, undefined) + (isBack ? gapText() : '')
    const client = new EventClient(this.#clock, plan, opening, undefined, (gone) => {
      clients.delete(gone)
      listeners?.delete(listener)
    })
    const listener: Listener = { client, wants: wanted(plan, follower) }
    clients.add(client)
    listeners?.add(listener)
    return client
  }

  async #following(plan: StreamPlan, from: EventStore, follower: Follower, clients: Set<EventClient>): Promise<EventClient> {
    const selection = plan.selectionOf(follower.params)
    const after = cursorOf(follower.headers, follower.url) ?? (plan.options.start === 'beginning' ? undefined : await endOf(from, selection, plan.contracts))
    const source = new EventLogSource({ events: from, selection, contracts: plan.contracts, after, pageMax: plan.bufferMax, logger: this.#logger, wants: wanted(plan, follower) })
    const client = new EventClient(this.#clock, plan, openingText(plan.retryMs, after), source, (gone) => clients.delete(gone))
    clients.add(client)
    return client
  }

  #told(listeners: ReadonlySet<Listener>, { id, source, type, time, version, correlationId, key, tenant, data }: Message): void {
    if (listeners.size === 0) return
    const at = time === '' ? instantText(this.#clock.nowMs()) : time
    const event: StreamedEvent = { specversion: '1.0', id, source, type, time: at, dataversion: version, correlationid: correlationId, ...(key === undefined ? {} : { partitionkey: key }), data }
    const text = eventText(event, undefined)
    for (const { client, wants } of listeners) if (wants(event, tenant)) client.push(text)
  }
}

/** Whether a caller may see an event: never that of another tenant, and not what the route's filter keeps back. */
function wanted({ options: { filter } }: StreamPlan, { principal, params }: Follower): Listener['wants'] {
  return (event, tenant) => (principal?.tenant === undefined || tenant === principal.tenant) && (filter === undefined || filter(event, principal, params))
}

/** The place after which everything is new. */
async function endOf(events: EventStore, selection: Selection, contracts: readonly EventContract[]): Promise<bigint | undefined> {
  if (selection.kind !== 'stream') return await events.head()
  for await (const { revision } of events.read(selection, contracts, { direction: 'backwards', limit: 1 })) return revision
  return undefined
}
