import type { ResilienceHost } from '../bus/call-policy.ts'
import type { Timer } from '../core/clock.ts'
import { type OptionNames, optionNames, refuseUnknown } from '../core/option-names.ts'
import { FailureSwitch, type SwitchRule } from './failure-switch.ts'
import { POLICY_TIME_MAX_MS, numberIn, wholeIn } from './policy-options.ts'

/** When a subscription pauses because its handlers fail. */
export interface KillSwitchOptions {
  /** Share of the attempts that must have failed, above 0 and up to 1. Default 0.9. */
  readonly ratio?: number
  /** Milliseconds that are looked at. Default 60,000. */
  readonly windowMs?: number
  /** Attempts in that time below which nothing happens. Default 50. */
  readonly attemptsMin?: number
  /** Milliseconds of the pause. Default 30,000. */
  readonly pauseMs?: number
  /** Bound of the pause, which doubles when it trips again soon after. Default 600,000, or `pauseMs` if that is longer. */
  readonly pauseMaxMs?: number
}

const NAMES: OptionNames = optionNames<KillSwitchOptions>({ ratio: true, windowMs: true, attemptsMin: true, pauseMs: true, pauseMaxMs: true })

/** Fills in the defaults. @throws `core.option_invalid`, `core.option_unknown`. */
export function switchRule(options: KillSwitchOptions): SwitchRule {
  refuseUnknown('killSwitch', options, NAMES)
  const pauseMs = numberIn('killSwitch.pauseMs', options.pauseMs ?? 30_000, 1, POLICY_TIME_MAX_MS)
  return {
    ratio: numberIn('killSwitch.ratio', options.ratio ?? 0.9, 0.01, 1),
    windowMs: numberIn('killSwitch.windowMs', options.windowMs ?? 60_000, 1, POLICY_TIME_MAX_MS),
    attemptsMin: wholeIn('killSwitch.attemptsMin', options.attemptsMin ?? 50, 1, 1_000_000),
    pauseMs,
    pauseMaxMs: numberIn('killSwitch.pauseMaxMs', options.pauseMaxMs ?? Math.max(pauseMs, 600_000), pauseMs, POLICY_TIME_MAX_MS),
  }
}

/** Pauses a group whose attempts fail, and lets it go on after a time. What it does not fetch keeps its attempts. */
export class KillSwitch {
  readonly #group: string
  readonly #rule: SwitchRule
  readonly #switch: FailureSwitch
  readonly #host: ResilienceHost
  #timer: Timer | undefined

  constructor(group: string, rule: SwitchRule, host: ResilienceHost) {
    this.#group = group
    this.#rule = rule
    this.#switch = new FailureSwitch(rule)
    this.#host = host
  }

  readonly record = (isFailure: boolean): void => {
    const { clock, logger, emit, pause } = this.#host
    const pauseMs = this.#switch.record(isFailure, clock.monotonicMs())
    if (pauseMs === undefined) return
    const reason = `at least ${Math.round(this.#rule.ratio * 100)} % of its attempts failed; it goes on after ${pauseMs} ms`
    logger.warn({ group: this.#group, pauseMs }, 'the subscription is paused, because its handlers fail')
    pause(this.#group, reason)
    emit({ kind: 'subscription-paused', group: this.#group, reason, resumeAfterMs: pauseMs })
    this.#timer = clock.setTimer(pauseMs, this.#resume, { background: true })
  }

  readonly #resume = (): void => {
    const { clock, emit, resume } = this.#host
    this.#switch.resumed(clock.monotonicMs())
    resume(this.#group)
    emit({ kind: 'subscription-resumed', group: this.#group })
  }

  /** The bus stops. */
  stop(): void {
    this.#timer?.cancel()
  }
}
