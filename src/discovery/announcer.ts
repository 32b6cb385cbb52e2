import type { Contract } from '../contract/contract.ts'
import type { BusView } from '../bus/port.ts'
import { instantText } from '../core/clock.ts'
import { type Beat, CONTRACTS_MAX, type ContractUse, type FullAnnouncement, type InstanceInfo, REASONS_MAX, TEXT_LENGTH_MAX } from './announcement.ts'
import type { CheckedOptions } from './discovery-options.ts'

/** What can be changed while an instance runs. */
export interface Announced {
  readonly zone?: string | undefined
  readonly weight?: number
  readonly tags?: readonly string[]
  readonly addresses?: Readonly<Record<string, string>>
}

/** What this instance says of itself: numbers each announcement and notices what has changed. */
export class Announcer {
  readonly #view: BusView
  #announced: Required<Announced>
  readonly #startedAt: string
  readonly instance: string
  #incarnation: number
  #seq = 0
  #infoRevision = 1
  #info: InstanceInfo | undefined
  #infoText = ''
  phase: 'up' | 'draining' = 'up'

  constructor(view: BusView, options: CheckedOptions) {
    this.#view = view
    const { zone, weight, tags, addresses } = options
    this.#announced = { zone, weight, tags, addresses }
    this.instance = options.instance ?? view.instance
    // Time makes a later life's number the higher one; where the clock was set back, others tell the number to pass.
    this.#incarnation = view.clock.nowMs()
    this.#startedAt = instantText(view.clock.nowMs())
  }

  /** Number of what it announces at present. */
  get infoRevision(): number {
    return this.#infoRevision
  }

  /** Begins another life, with at least this number. */
  outlive(incarnation: number): void {
    this.#incarnation = Math.max(this.#incarnation + 1, incarnation)
    this.#seq = 0
  }

  /** Changes what is announced. */
  change(announced: Announced): void {
    this.#announced = { ...this.#announced, ...announced }
  }

  /** The next announcement. */
  next(beatMs: number, size: number, loopDelayMs: number): FullAnnouncement {
    this.#seq++
    return this.current(beatMs, size, loopDelayMs)
  }

  /** The announcement that was made last, with what is the case now. */
  current(beatMs: number, size: number, loopDelayMs: number): FullAnnouncement {
    const info = this.info()
    const { state, reasons } = this.#view.health()
    const { service, instance, inFlight } = this.#view
    const beat: Beat = {
      service: service.name, instance: this.instance, process: instance, address: this.#view.side.address, incarnation: this.#incarnation, seq: this.#seq, beatMs,
      phase: this.phase, health: state, reasons: reasons.slice(0, REASONS_MAX).map((reason) => reason.slice(0, TEXT_LENGTH_MAX)), inFlight: inFlight(),
      loopDelayMs: Math.round(loopDelayMs), infoRevision: this.#infoRevision, size,
    }
    return { ...beat, info }
  }

  /** What changes seldom; it has a new revision where it has changed. */
  info(): InstanceInfo {
    const { accepts, sends } = this.#view.contracts()
    const { zone, weight, tags, addresses } = this.#announced
    const info: InstanceInfo = {
      version: this.#view.service.version.slice(0, TEXT_LENGTH_MAX), addresses: { ...addresses, bus: this.#view.side.address }, zone, weight, tags,
      startedAt: this.#startedAt, accepts: uses(accepts), sends: uses(sends),
    }
    const text = JSON.stringify(info)
    if (this.#info !== undefined && text === this.#infoText) return this.#info
    if (this.#info !== undefined) this.#infoRevision++
    this.#info = info
    this.#infoText = text
    return info
  }
}

function uses(contracts: readonly Contract[]): readonly ContractUse[] {
  return contracts.slice(0, CONTRACTS_MAX).map(({ type, kind, version, fingerprint }) => ({ type, kind, version, fingerprint }))
}

/** An announcement without the details. */
export function beatOf({ info: _info, ...beat }: FullAnnouncement): Beat {
  return beat
}
