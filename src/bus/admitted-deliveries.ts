import type { WireMessage } from '../core/envelope.ts'
import type { TrunklineError } from '../core/errors.ts'
import type { Admission, AdmissionRequest } from './call-policy.ts'
import type { Delivery } from './port.ts'

/** What becomes of a delivery that asked to be let in. */
export interface AdmissionHooks {
  /** It may run, as soon as there is room for it. */
  readonly start: (delivery: Delivery) => void
  /** It is settled without being handled, and who asked is told. */
  readonly refuse: (delivery: Delivery, error: TrunklineError) => void
}

/**
 * Lets deliveries of a durable subscription in by an admission: those that somebody waits for and that certainly did not begin before, since only these can be refused.
 * What was sent without an asker is kept for whoever handles it, and is never refused.
 */
export class AdmittedDeliveries {
  readonly #admission: Admission
  readonly #hooks: AdmissionHooks
  readonly #held = new Set<Delivery>()
  readonly #started = new Map<Delivery, AdmissionRequest>()

  constructor(admission: Admission, hooks: AdmissionHooks) {
    this.#admission = admission
    this.#hooks = hooks
  }

  /** True where it takes the delivery, which then is started or refused, now or later. */
  offer(delivery: Delivery): boolean {
    const { message, attempt, isSuspect, isRedriven } = delivery
    if (message.replyTo === undefined || attempt > 1 || isSuspect || isRedriven) return false
    const request: AdmissionRequest = {
      caller: callerOf(message),
      start: () => this.#start(delivery, request),
      refuse: (error) => {
        if (this.#held.delete(delivery)) this.#hooks.refuse(delivery, error)
      },
    }
    this.#held.add(delivery)
    this.#admission.offer(request)
    return true
  }

  #start(delivery: Delivery, request: AdmissionRequest): void {
    if (this.#held.delete(delivery)) {
      this.#started.set(delivery, request)
      this.#hooks.start(delivery)
    } else queueMicrotask(() => this.#admission.ended(request))
  }

  /** A delivery has been settled; does nothing for one that was not let in here. */
  ended(delivery: Delivery): void {
    const request = this.#started.get(delivery)
    if (request === undefined) return
    this.#started.delete(delivery)
    this.#admission.ended(request)
  }

  /** Those that still wait to be let in, which they will not be any more. */
  giveBack(): readonly Delivery[] {
    const held = [...this.#held]
    this.#held.clear()
    return held
  }
}

/** The service that sent a message, for our own services without the slash of its source. */
export function callerOf({ source }: WireMessage): string {
  return source.startsWith('/') ? source.slice(1) : source
}
