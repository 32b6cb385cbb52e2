import type { TransportHost } from '../../bus/port.ts'
import { errorText } from '../../core/errors.ts'
import { type PgDeliveries, type PgReturn, type PgSettled, settledFrom } from './postgres-deliveries.ts'
import type { PgLink, PgStep } from './postgres-link.ts'
import { isPassing, lost } from './postgres-problem.ts'
import type { PgTransportLocks } from './postgres-transport-locks.ts'

/** What became of a delivery, on its way into the tables. */
export interface PgOutcome {
  readonly seq: string
  readonly groupId: number
  /** The instance that claimed it; an outcome of an earlier life of this one is dropped. */
  readonly instanceId: string
  readonly key: string | undefined
  readonly isOrdered: boolean
  /** Undefined for an acknowledgement. */
  readonly back: PgReturn | undefined
  /** It is on its way; until `unsent` the row may be with others. */
  readonly sent: () => void
  readonly unsent: () => void
  readonly done: () => void
  /** It cannot be written at all. */
  readonly refused: (thrown: unknown) => void
}

/** Outcomes in one transaction. */
const OUTCOMES_MAX = 1_000

/** What a settler needs. */
export interface SettlerOptions {
  readonly link: PgLink
  readonly host: TransportHost
  readonly deliveries: PgDeliveries
  readonly locks: PgTransportLocks
  /** Of this instance's present life, or undefined while it is being entered again. */
  readonly instanceId: () => string | undefined
  readonly onSettled: (settled: PgSettled) => void
}

/** Writes outcomes: while some are on their way, others wait and then share a transaction. They are tried until they are written. */
export class PgSettler {
  readonly #options: SettlerOptions
  #waiting: PgOutcome[] = []
  #isScheduled = false
  #isBusy = false
  #isClosed = false
  readonly #idle: (() => void)[] = []

  constructor(options: SettlerOptions) {
    this.#options = options
  }

  add(outcome: PgOutcome): void {
    if (this.#isClosed) {
      // Others get the delivery when they notice that this instance has gone.
      outcome.done()
      return
    }
    this.#waiting.push(outcome)
    if (this.#isScheduled || this.#isBusy) return
    this.#isScheduled = true
    this.#options.host.clock.defer(() => {
      this.#isScheduled = false
      void this.#work()
    })
  }

  /** Resolves when nothing waits any more. */
  async flushed(): Promise<void> {
    if (this.#isBusy || this.#waiting.length > 0) await new Promise<void>((resolve) => this.#idle.push(resolve))
  }

  /** Takes no more; what waits is left to whoever notices that this instance has gone. */
  close(): void {
    this.#isClosed = true
    for (const outcome of this.#waiting.splice(0)) outcome.done()
  }

  async #work(): Promise<void> {
    if (this.#isBusy) return
    this.#isBusy = true
    try {
      while (this.#waiting.length > 0) await this.#settle(this.#waiting.splice(0, OUTCOMES_MAX))
    } finally {
      this.#isBusy = false
      for (const resolve of this.#idle.splice(0)) resolve()
    }
  }

  async #settle(outcomes: readonly PgOutcome[]): Promise<void> {
    const instanceId = this.#options.instanceId()
    const own = outcomes.filter((outcome) => outcome.instanceId === instanceId)
    // Since it was put out, what it had claimed is with others.
    for (const outcome of outcomes) if (outcome.instanceId !== instanceId) outcome.done()
    if (instanceId === undefined || own.length === 0) return
    for (const outcome of own) outcome.sent()
    try {
      await this.#write(instanceId, own)
      for (const outcome of own) outcome.done()
    } catch (thrown) {
      for (const outcome of own) outcome.unsent()
      await this.#failed(own, thrown)
    }
  }

  async #failed(own: readonly PgOutcome[], thrown: unknown): Promise<void> {
    if (isPassing(thrown)) {
      this.#waiting = [...own, ...this.#waiting]
      if (this.#isClosed) this.close()
      else await this.#options.link.recovered()
    } else if (own.length === 1) {
      const { seq } = own[0] ?? { seq: '' }
      this.#options.host.logger.error({ delivery: seq, problem: errorText(thrown) }, 'an outcome could not be written; the delivery comes again')
      own[0]?.refused(lost(errorText(thrown), thrown))
    } else for (const outcome of own) await this.#settle([outcome])
  }

  async #write(instanceId: string, own: readonly PgOutcome[]): Promise<void> {
    const { link, deliveries, locks, onSettled } = this.#options
    const acks = own.filter(({ back, isOrdered }) => back === undefined && !isOrdered)
    const orderedAcks = own.filter(({ back, isOrdered }) => back === undefined && isOrdered)
    const returns = own.flatMap(({ back }) => back ?? [])
    const steps: PgStep[] = [locks.settle(keysOf(orderedAcks))]
    if (acks.length > 0) steps.push(deliveries.ack(instanceId, acks.map(({ seq }) => seq)))
    if (orderedAcks.length > 0) steps.push(deliveries.ackOrdered(instanceId, orderedAcks.map(({ seq }) => seq)))
    if (returns.length > 0) steps.push(deliveries.giveBack(instanceId, returns))
    const answers = await link.transact(steps)
    const settled = settledFrom(answers.slice(1))
    if (settled.needsRepair) await link.transact([locks.settle(keysOf(acks)), deliveries.repair([...new Set(acks.map(({ groupId }) => groupId))])])
    onSettled(settled)
  }
}

function keysOf(outcomes: readonly PgOutcome[]): readonly string[] {
  return outcomes.flatMap(({ key }) => key ?? [])
}
