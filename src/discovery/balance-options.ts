import semver from 'semver'
import type { BalanceName, BalanceOptions } from '../bus/balancer.ts'
import { TrunklineError } from '../core/errors.ts'
import { type OptionNames, optionNames, refuseUnknown } from '../core/option-names.ts'
import { balanceRules } from './balance-rules.ts'

const OPTIONS: OptionNames = optionNames<BalanceOptions>({
  by: true, key: true, zone: true, spillAt: true, version: true, canary: true, attemptsMax: true, attemptTimeoutMs: true, hedgeAfterMs: true,
})
const CANARY: OptionNames = optionNames<NonNullable<BalanceOptions['canary']>>({ version: true, share: true })

/** Options that were checked before: the same object is given again and again. */
const checked = new WeakSet<BalanceOptions>()

/**
 * The options behind a name or behind themselves.
 *
 * @throws `core.option_unknown`, `core.option_invalid`.
 */
export function balanceOf(given: BalanceName | BalanceOptions): BalanceOptions {
  if (typeof given === 'string') {
    need(Object.hasOwn(balanceRules, given), 'by', `one of ${Object.keys(balanceRules).join(', ')}`, given)
    return { by: given }
  }
  if (typeof given === 'object' && given !== null && checked.has(given)) return given
  refuseUnknown('balance', given, OPTIONS, 'a rule such as "least-pending", or an object such as { by: "hash", key }')
  check(given)
  checked.add(given)
  return given
}

function check({ by, key, zone, spillAt, version, canary, attemptsMax, attemptTimeoutMs, hedgeAfterMs }: BalanceOptions): void {
  need(by === undefined || typeof by === 'function' || Object.hasOwn(balanceRules, by), 'by', `a function, or one of ${Object.keys(balanceRules).join(', ')}`, by)
  need(key === undefined || typeof key === 'string', 'key', 'a text', key)
  need(by !== 'hash' || key !== undefined, 'key', 'given where calls are balanced by hash', key)
  need(zone === undefined || zone === 'any' || zone === 'near', 'zone', '"any" or "near"', zone)
  number('spillAt', spillAt, 0, 1_000_000)
  need(version === undefined || semver.validRange(version) !== null, 'version', 'a range of versions such as "^2.1"', version)
  if (canary !== undefined) {
    refuseUnknown('canary of balance', canary, CANARY)
    need(semver.validRange(canary.version) !== null, 'canary.version', 'a range of versions such as "^2.1"', canary.version)
    number('canary.share', canary.share, 0, 1)
  }
  number('attemptsMax', attemptsMax, 1, 100)
  number('attemptTimeoutMs', attemptTimeoutMs, 1, 86_400_000)
  number('hedgeAfterMs', hedgeAfterMs, 0, 86_400_000)
}

function number(option: string, value: number | undefined, min: number, max: number): void {
  need(value === undefined || (typeof value === 'number' && value >= min && value <= max), option, `a number from ${min} to ${max}`, value)
}

function need(holds: boolean, option: string, expected: string, actual: unknown): void {
  if (!holds) throw new TrunklineError('core.option_invalid', { option: `${option} of balance`, expected, actual: String(JSON.stringify(actual)).slice(0, 200) })
}

/** True where a version is in the range. One that is no version at all, such as a build number, is in none but `*`. */
export function isVersionIn(version: string, range: string): boolean {
  return range === '*' || semver.satisfies(version, range, { includePrerelease: true })
}
