import type { Timer } from '../core/clock.ts'
import type { BatchOptions } from './batch-runner.ts'
import { DeliveryRunner, type Prepared, type RunnerHost, type RunnerOptions, type Settled } from './delivery-runner.ts'
import type { UnitOfWork, UnitOutcome, UnitRequest } from './port.ts'
import { type UnitHandler, unitRequest, unitValue } from './within.ts'

interface Waiting {
  readonly prepared: Prepared
  readonly done: (result: Settled) => void
}

/** How messages share transactions. */
export interface UnitBatchOptions {
  readonly unitOfWork: UnitOfWork
  readonly batch: Required<BatchOptions>
  /** The handler of each type. */
  readonly handlers: ReadonlyMap<string, UnitHandler>
}

/** Hands deliveries to a unit of work many at a time; each is settled by its own outcome. */
export class UnitBatchRunner extends DeliveryRunner {
  readonly #units: UnitBatchOptions
  readonly #waiting: Waiting[] = []
  #timer: Timer | undefined
  #isBusy = false

  constructor(options: RunnerOptions, host: RunnerHost, units: UnitBatchOptions) {
    super(options, host)
    this.#units = units
  }

  protected override perform(prepared: Prepared): Promise<void> {
    return new Promise((resolve) => {
      this.#waiting.push({ prepared, done: resolve })
      const { batch } = this.#units
      if (this.#waiting.length >= batch.sizeMax) this.flush()
      // While a batch is under way the next one fills by itself.
      else if (!this.#isBusy) this.#timer ??= this.host.clock.setTimer(batch.waitMs, () => this.flush())
    })
  }

  protected override flush(): void {
    this.#timer?.cancel()
    this.#timer = undefined
    const batch = this.#waiting.splice(0, this.#units.batch.sizeMax)
    if (batch.length > 0) void this.#run(batch)
  }

  async #run(batch: readonly Waiting[]): Promise<void> {
    this.#isBusy = true
    const outcomes = this.#outcomes(batch.map(({ prepared }) => prepared))
    for (const [index, { prepared, done }] of batch.entries()) {
      done(this.performOne(prepared, () => outcomes.then((all) => unitValue(all[index] ?? { kind: 'failed', error: undefined }))))
    }
    await outcomes
    this.#isBusy = false
    if (this.#waiting.length > 0) this.flush()
  }

  /** Never rejects. */
  async #outcomes(batch: readonly Prepared[]): Promise<readonly UnitOutcome[]> {
    const { handlers, unitOfWork } = this.#units
    const failed = new Map<Prepared, unknown>()
    const requests = new Map<Prepared, UnitRequest>()
    await Promise.all(batch.map(async (prepared) => {
      try {
        const handler = handlers.get(prepared.entry.contract.type)
        if (handler !== undefined) requests.set(prepared, await this.inScope(prepared, () => unitRequest(handler, prepared.message, prepared.context)))
      } catch (error) {
        failed.set(prepared, error)
      }
    }))
    const ready = batch.flatMap((prepared) => requests.get(prepared) ?? [])
    const done = await unitOfWork.runMany(ready)
    const outcomes = new Map(ready.map((request, index) => [request, done[index]]))
    return batch.map((prepared) => {
      const request = requests.get(prepared)
      return (request === undefined ? undefined : outcomes.get(request)) ?? { kind: 'failed', error: failed.get(prepared) }
    })
  }
}
