import { MessageChannel } from 'node:worker_threads'
import type {
  DeadLetterPlane, DeliverySink, LightDelivery, LightPlane, LightReply, LightSubscription, Outbound, Subscription, Transport, TransportCapabilities,
  TransportHost, TransportSubscription,
} from '../../bus/port.ts'
import type { WireMessage } from '../../core/envelope.ts'
import { TrunklineError, assert } from '../../core/errors.ts'
import { type OptionNames, optionNames, refuseUnknown } from '../../core/option-names.ts'
import { MemoryBroker, type MemoryListener } from './memory-broker.ts'
import type { MemoryGroup, MemoryMember } from './memory-group.ts'

/** What the memory transport can do. */
export const memoryCapabilities: TransportCapabilities = {
  canStore: true,
  canOrderByKey: true,
  canBroadcast: true,
  canRequest: true,
  canManageDeadLetters: true,
  canReplay: false,
  canDelayRetry: true,
  survivesProcessDeath: false,
  survivesBrokerRestart: false,
  spansMachines: false,
  scansDeadLetters: false,
}

/** What `memory` takes. */
export interface MemoryOptions {
  /** Shared by the services that are to talk to each other. Default: one of its own. */
  readonly broker?: MemoryBroker
}

const OPTIONS: OptionNames = optionNames<MemoryOptions>({ broker: true })

/**
 * Carries messages inside one process: for tests, for development, and for services that are deployed as
 * one process. Retries, order, dead letters and requests behave as on the real brokers.
 *
 * @throws `core.option_unknown`.
 */
export function memory(options: MemoryOptions = {}): Transport {
  refuseUnknown('memory()', options, OPTIONS)
  return new MemoryTransport(options.broker ?? new MemoryBroker())
}

class MemoryTransport implements Transport {
  readonly name = 'memory'
  readonly capabilities: TransportCapabilities = memoryCapabilities
  readonly deadLetters: DeadLetterPlane
  readonly #broker: MemoryBroker
  #light: MemoryLight | undefined
  #isOpen = false
  #anchor: MessageChannel | undefined

  constructor(broker: MemoryBroker) {
    this.#broker = broker
    this.deadLetters = broker
  }

  get light(): LightPlane | undefined {
    return this.#light
  }

  open(host: TransportHost): Promise<void> {
    if (this.#isOpen) return Promise.reject(new TrunklineError('core.invariant_broken', { expected: 'a transport value is opened by one bus at a time' }))
    this.#isOpen = true
    this.#broker.adopt(host.clock)
    this.#light = new MemoryLight(this.#broker, host.instance)
    // What a socket does for the others: without it a process that only waits for messages, retries or answers would end.
    this.#anchor = new MessageChannel()
    this.#anchor.port1.on('message', () => {})
    host.report('up', '')
    return Promise.resolve()
  }

  publish(outbound: Outbound): undefined {
    this.#broker.publish(outbound)
    return undefined
  }

  subscribe(subscription: Subscription, sink: DeliverySink): Promise<TransportSubscription> {
    assert(this.#light !== undefined, 'the transport is open')
    const { group, member } = this.#broker.join(this.#light.address, subscription, sink)
    return Promise.resolve(new MemorySubscription(group, member))
  }

  close(): Promise<void> {
    this.#isOpen = false
    if (this.#light !== undefined) this.#broker.sever(this.#light.address)
    this.#anchor?.port1.close()
    return Promise.resolve()
  }
}


class MemorySubscription implements TransportSubscription {
  readonly #group: MemoryGroup
  readonly #member: MemoryMember

  constructor(group: MemoryGroup, member: MemoryMember) {
    this.#group = group
    this.#member = member
  }

  pause(): Promise<void> {
    this.#member.isPaused = true
    return Promise.resolve()
  }

  resume(): Promise<void> {
    this.#member.isPaused = false
    this.#group.dispatch()
    return Promise.resolve()
  }

  close(): Promise<void> {
    this.#group.leave(this.#member)
    return Promise.resolve()
  }
}

class MemoryLight implements LightPlane {
  readonly address: string
  readonly #broker: MemoryBroker

  constructor(broker: MemoryBroker, address: string) {
    this.#broker = broker
    this.address = address
  }

  onReply(sink: (token: string, reply: LightReply) => void): void {
    this.#broker.openInbox(this.address, sink)
  }

  broadcast(message: WireMessage): undefined {
    this.#broker.broadcast(message)
    return undefined
  }

  request(message: WireMessage, token: string, to?: string): undefined {
    this.#broker.request(message, this.address, token, to)
    return undefined
  }

  replyAddress(token: string): string {
    return `${this.address}/${token}`
  }

  reply(replyTo: string, message: WireMessage): undefined {
    this.#broker.reply(replyTo, message)
    return undefined
  }

  onBroadcast(types: readonly string[], sink: (delivery: LightDelivery) => void): Promise<LightSubscription> {
    return this.#listen({ instance: this.address, types, kind: 'broadcast', sink })
  }

  onRequest(type: string, sink: (delivery: LightDelivery) => void): Promise<LightSubscription> {
    return this.#listen({ instance: this.address, types: [type], kind: 'request', sink })
  }

  #listen(listener: MemoryListener): Promise<LightSubscription> {
    this.#broker.listen(listener)
    return Promise.resolve(new MemoryLightSubscription(this.#broker, listener))
  }
}

class MemoryLightSubscription implements LightSubscription {
  readonly #broker: MemoryBroker
  readonly #listener: MemoryListener

  constructor(broker: MemoryBroker, listener: MemoryListener) {
    this.#broker = broker
    this.#listener = listener
  }

  close(): Promise<void> {
    this.#broker.unlisten(this.#listener)
    return Promise.resolve()
  }
}
