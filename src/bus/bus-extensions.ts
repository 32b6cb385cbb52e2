import type { Logger } from '../core/logger.ts'
import type { BusExtension } from './port.ts'

/** What stops step by step: a step that fails is logged and does not keep the others from being stopped. */
export class StoppingParts {
  readonly #logger: Logger

  constructor(logger: Logger) {
    this.#logger = logger
  }

  /** Runs a step; it never rejects. */
  readonly stop = async (part: string, work: () => Promise<unknown> | undefined): Promise<void> => {
    try {
      await work()
    } catch (error) {
      this.#logger.error({ err: error, part }, 'a part of the bus failed while the bus stops')
    }
  }
}

/** What starts, drains and stops with a bus: the stores that it works with, then what its user gave. */
export class BusExtensions {
  readonly #stores: { readonly extensions: readonly BusExtension[] }
  readonly #own: BusExtension[]
  readonly #parts: StoppingParts
  readonly #started: BusExtension[] = []

  constructor(stores: { readonly extensions: readonly BusExtension[] }, own: readonly BusExtension[], parts: StoppingParts) {
    this.#stores = stores
    this.#own = [...own]
    this.#parts = parts
  }

  /** Adds one, after what is there already. */
  add(extension: BusExtension): void {
    this.#own.push(extension)
  }

  /** Every extension, in the order in which they start. */
  all(): readonly BusExtension[] {
    return [...this.#stores.extensions, ...this.#own]
  }

  /** Starts them one after the other. @throws what the first one that fails rejects with. */
  async start(): Promise<void> {
    for (const extension of this.all()) {
      // Before it starts: one that fails half-way has something to stop, too.
      this.#started.push(extension)
      await extension.start?.()
    }
  }

  /** Tells them that deliveries have started. */
  async ready(): Promise<void> {
    for (const extension of this.#started) await extension.ready?.()
  }

  /** Tells them that the bus begins to stop. Never rejects. */
  async drain(): Promise<void> {
    for (const extension of this.#started) await this.#parts.stop(extension.name, () => extension.drain?.())
  }

  /** Stops those that were started, once; the stores last, because a user's own extensions may stand on them. Never rejects. */
  async stop(): Promise<void> {
    const stores = this.#stores.extensions
    const started = this.#started.splice(0)
    const isStore = (extension: BusExtension): boolean => stores.includes(extension)
    const inOrder = [...started.filter((one) => !isStore(one)), ...started.filter(isStore)]
    for (const extension of inOrder) await this.#parts.stop(extension.name, () => extension.stop?.())
  }
}
