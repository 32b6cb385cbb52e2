import type { UnitOfWork, UnitOutcome, UnitRequest } from '../bus/port.ts'
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
 * Lets transitions of different instances share a transaction: what comes while two of them are under way goes into the next one. A process with little to do
 * runs each by itself, and waits for nothing.
 */
export class UnitBatcher {
  readonly #unitOfWork: Pick<UnitOfWork, 'run' | 'runMany'>
  readonly #waiting: Waiting[] = []
  #running = 0

  constructor(unitOfWork: Pick<UnitOfWork, 'run' | 'runMany'>) {
    this.#unitOfWork = unitOfWork
  }

  /** Runs a message as a unit, perhaps together with others: it comes out as if it had run alone. Never rejects. */
  run(request: UnitRequest): Promise<UnitOutcome> {
    return new Promise((settle) => {
      this.#waiting.push({ request, settle })
      this.#fill()
    })
  }

  #fill(): void {
    while (this.#running < RUNNING_MAX && this.#waiting.length > 0) {
      this.#running++
      void this.#together(this.#waiting.splice(0, SIZE_MAX))
    }
  }

  async #together(batch: readonly Waiting[]): Promise<void> {
    const outcomes = await this.#outcomes(batch.map(({ request }) => request))
    this.#running--
    for (const [at, { settle }] of batch.entries()) settle(outcomes[at] ?? { kind: 'failed', error: new TrunklineError('core.invariant_broken', { expected: 'an outcome for every message of a batch' }) })
    this.#fill()
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
