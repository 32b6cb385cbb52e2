import { TrunklineError } from '../core/errors.ts'
import type { BusExtension, Scheduling, UnitHost, UnitOfWork } from './port.ts'

/** The stores that one bus works with: each is tied to it once, opened before deliveries start, and closed after the handlers have ended. */
export class Attachments {
  readonly #host: () => UnitHost
  readonly #extensions = new Map<UnitOfWork, BusExtension>()
  #outbox: Scheduling | undefined

  constructor(host: () => UnitHost) {
    this.#host = host
  }

  /** @throws `outbox.attached_twice` where another bus has it, `core.option_invalid` for what is no store. */
  add(unitOfWork: UnitOfWork, scheduling?: Scheduling): void {
    // A caller without types may give the store as outbox, or the outbox as store: they are easily mistaken.
    const given: unknown = unitOfWork
    const isStore = typeof given === 'object' && given !== null && 'attach' in given
    if (!isStore) throw new TrunklineError('core.option_invalid', { option: 'outbox or within', expected: 'store.outbox as outbox, and the store itself as within', actual: 'something else' })
    this.#outbox ??= scheduling
    if (!this.#extensions.has(unitOfWork)) this.#extensions.set(unitOfWork, unitOfWork.attach(this.#host()))
  }

  /**
   * What `bus.schedule` uses: the outbox that the bus was given, or else its only store.
   *
   * @throws `outbox.not_attached` where there is no store, `core.option_invalid` where nothing tells which of several.
   */
  scheduling(operation: string): Scheduling {
    if (this.#outbox !== undefined) return this.#outbox
    const [only, ...others] = [...this.#extensions.keys()].flatMap(({ scheduler }) => scheduler ?? [])
    if (only === undefined) throw new TrunklineError('outbox.not_attached', { store: 'that this bus lacks', operation })
    if (others.length === 0) return only
    throw new TrunklineError('core.option_invalid', { option: 'outbox', expected: `the outbox of the store that keeps what ${operation} is about, since this bus has several stores`, actual: 'left out' })
  }

  /** What starts and stops with the bus. */
  get extensions(): readonly BusExtension[] {
    return [...this.#extensions.values()]
  }
}
