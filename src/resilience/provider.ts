import { IN_FLIGHT_LIMIT } from '../core/limits.ts'
import { type OptionNames, optionNames, refuseUnknown } from '../core/option-names.ts'
import type { CallerRule, FairRule } from './fair-queue.ts'
import { type SheddingOptions, delayRule } from './load-shed.ts'
import { numberIn, wholeIn } from './policy-options.ts'
import { bucketOf } from './rate-limit.ts'

/** What one caller may do. All limits hold for each query and each command of each instance. */
export interface CallerOptions extends SheddingOptions {
  /** Its requests handled at the same time. Default: three quarters of all, so that one caller never has every slot. */
  readonly inFlightMax?: number
  /** Its requests a second, in the long run. Default: no limit. */
  readonly permitsPerSecond?: number
  /** Its requests that may come at once after a pause. Default: those of one second. */
  readonly burstMax?: number
}

/** How a service guards itself from those who ask it. */
export interface ProviderOptions {
  /** What every caller may do. */
  readonly perCaller?: CallerOptions
  /** What single callers may do instead, by the names of their services. */
  readonly callers?: Readonly<Record<string, CallerOptions>>
  /** Callers that are kept apart; those beyond share one line. Default 1,000. */
  readonly callersMax?: number
}

const NAMES: OptionNames = optionNames<ProviderOptions>({ perCaller: true, callers: true, callersMax: true })
const CALLER: OptionNames = optionNames<CallerOptions>({ inFlightMax: true, permitsPerSecond: true, burstMax: true, targetDelayMs: true, intervalMs: true, waitingMax: true })
const SHARE_MAX = 0.75

/** The rules for a query or command of which `inFlightMax` may be handled at the same time, and `lineMax` of one caller may wait in any case. */
export type ProviderRule = (inFlightMax: number, lineMax: number) => FairRule

/** Checks and fills in. @throws `core.option_invalid`, `core.option_unknown`. */
export function providerRule(options: ProviderOptions): ProviderRule {
  refuseUnknown('provider', options, NAMES)
  const common = callerRule('provider.perCaller', options.perCaller ?? {})
  const single = new Map(Object.entries(options.callers ?? {}).map(([name, own]) => [name, callerRule(`provider.callers of ${name}`, { ...options.perCaller, ...own })]))
  const callersMax = wholeIn('provider.callersMax', options.callersMax ?? 1_000, 1, 1_000_000)
  return (inFlightMax, lineMax) => ({ inFlightMax, callersMax, callerRule: (caller) => (single.get(caller) ?? common)(inFlightMax, lineMax) })
}

function callerRule(place: string, options: CallerOptions): (inFlightMax: number, lineMax: number) => CallerRule {
  refuseUnknown(place, options, CALLER)
  const { inFlightMax, permitsPerSecond, burstMax } = options
  if (inFlightMax !== undefined) wholeIn(`${place}.inFlightMax`, inFlightMax, 1, IN_FLIGHT_LIMIT)
  // Checked here, where the mistake is, and not when the first caller comes.
  if (permitsPerSecond !== undefined) bucketOf(permitsPerSecond, burstMax)
  else if (burstMax !== undefined) numberIn('burstMax (only with permitsPerSecond)', undefined, 1, 1)
  const delay = delayRule(options)
  return (all, lineMax) => ({
    inFlightMax: Math.min(all, inFlightMax ?? Math.max(1, Math.floor(all * SHARE_MAX))),
    delay: { ...delay, waitingMax: Math.min(delay.waitingMax, lineMax) },
    bucket: () => (permitsPerSecond === undefined ? undefined : bucketOf(permitsPerSecond, burstMax)),
  })
}
