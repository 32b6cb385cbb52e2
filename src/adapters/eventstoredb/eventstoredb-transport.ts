import type {
  DeadLetterPlane, DeliverySink, LightPlane, Outbound, PublishSignal, Subscription, Transport, TransportCapabilities, TransportHost, TransportSubscription,
} from '../../bus/port.ts'
import type { Timer } from '../../core/clock.ts'
import { assert, TrunklineError } from '../../core/errors.ts'
import { connectEsdb, planOf, type EsdbPlan } from './eventstoredb-connect.ts'
import { EsdbDeadLetters } from './eventstoredb-dead-letters.ts'
import { eventIdOf, eventOf, fieldsOf, recordOf } from './eventstoredb-event.ts'
import { EsdbGroup } from './eventstoredb-group.ts'
import { EsdbLaneGroup } from './eventstoredb-lane-group.ts'
import { EsdbLink } from './eventstoredb-link.ts'
import { EsdbNames } from './eventstoredb-names.ts'
import type { EventStoreDbOptions } from './eventstoredb-options.ts'
import type { EsdbParts } from './eventstoredb-parts.ts'
import { EsdbPublisher } from './eventstoredb-publisher.ts'

/** What EventStoreDB can do as a transport. It has nothing for messages that are not stored. */
export const eventStoreDbCapabilities: TransportCapabilities = {
  canStore: true,
  canOrderByKey: true,
  canBroadcast: false,
  canRequest: false,
  canManageDeadLetters: true,
  canReplay: true,
  canDelayRetry: true,
  survivesProcessDeath: true,
  survivesBrokerRestart: true,
  spansMachines: true,
  scansDeadLetters: true,
}

/** Time without a call after which the link is looked at: an idle program must notice a dead server too. */
const PULSE_MS = 5_000
const PULSE_DOWN_MS = 500

/**
 * Messages over EventStoreDB. It may share its server with a store; its streams begin with `trunkline-`.
 *
 * @throws `core.option_invalid`.
 */
export function eventStoreDbTransport(options: EventStoreDbOptions): Transport {
  return new EsdbTransport(planOf(options))
}

/** Messages over EventStoreDB. */
export class EsdbTransport implements Transport {
  readonly name = 'eventstoredb'
  readonly capabilities: TransportCapabilities = eventStoreDbCapabilities
  readonly light: LightPlane | undefined = undefined
  readonly #plan: EsdbPlan
  #running: EsdbParts | undefined
  #pulse: Timer | undefined
  readonly #aged = new Set<string>()

  constructor(plan: EsdbPlan) {
    this.#plan = plan
  }

  get deadLetters(): DeadLetterPlane | undefined {
    return this.#running?.deadLetters
  }

  async open(host: TransportHost): Promise<void> {
    assert(this.#running === undefined, 'a transport is open once at a time')
    const link = await connectEsdb(this.#plan, host)
    if (!(link instanceof EsdbLink)) throw new TrunklineError('bus.connection_lost', { adapter: 'eventstoredb', problem: link.problem }, { cause: link.cause })
    const { settings } = this.#plan
    const names = new EsdbNames(settings.namespace)
    const publisher = new EsdbPublisher(link, host.random)
    this.#running = { host, link, names, settings, publisher, deadLetters: new EsdbDeadLetters(link, host, names, publisher) }
    this.#beat(link, host, PULSE_MS)
  }

  publish({ kind, message }: Outbound, signal: PublishSignal | undefined): Promise<void> {
    const { names, publisher } = this.#need()
    const stream = names.published(kind, message.type)
    this.#keepAge(kind, stream)
    return publisher.store(stream, eventOf(eventIdOf(message, stream), message), message.body.length, { key: message.key, signal })
  }

  async subscribe(subscription: Subscription, sink: DeliverySink): Promise<TransportSubscription> {
    const running = this.#need()
    const start = await this.#claim(running, subscription)
    for (const type of subscription.types) this.#keepAge(subscription.kind, running.names.published(subscription.kind, type))
    if (subscription.order === 'key') {
      const lanes = new EsdbLaneGroup(running, subscription, sink, start)
      await lanes.open()
      return lanes
    }
    const group = new EsdbGroup(running, subscription, sink)
    await group.open()
    return group
  }

  async close(): Promise<void> {
    const running = this.#running
    if (running === undefined) return
    this.#running = undefined
    this.#pulse?.cancel()
    this.#aged.clear()
    await running.link.close()
  }

  /** What a group is stays what it is: order cannot be had afterwards. Resolves with the position behind which an ordered one begins. */
  async #claim({ link, names, settings }: EsdbParts, { kind, group, order, from }: Subscription): Promise<bigint> {
    const stream = names.group(kind, group)
    const isNew = kind === 'event' && from === 'new' && order === 'key'
    const start = isNew ? await headOf(link) : -1n
    const record = recordOf(stream, 'group', { order, lanes: settings.lanes, start: `${start}` })
    const claimed = await link.call((client) =>
      client.appendToStream(stream, [record], { ...link.callOptions, expectedRevision: 'no_stream', streamState: 'no_stream' }),
    )
    if (claimed.kind === 'failed' && claimed.failure.kind !== 'wrong-revision') throw lost(claimed.failure)
    // Read back in any case: an earlier claim with the same id is answered as done.
    const found = await link.read((client) => client.readStream(stream, { ...link.callOptions, direction: 'forwards', fromRevision: 'start', maxCount: 1 }))
    if (found.kind === 'failed') throw lost(found.failure)
    const [first] = found.value.events
    const fields = first === undefined ? {} : fieldsOf(first)
    if (fields['order'] !== order) throw conflict(group, `it was made with another order than ${order}`)
    if (order === 'key' && fields['lanes'] !== settings.lanes) throw conflict(group, `it was made with another number of lanes than ${settings.lanes}`)
    const stored = fields['start']
    return typeof stored === 'string' && /^-?\d+$/.test(stored) ? BigInt(stored) : -1n
  }

  /** Events are kept for a time; commands until they are handled, however long that takes. */
  #keepAge(kind: 'event' | 'command', stream: string): void {
    if (kind === 'command' || this.#aged.has(stream)) return
    this.#aged.add(stream)
    const { link, settings } = this.#need()
    const maxAge = Math.max(1, Math.ceil(settings.eventsAgeMaxMs / 1_000))
    void link
      .call(async (client) => {
        const { metadata } = await client.getStreamMetadata(stream, link.callOptions)
        if (metadata === undefined) await client.setStreamMetadata(stream, { maxAge }, link.callOptions)
      })
      .then((result) => {
        if (result.kind === 'failed') this.#aged.delete(stream)
      })
  }

  #beat(link: EsdbLink, host: TransportHost, everyMs: number): void {
    this.#pulse = host.clock.setTimer(everyMs * (0.75 + host.random.next() / 2), () => {
      void link
        .read((client) => client.readAll({ ...link.callOptions, direction: 'backwards', fromPosition: 'end', maxCount: 1 }))
        .then((result) => {
          // While it is down it is looked at more often.
          if (!link.closed.aborted) this.#beat(link, host, result.kind === 'done' ? PULSE_MS : PULSE_DOWN_MS)
        })
    }, { background: true })
  }

  #need(): EsdbParts {
    if (this.#running === undefined) throw new TrunklineError('bus.not_running', { operation: 'use of the transport', state: 'closed' })
    return this.#running
  }
}

async function headOf(link: EsdbLink): Promise<bigint> {
  const result = await link.read((client) => client.readAll({ ...link.callOptions, direction: 'backwards', fromPosition: 'end', maxCount: 1 }))
  if (result.kind === 'failed') throw lost(result.failure)
  return result.value.events[0]?.position ?? -1n
}

function conflict(subscription: string, problem: string): TrunklineError {
  return new TrunklineError('bus.subscription_conflict', { subscription, problem })
}

function lost({ problem, cause }: { readonly problem: string; readonly cause: unknown }): TrunklineError {
  return new TrunklineError('bus.connection_lost', { adapter: 'eventstoredb', problem }, { cause })
}
