import type { TransportHost, TransportState } from '../../bus/port.ts'
import type { Timer } from '../../core/clock.ts'
import { errorText } from '../../core/errors.ts'
import type { PgDeliveries } from './postgres-deliveries.ts'
import { lookFrom, type PgInstances, type PgLook } from './postgres-instances.ts'
import type { PgLink } from './postgres-link.ts'
import type { PgSignals } from './postgres-listen.ts'
import { isPassing } from './postgres-problem.ts'
import { numberAt } from './postgres-rows.ts'

/** Signs of life per lease, so that one that is late costs nothing. */
const BEATS_PER_LEASE = 3
/** Longest pause of an idle instance: it is told of work, and looks only in case it was not. */
const IDLE_MS_MAX = 20_000
/** Pauses between looks while this instance is not told of work. */
const POLL_MS_MIN = 50
const POLL_MS_MAX = 500
/** The link that listens is asked whether it lives with every so many looks. */
const PROBE_EVERY = 3
const PROBE_MS_MAX = 10_000
/** Time that others are left to put an instance out whose lease is over, so that not all of them try. */
const PUT_OUT_SPREAD_MS = 400

/** What the pulse needs. */
export interface PulseOptions {
  readonly host: TransportHost
  readonly link: PgLink
  readonly instances: PgInstances
  readonly deliveries: PgDeliveries
  readonly address: string
  readonly leaseMs: number
  readonly idleLeaseMs: number
  readonly signals: () => PgSignals
  readonly isExpectedToHear: boolean
  readonly instanceId: () => string | undefined
  readonly isBusy: () => boolean
  readonly groupIds: () => readonly number[]
  readonly onWork: (groupIds: readonly number[]) => void
  readonly onFreed: (groupIds: readonly number[]) => void
  readonly onPutOut: (instanceId: string) => void
  readonly takeLight: () => Promise<boolean>
  readonly report: (state: TransportState, reason: string) => void
}

/**
 * The one timer of an instance: sign of life, look for work that it was not told of, watch over the leases of others, all in one
 * statement. An idle instance that hears others looks three times a minute.
 */
export class PgPulse {
  readonly #options: PulseOptions
  #timer: Timer | undefined
  #nextAtMs = Number.POSITIVE_INFINITY
  #isLooking = false
  #isStopped = false
  #isWanted = false
  #looks = 0
  #pollMs = POLL_MS_MIN

  constructor(options: PulseOptions) {
    this.#options = options
  }

  start(): void {
    this.#arm(this.#pauseMs(undefined))
  }

  stop(): void {
    this.#isStopped = true
    this.#timer?.cancel()
  }

  /** Looks now. */
  beat(): void {
    if (this.#isLooking) this.#isWanted = true
    else void this.#look()
  }

  /** An answer is expected: an instance that is not told of it begins to look often. */
  soon(): void {
    this.#pollMs = POLL_MS_MIN
    if (!this.#isHearing) this.#arm(POLL_MS_MIN)
  }

  /** Something was claimed: the lease is short now, and the next sign of life must come within it. */
  busy(): void {
    this.#arm(Math.min(this.#options.leaseMs / BEATS_PER_LEASE, this.#nextAtMs - this.#options.host.clock.monotonicMs()))
  }

  #arm(waitMs: number): void {
    const { clock } = this.#options.host
    const atMs = clock.monotonicMs() + waitMs
    if (this.#isStopped || this.#isLooking || (this.#timer !== undefined && this.#nextAtMs <= atMs)) return
    this.#timer?.cancel()
    this.#nextAtMs = atMs
    this.#timer = clock.setTimer(waitMs, () => void this.#look(), { background: true })
  }

  async #look(): Promise<void> {
    if (this.#isLooking || this.#isStopped) return
    this.#isLooking = true
    this.#timer?.cancel()
    this.#timer = undefined
    this.#nextAtMs = Number.POSITIVE_INFINITY
    this.#isWanted = false
    let look: PgLook | undefined
    try {
      look = await this.#lookOnce()
    } catch (thrown) {
      if (!isPassing(thrown)) this.#options.host.logger.error({ problem: errorText(thrown) }, 'an instance could not show a sign of life')
    }
    this.#isLooking = false
    this.#arm(this.#isWanted ? 0 : this.#pauseMs(look))
  }

  async #lookOnce(): Promise<PgLook | undefined> {
    const { instanceId, instances, link, leaseMs, idleLeaseMs, isBusy, groupIds, address, onWork, onPutOut, takeLight } = this.#options
    const id = instanceId()
    if (id === undefined) return undefined
    const look = lookFrom(await link.run(instances.look(id, isBusy() ? leaseMs : idleLeaseMs, groupIds(), address)))
    if (!look.isAlive) onPutOut(id)
    onWork(look.groups)
    this.#pollMs = look.groups.length > 0 || look.hasLight ? POLL_MS_MIN : Math.min(POLL_MS_MAX, this.#pollMs * 1.5)
    if (look.hasLight) while (await takeLight()) continue
    if ((look.leaseEndsInMs ?? 0) < 0) await this.#putOut()
    await this.#probe()
    return look
  }

  async #putOut(): Promise<void> {
    const { link, deliveries, onFreed } = this.#options
    const answers = await link.transact(deliveries.putOut(undefined))
    const groups = (answers[1] ?? []).map((row) => numberAt(row, 'group_id'))
    if (groups.length > 0) onFreed(groups)
  }

  async #probe(): Promise<void> {
    if (this.#options.isExpectedToHear && this.#looks++ % PROBE_EVERY === PROBE_EVERY - 1) await this.#options.signals().probe(PROBE_MS_MAX)
  }

  get #isHearing(): boolean {
    return this.#options.isExpectedToHear && this.#options.signals().isListening
  }

  #pauseMs(look: PgLook | undefined): number {
    const { host, isBusy, leaseMs, idleLeaseMs, isExpectedToHear, report } = this.#options
    const jitter = 0.9 + 0.2 * host.random.next()
    const isHearing = this.#isHearing
    if (isExpectedToHear) report(isHearing ? 'up' : 'degraded', isHearing ? '' : 'no connection to listen on: others are found by polling')
    if (!isHearing) return this.#pollMs * jitter
    const ownMs = (isBusy() ? leaseMs : Math.min(IDLE_MS_MAX * BEATS_PER_LEASE, idleLeaseMs)) / BEATS_PER_LEASE
    const othersMs = look?.leaseEndsInMs === undefined ? Number.POSITIVE_INFINITY : Math.max(0, look.leaseEndsInMs) + PUT_OUT_SPREAD_MS * host.random.next()
    return Math.max(POLL_MS_MIN, Math.min(ownMs * jitter, othersMs))
  }
}
