import type { TransportState } from '../../bus/port.ts'

/** One reason for a state, by the part that has it. */
interface Ailment {
  readonly state: 'degraded' | 'down'
  readonly reason: string
}

/** Folds the states of connections and channels into the one that the bus is told. */
export class RabbitHealth {
  readonly #report: (state: TransportState, reason: string) => void
  readonly #ailments = new Map<string, Ailment>()
  #isMuted = true

  constructor(report: (state: TransportState, reason: string) => void) {
    this.#report = report
  }

  /** From now on changes are reported; before, an opening transport reports nothing. */
  begin(): void {
    this.#isMuted = false
    this.#tell()
  }

  /** Reports nothing any more. */
  end(): void {
    this.#isMuted = true
  }

  /** The part works as it should. */
  well(part: string): void {
    if (this.#ailments.delete(part)) this.#tell()
  }

  /** The part works less well, or not at all. */
  ill(part: string, state: 'degraded' | 'down', reason: string): void {
    this.#ailments.set(part, { state, reason })
    this.#tell()
  }

  /** All reasons, empty while everything is well. */
  get reason(): string {
    return [...this.#ailments.values()].map(({ reason }) => reason).join('; ')
  }

  #tell(): void {
    if (this.#isMuted) return
    const ailments = [...this.#ailments.values()]
    const worst = ailments.find(({ state }) => state === 'down') ?? ailments[0]
    this.#report(worst?.state ?? 'up', this.reason)
  }
}
