import { TrunklineError } from '../core/errors.ts'
import type { BusExtension, Scheduling, UnitHost, UnitOfWork } from './port.ts'

/** The stores that one bus works with: each is tied to it once, opened before deliveries start, and closed after the handlers have ended. */
export class Attachments {
  readonly #host: () => UnitHost
  readonly #extensions = new Map<UnitOfWork, BusExtension>()
  #scheduling: Scheduling | undefined

  constructor(host: () => UnitHost) {
    this.#host = host
  }

  /** @throws `outbox.attached_twice` where another bus has it, `core.option_invalid` for what is no store. */
  add(unitOfWork: UnitOfWork, scheduling?: Scheduling): void {
    // A caller without types may give the store as outbox, or the outbox as store: they are easily mistaken.
    const given: unknown = unitOfWork
    const isStore = typeof given === 'object' && given !== null && 'attach' in given
    if (!isStore) throw new TrunklineError('core.option_invalid', { option: 'outbox or within', expected: 'store.outbox as outbox, and the store itself as within', actual: 'something else' })
    this.#scheduling ??= scheduling
    if (!this.#extensions.has(unitOfWork)) this.#extensions.set(unitOfWork, unitOfWork.attach(this.#host()))
  }

  /** What `bus.schedule` uses. */
  get scheduling(): Scheduling | undefined {
    return this.#scheduling
  }

  /** What starts and stops with the bus. */
  get extensions(): readonly BusExtension[] {
    return [...this.#extensions.values()]
  }
}
