import { memory } from '../../src/adapters/memory/index.ts'
import type { MemoryBroker } from '../../src/adapters/memory/index.ts'
import type { LightPlane, LightSubscription, Transport } from '../../src/bus/port.ts'
import { laidOver } from '../conformance/bent-transport.ts'

/** A memory transport that can die as a process does: without a word, and gone from the broker at once. */
export class MortalTransport {
  readonly transport: Transport
  readonly #subscriptions: LightSubscription[] = []
  isDead = false

  constructor(broker: MemoryBroker) {
    const inner = memory({ broker })
    const mortal = (): LightPlane | undefined => (inner.light === undefined ? undefined : this.#mortal(inner.light))
    this.transport = new Proxy(inner, {
      get(target, name) {
        if (name === 'light') return mortal()
        const value: unknown = Reflect.get(target, name, target)
        return typeof value === 'function' ? value.bind(target) : value
      },
    })
  }

  #mortal(inner: LightPlane): LightPlane {
    const kept = async (opening: Promise<LightSubscription>): Promise<LightSubscription> => {
      const subscription = await opening
      this.#subscriptions.push(subscription)
      return subscription
    }
    return laidOver(inner, {
      broadcast: (message) => (this.isDead ? undefined : inner.broadcast(message)),
      request: (message, token, to) => (this.isDead ? undefined : inner.request(message, token, to)),
      reply: (replyTo, message) => (this.isDead ? undefined : inner.reply(replyTo, message)),
      onBroadcast: (types, sink) => kept(inner.onBroadcast(types, (delivery) => (this.isDead ? undefined : sink(delivery)))),
      onRequest: (type, sink) => kept(inner.onRequest(type, sink)),
    })
  }

  async die(): Promise<void> {
    this.isDead = true
    await Promise.all(this.#subscriptions.map((subscription) => subscription.close()))
  }
}
