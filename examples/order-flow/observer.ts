import { setTimeout as delay } from 'node:timers/promises'
import { type Bus, type Transport, createBus, silentLogger } from 'trunkline'
import { GetBalance } from './contracts.ts'
import type { LostMessage } from './summary.ts'

const ASK_TRIES = 20

/** What billing answers. */
export interface Balance {
  readonly entries: number
  readonly balance: string
}

/**
 * Looks at the bus from outside. Each look has a bus of its own and closes it again, so that nobody is left who uses the broker while
 * all services are dead.
 */
export class Observer {
  readonly #transport: () => Promise<Transport>
  readonly #run: string

  /** @param run begins the ids of this run's messages. */
  constructor(transport: () => Promise<Transport>, run: string) {
    this.#transport = transport
    this.#run = run
  }

  /** One for each message and group: a message that was published twice is one all the same. */
  deadLetters(): Promise<readonly LostMessage[]> {
    return this.#look(async (bus) => {
      const found = new Map<string, LostMessage>()
      for await (const { group, message, record } of bus.deadLetters.all()) {
        if (!this.#isOurs(message)) continue
        const reason = record.errors.at(-1)?.message ?? record.reason
        found.set(`${group} ${message.id}`, { id: message.id, group, type: message.type, reason })
      }
      return [...found.values()]
    })
  }

  /** Removes them, from a broker that outlives this run. */
  removeDeadLetters(): Promise<void> {
    return this.#look(async (bus) => {
      const ids: string[] = []
      for await (const { id, message } of bus.deadLetters.all()) if (this.#isOurs(message)) ids.push(id)
      for (const id of ids) await bus.deadLetters.skip(id)
    })
  }

  /** Asks billing, again while the last victim of chaos is still on its way back. */
  balance(signal: AbortSignal): Promise<Balance> {
    return this.#look(async (bus) => {
      for (let attempt = 1; ; attempt++) {
        try {
          return await bus.ask(GetBalance, {}, { timeoutMs: 5_000 })
        } catch (error) {
          if (attempt === ASK_TRIES) throw error
          await delay(250, undefined, { signal })
        }
      }
    })
  }

  /** What sagas send has ids of its own, and names the order, whose id begins with the run. */
  #isOurs(message: { readonly id: string; readonly body: Uint8Array }): boolean {
    return message.id.startsWith(`${this.#run}.`) || Buffer.from(message.body).includes(`"${this.#run}.`)
  }

  async #look<T>(work: (bus: Bus) => Promise<T>): Promise<T> {
    await using bus = createBus({ service: { name: 'supervisor' }, transport: await this.#transport(), logger: silentLogger })
    await bus.start()
    return await work(bus)
  }
}
