import type { Delivery, Subscription, Transport, TransportHost, TransportState, TransportSubscription } from '../../../src/bus/port.ts'
import { nats, type NatsOptions } from '../../../src/adapters/nats/index.ts'
import { systemClock, type Clock } from '../../../src/core/clock.ts'
import type { WireMessage } from '../../../src/core/envelope.ts'
import type { Logger, LogMethod } from '../../../src/core/logger.ts'
import { systemRandom, type Random } from '../../../src/core/random.ts'

/** A host that remembers what it was told. */
export class RecordingHost implements TransportHost {
  readonly clock: Clock = systemClock
  readonly random: Random = systemRandom
  readonly service: string
  readonly instance: string
  readonly states: { readonly state: TransportState; readonly reason: string }[] = []
  readonly lines: string[] = []
  readonly logger: Logger

  constructor(service: string) {
    this.service = service
    this.instance = systemRandom.id(systemClock.nowMs())
    const write: LogMethod = (fields: object | string, text?: string) => {
      this.lines.push(JSON.stringify(fields) + (text ?? ''))
    }
    this.logger = { trace: write, debug: write, info: write, warn: write, error: write, child: () => this.logger }
  }

  report(state: TransportState, reason: string): void {
    this.states.push({ state, reason })
  }

  get state(): TransportState | undefined {
    return this.states.at(-1)?.state
  }
}

/** An open transport of one pretended process. */
export interface Rig {
  readonly transport: Transport
  readonly host: RecordingHost
}

/** Opens a transport with short times. */
export async function openRig(options: NatsOptions, service = 'shop'): Promise<Rig> {
  const host = new RecordingHost(service)
  const transport = nats({ ackWaitMs: 1_000, leaseMs: 1_000, ...options })
  const open: TransportHost = { clock: host.clock, random: host.random, service, instance: host.instance, logger: host.logger, report: (state, reason) => host.report(state, reason) }
  await transport.open(open)
  return { transport, host }
}

let made = 0

/** A valid message. */
export function messageOf(type: string, changes: Partial<WireMessage> = {}): WireMessage {
  made += 1
  return {
    id: `m-${made}`,
    source: '/shop',
    type,
    version: 1,
    time: '2026-01-02T03:04:05.678Z',
    contentType: 'application/json',
    key: undefined,
    correlationId: 'flow',
    causationId: undefined,
    deadline: undefined,
    tenant: undefined,
    traceparent: undefined,
    tracestate: undefined,
    hops: 0,
    replyTo: undefined,
    outcome: undefined,
    headers: undefined,
    body: Buffer.from(JSON.stringify({ number: made })),
    defect: undefined,
    ...changes,
  }
}

/** What a group wants, with room for everything. */
export function groupOf(group: string, types: readonly string[], changes: Partial<Subscription> = {}): Subscription {
  return { group, kind: 'event', types, order: 'none', from: 'new', inFlightMax: 16, handlerTimeoutMs: 30_000, ...changes }
}

/** Collects deliveries; settles them by itself where it was given a way. */
export class Inbox {
  readonly deliveries: Delivery[] = []
  readonly #handle: ((delivery: Delivery, number: number) => void) | undefined

  constructor(handle?: (delivery: Delivery, number: number) => void) {
    this.#handle = handle
  }

  readonly sink = (delivery: Delivery): void => {
    this.deliveries.push(delivery)
    this.#handle?.(delivery, this.deliveries.length)
  }

  get ids(): readonly string[] {
    return this.deliveries.map((delivery) => delivery.message.id)
  }

  at(index: number): Delivery {
    const delivery = this.deliveries[index]
    if (delivery === undefined) throw new Error(`there is no delivery number ${index}`)
    return delivery
  }
}

/** Subscribes with an inbox. */
export async function listen(rig: Rig, subscription: Subscription, inbox: Inbox): Promise<TransportSubscription> {
  return await rig.transport.subscribe(subscription, inbox.sink)
}

/** Publishes an event. */
export async function publish(rig: Rig, message: WireMessage, kind: 'event' | 'command' = 'event'): Promise<void> {
  await rig.transport.publish({ kind, message }, undefined)
}

/** A record of a failure, as the bus makes it. */
export const record = {
  reason: 'bus.handler_failed',
  errors: [{ name: 'Error', message: 'out of stock — große Menge' }],
  attempts: 5,
  handler: 'reserve',
  service: 'shop',
  instance: 'i-1',
  at: '2026-01-02T03:04:06.000Z',
} as const
