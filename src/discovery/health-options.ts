import { TrunklineError } from '../core/errors.ts'
import { type OptionNames, optionNames, refuseUnknown } from '../core/option-names.ts'
import { type CheckFunction, type MemoryReading, processMemory } from './health-findings.ts'

/** A check of the user's own with its numbers. */
export interface CheckOptions {
  readonly run: CheckFunction
  /** Time for one run, in milliseconds; then its signal aborts and it has failed. Default 2,000. */
  readonly timeoutMs?: number
  /** Time between the end of one run and the next, in milliseconds; its last outcome stands meanwhile. Default 10,000. */
  readonly everyMs?: number
  /** False where a failure makes the service `degraded` and not `down`. Default true. */
  readonly isCritical?: boolean
}

/** What `healthChecks` takes. */
export interface HealthOptions {
  /** Checks by name. */
  readonly checks?: Readonly<Record<string, CheckFunction | CheckOptions>>
  /** Event-loop delay from which the process is degraded, in milliseconds; down at ten times that. Default 500. */
  readonly loopDelayMs?: number
  /** Share of the memory limit from which the process is degraded, 0 to 1; down at 0.97. Default 0.9. */
  readonly memoryShare?: number
  /** Dead letters of this instance within five minutes from which it is degraded. Default 10. */
  readonly deadLettersMax?: number
  /** How the memory is read. Default: that of the process against its container's limit, and the heap against its own. */
  readonly memory?: () => MemoryReading
}

/** A check with everything set. */
export interface HealthCheck extends Required<CheckOptions> {}

/** The options with their defaults. */
export interface CheckedHealth {
  readonly checks: Readonly<Record<string, HealthCheck>>
  readonly loopDelayMs: number
  /** Looks at the event loop that count. */
  readonly loopLooks: number
  readonly memoryShare: number
  readonly deadLettersMax: number
  readonly memory: () => MemoryReading
}

const OPTIONS: OptionNames = optionNames<HealthOptions>({ checks: true, loopDelayMs: true, memoryShare: true, deadLettersMax: true, memory: true })
const CHECK: OptionNames = optionNames<CheckOptions>({ run: true, timeoutMs: true, everyMs: true, isCritical: true })

/** @throws `core.option_unknown`, `core.option_invalid`. */
export function checkedHealth(options: HealthOptions): CheckedHealth {
  refuseUnknown('healthChecks', options, OPTIONS)
  const { loopDelayMs = 500, memoryShare = 0.9, deadLettersMax = 10, memory = processMemory, checks = {} } = options
  within('loopDelayMs of healthChecks', loopDelayMs, 1, 60_000)
  within('memoryShare of healthChecks', memoryShare, 0.01, 1)
  within('deadLettersMax of healthChecks', deadLettersMax, 1, 1_000_000)
  return {
    loopDelayMs, memoryShare, deadLettersMax, memory, loopLooks: 10,
    checks: Object.fromEntries(Object.entries(checks).map(([name, check]) => [name, checkOf(name, check)])),
  }
}

function checkOf(name: string, given: CheckFunction | CheckOptions): HealthCheck {
  const options = typeof given === 'function' ? { run: given } : given
  refuseUnknown(`the check ${name}`, options, CHECK, 'a function, or an object such as { run, everyMs }')
  const { run, timeoutMs = 2_000, everyMs = 10_000, isCritical = true } = options
  if (typeof run !== 'function') throw new TrunklineError('core.option_invalid', { option: `run of the check ${name}`, expected: 'a function', actual: typeof run })
  within(`timeoutMs of the check ${name}`, timeoutMs, 1, 3_600_000)
  within(`everyMs of the check ${name}`, everyMs, 100, 86_400_000)
  return { run, timeoutMs, everyMs, isCritical }
}

function within(option: string, value: number, min: number, max: number): void {
  if (typeof value === 'number' && value >= min && value <= max) return
  throw new TrunklineError('core.option_invalid', { option, expected: `a number from ${min} to ${max}`, actual: String(JSON.stringify(value)).slice(0, 100) })
}
