import type { Logger } from '../core/logger.ts'
import type { BusEvent, BusHealth } from './bus-events.ts'

/** Who watches a bus. What an observer throws is logged and disturbs nobody. */
export class BusObservers {
  readonly #observers = new Set<(event: BusEvent) => void>()
  readonly #logger: Logger
  #lastHealth = ''

  constructor(logger: Logger) {
    this.#logger = logger
  }

  /** Adds one, until the returned function is called. */
  add(observer: (event: BusEvent) => void): () => void {
    this.#observers.add(observer)
    return () => {
      this.#observers.delete(observer)
    }
  }

  /** Tells all of them. */
  readonly emit = (event: BusEvent): void => {
    for (const observer of this.#observers) {
      try {
        observer(event)
      } catch (error) {
        this.#logger.error({ err: error }, 'an observer of the bus threw')
      }
    }
  }

  /** Tells them the health where it is another one than they were told last. */
  healthIs(health: BusHealth): void {
    const text = JSON.stringify(health)
    if (text === this.#lastHealth) return
    this.#lastHealth = text
    this.emit({ kind: 'health-changed', health })
  }
}
