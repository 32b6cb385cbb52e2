import type { Admission, AdmissionRequest, LoadState, PolicyHost } from '../bus/call-policy.ts'
import type { Timer } from '../core/clock.ts'
import { TrunklineError } from '../core/errors.ts'
import { FairQueue, type FairRule, type Refusal } from './fair-queue.ts'

/** Lets the requests of one query or command in, fairly among callers, and refuses with `bus.callee_overloaded` what it cannot take. */
export class FairAdmission implements Admission {
  readonly #type: string
  readonly #host: PolicyHost
  readonly #queue: FairQueue<AdmissionRequest>
  /** The name under which the queue counts a started request. */
  readonly #started = new Map<AdmissionRequest, string>()
  #state: LoadState = 'normal'
  #timer: Timer | undefined

  constructor(type: string, rule: FairRule, host: PolicyHost) {
    this.#type = type
    this.#host = host
    this.#queue = new FairQueue(rule)
  }

  offer(request: AdmissionRequest): void {
    const nowMs = this.#host.clock.monotonicMs()
    this.#shed(nowMs)
    const refusal = this.#queue.offer(request, request.caller, nowMs)
    if (refusal !== undefined) this.#refuse(request, refusal)
    this.#pump(nowMs)
  }

  ended(request: AdmissionRequest): void {
    const caller = this.#started.get(request)
    if (caller === undefined) return
    this.#started.delete(request)
    this.#queue.ended(caller)
    const nowMs = this.#host.clock.monotonicMs()
    this.#shed(nowMs)
    this.#pump(nowMs)
  }

  /** Other limits from now on. */
  change(rule: FairRule): void {
    this.#queue.change(rule)
    this.#pump(this.#host.clock.monotonicMs())
  }

  /** Refuses nothing more by itself. */
  stop(): void {
    this.#timer?.cancel()
    this.#timer = undefined
  }

  #pump(nowMs: number): void {
    for (let next = this.#queue.next(nowMs); next !== undefined; next = this.#queue.next(nowMs)) {
      this.#started.set(next.request, next.caller)
      next.request.start()
    }
    this.#tell(nowMs)
    this.#watch(nowMs)
  }

  #shed(nowMs: number): void {
    for (const { request, refusal } of this.#queue.expired(nowMs)) this.#refuse(request, refusal)
  }

  #refuse(request: AdmissionRequest, { problem, retryAfterMs }: Refusal): void {
    request.refuse(new TrunklineError('bus.callee_overloaded', { type: this.#type, problem, retryAfterMs }))
  }

  #tell(nowMs: number): void {
    const state = this.#queue.state(nowMs)
    if (state === this.#state) return
    this.#state = state
    const reason = state === 'shedding' ? `${this.#queue.waiting} requests wait, and more come in than get done` : 'nobody waits for long'
    this.#host.emit({ kind: 'load-changed', name: this.#type, state, reason })
  }

  /** One timer for everything that waits. */
  #watch(nowMs: number): void {
    if (this.#timer !== undefined) return
    const inMs = this.#queue.nextExpiryInMs(nowMs)
    if (inMs === undefined) return
    this.#timer = this.#host.clock.setTimer(inMs, () => {
      this.#timer = undefined
      const laterMs = this.#host.clock.monotonicMs()
      this.#shed(laterMs)
      this.#pump(laterMs)
    }, { background: true })
  }
}
