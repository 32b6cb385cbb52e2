import { memoryCapabilities } from '../../src/adapters/memory/index.ts'
import type {
  DeadLetterPlane, Delivery, DeliverySink, LightPlane, Outbound, PublishSignal, Subscription, Transport, TransportCapabilities, TransportHost, TransportSubscription,
} from '../../src/bus/port.ts'
import type { WireMessage } from '../../src/core/envelope.ts'

/** A transport whose answers the test gives. */
export class FakeTransport implements Transport {
  readonly name = 'fake'
  readonly capabilities: TransportCapabilities
  deadLetters: DeadLetterPlane | undefined
  light: LightPlane | undefined
  readonly calls: string[] = []
  host: TransportHost | undefined
  sinks: DeliverySink[] = []
  openWith: () => Promise<void> = () => Promise.resolve()
  publishWith: (outbound: Outbound, signal: PublishSignal | undefined) => Promise<void> | undefined = () => undefined
  subscribeWith: (subscription: Subscription, sink: DeliverySink) => Promise<void> = () => Promise.resolve()
  pauseWith: () => Promise<void> = () => Promise.resolve()
  closeWith: () => Promise<void> = () => Promise.resolve()

  constructor(capabilities: Partial<TransportCapabilities> = {}) {
    this.capabilities = { ...memoryCapabilities, ...capabilities }
  }

  open(host: TransportHost): Promise<void> {
    this.calls.push('open')
    this.host = host
    return this.openWith()
  }

  publish(outbound: Outbound, signal: PublishSignal | undefined): Promise<void> | undefined {
    this.calls.push(`publish ${outbound.kind} ${outbound.message.type}`)
    return this.publishWith(outbound, signal)
  }

  async subscribe(subscription: Subscription, sink: DeliverySink): Promise<TransportSubscription> {
    this.calls.push(`subscribe ${subscription.kind} ${subscription.group}`)
    this.sinks.push(sink)
    await this.subscribeWith(subscription, sink)
    const note = (call: string, work: () => Promise<void> = () => Promise.resolve()) => (): Promise<void> => {
      this.calls.push(`${call} ${subscription.group}`)
      return work()
    }
    return { pause: note('pause', () => this.pauseWith()), resume: note('resume'), close: note('unsubscribe') }
  }

  close(): Promise<void> {
    this.calls.push('close')
    return this.closeWith()
  }
}

/** A delivery that notes how it was settled. */
export class FakeDelivery implements Delivery {
  readonly message: WireMessage
  readonly attempt: number
  readonly isSuspect: boolean
  readonly isRedriven = false
  readonly settled: string[] = []
  beginWith: () => Promise<number>

  constructor(message: WireMessage, options: { readonly attempt?: number; readonly isSuspect?: boolean } = {}) {
    this.message = message
    this.attempt = options.attempt ?? 1
    this.isSuspect = options.isSuspect ?? false
    this.beginWith = () => Promise.resolve(this.attempt)
  }

  begin(): Promise<number> {
    this.settled.push('begin')
    return this.beginWith()
  }

  ack(): Promise<void> | undefined {
    this.settled.push('ack')
    return undefined
  }

  retry(delayMs: number): Promise<void> {
    this.settled.push(`retry ${delayMs}`)
    return Promise.resolve()
  }

  deadLetter(record: { readonly reason: string; readonly attempts: number }): Promise<void> {
    this.settled.push(`dead ${record.reason} ${record.attempts}`)
    return Promise.resolve()
  }

  release(): Promise<void> {
    this.settled.push('release')
    return Promise.resolve()
  }
}

/** A message as a foreign program or another service would send it. */
export function wireMessage(parts: Partial<WireMessage> & { readonly data?: unknown } = {}): WireMessage {
  const { data, ...rest } = parts
  return {
    id: 'm-1', source: '/elsewhere', type: 'sales.order-placed', version: 1, time: '2024-01-01T00:00:00.000Z', contentType: 'application/json', key: undefined,
    correlationId: undefined, causationId: undefined, deadline: undefined, tenant: undefined, traceparent: undefined, tracestate: undefined, hops: 0,
    replyTo: undefined, outcome: undefined, headers: undefined, body: Buffer.from(JSON.stringify(data ?? { orderId: 'o-1' })), defect: undefined, ...rest,
  }
}
