import type { BusExtension, Scheduling, UnitHost, UnitOfWork } from './port.ts'

/** The stores that one bus works with: each is tied to it once, opened before deliveries start, and closed after the handlers have ended. */
export class Attachments {
  readonly #host: () => UnitHost
  readonly #extensions = new Map<UnitOfWork, BusExtension>()
  #scheduling: Scheduling | undefined

  constructor(host: () => UnitHost) {
    this.#host = host
  }

  /** @throws `outbox.attached_twice` where another bus has it. */
  add(unitOfWork: UnitOfWork, scheduling?: Scheduling): void {
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
