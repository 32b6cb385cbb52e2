import type { UnitOfWork, UnitOutcome, UnitRequest } from '../bus/port.ts'
import type { Clock } from '../core/clock.ts'
import { TrunklineError } from '../core/errors.ts'

/** Transactions of one process at the same time. Two: one is under way while the next one fills. */
const RUNNING_MAX = 2
/** Messages in one transaction. */
const SIZE_MAX = 64

interface Waiting {
  readonly request: UnitRequest
  readonly settle: (outcome: UnitOutcome) => void
}

/**
 * Lets transitions of different instances share a transaction: what comes within one turn of the event loop, or while two of them are under way. A process with
 * little to do runs each by itself, and waits for nothing.
 */
export class UnitBatcher {
  readonly #unitOfWork: Pick<UnitOfWork, 'run' | 'runMany'>
  readonly #waiting: Waiting[] = []
  #running = 0
  #isFilling = false

  constructor(unitOfWork: Pick<UnitOfWork, 'run' | 'runMany'>) {
    this.#unitOfWork = unitOfWork
  }

  /** Runs a message as a unit, perhaps together with others: it comes out as if it had run alone. Never rejects. */
  run(request: UnitRequest, clock: Pick<Clock, 'defer'>): Promise<UnitOutcome> {
    return new Promise((settle) => {
      this.#waiting.push({ request, settle })
      this.#fillSoon(clock)
    })
  }

  #fillSoon(clock: Pick<Clock, 'defer'>): void {
    if (this.#isFilling || this.#running === RUNNING_MAX) return
    this.#isFilling = true
    clock.defer(() => {
      this.#isFilling = false
      this.#fill(clock)
    })
  }

  #fill(clock: Pick<Clock, 'defer'>): void {
    while (this.#running < RUNNING_MAX && this.#waiting.length > 0) {
      this.#running++
      void this.#together(this.#waiting.splice(0, SIZE_MAX), clock)
    }
  }

  async #together(batch: readonly Waiting[], clock: Pick<Clock, 'defer'>): Promise<void> {
    const outcomes = await this.#outcomes(batch.map(({ request }) => request))
    this.#running--
    for (const [at, { settle }] of batch.entries()) settle(outcomes[at] ?? { kind: 'failed', error: new TrunklineError('core.invariant_broken', { expected: 'an outcome for every message of a batch' }) })
    if (this.#waiting.length > 0) this.#fillSoon(clock)
  }

  async #outcomes(requests: readonly UnitRequest[]): Promise<readonly UnitOutcome[]> {
    const [first] = requests
    try {
      return requests.length === 1 && first !== undefined ? [await this.#unitOfWork.run(first)] : await this.#unitOfWork.runMany(requests)
    } catch (error) {
      // A store that has just been closed refuses before there is an outcome.
      return requests.map(() => ({ kind: 'failed', error }))
    }
  }
}
