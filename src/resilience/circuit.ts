import type { CircuitState } from '../bus/call-policy.ts'
import type { FailureWindow } from './failure-window.ts'

/** How long a circuit stays open, and what closes it. */
export interface CircuitRule {
  /** Milliseconds from opening to the first trial. */
  readonly openMs: number
  /** Bound of that time; it doubles with each failed trial. */
  readonly openMaxMs: number
  /** Calls that must succeed to close it. */
  readonly trials: number
}

/** A call that was let through. */
export interface Passage {
  /** Calls that began before the circuit changed say nothing about what it is now. */
  readonly generation: number
  readonly startedAtMs: number
}

/** How a call ended. `void`: nobody knows, since it was given up. */
export type PassageEnd = 'success' | 'failure' | 'void'

/**
 * The circuit breaker as a state machine, without a clock: closed until its window is broken, then open, then half-open with a
 * bounded number of trials. All times are monotonic milliseconds.
 */
export class Circuit {
  readonly #window: FailureWindow
  readonly #rule: CircuitRule
  #state: CircuitState = 'closed'
  #generation = 0
  #openMs: number
  #openedAtMs = 0
  /** Trials under way. */
  readonly #trials = new Set<Passage>()
  #successes = 0

  constructor(window: FailureWindow, rule: CircuitRule) {
    this.#window = window
    this.#rule = rule
    this.#openMs = rule.openMs
  }

  get state(): CircuitState {
    return this.#state
  }

  /** Milliseconds until the next trial may be made; 0 where a call is let through, or may be as soon as a trial ends. */
  retryAfterMs(nowMs: number): number {
    return this.#state === 'open' ? Math.max(0, this.#openedAtMs + this.#openMs - nowMs) : 0
  }

  /** Lets a call through, or does not. */
  enter(nowMs: number): Passage | undefined {
    if (this.#state === 'closed') return { generation: this.#generation, startedAtMs: nowMs }
    if (this.#state === 'open') {
      if (nowMs - this.#openedAtMs < this.#openMs) return undefined
      this.#become('half-open')
    }
    this.#giveUpTrials(nowMs)
    if (this.#state !== 'half-open' || this.#trials.size + this.#successes >= this.#rule.trials) return undefined
    const trial = { generation: this.#generation, startedAtMs: nowMs }
    this.#trials.add(trial)
    return trial
  }

  /** A call that was let through has ended. */
  leave(passage: Passage, end: PassageEnd, nowMs: number): void {
    if (passage.generation !== this.#generation) return
    if (this.#state === 'half-open') this.#leaveTrial(passage, end, nowMs)
    else if (end !== 'void') {
      this.#window.record(end === 'failure', nowMs)
      if (end === 'failure' && this.#window.isBroken(nowMs)) this.open(nowMs)
    }
  }

  #leaveTrial(trial: Passage, end: PassageEnd, nowMs: number): void {
    this.#trials.delete(trial)
    if (end === 'failure') this.#reopen(nowMs)
    else if (end === 'success' && ++this.#successes >= this.#rule.trials) {
      this.close()
      this.#window.record(false, nowMs)
    }
  }

  /** A trial that never ends must not hold the circuit for ever: it has failed when it takes longer than the circuit was open. */
  #giveUpTrials(nowMs: number): void {
    for (const trial of this.#trials) {
      if (nowMs - trial.startedAtMs < this.#openMs) continue
      this.#reopen(nowMs)
      return
    }
  }

  #reopen(nowMs: number): void {
    this.#openMs = Math.min(this.#rule.openMaxMs, this.#openMs * 2)
    this.#openedAtMs = nowMs
    this.#become('open')
  }

  /** Opens it, whatever it is. */
  open(nowMs: number): void {
    this.#openMs = this.#rule.openMs
    this.#openedAtMs = nowMs
    this.#become('open')
  }

  /** Closes it, whatever it is, and forgets every failure. */
  close(): void {
    this.#window.reset()
    this.#become('closed')
  }

  #become(state: CircuitState): void {
    this.#state = state
    this.#generation++
    this.#trials.clear()
    this.#successes = 0
  }
}
