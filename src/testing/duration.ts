import { TrunklineError } from '../core/errors.ts'

/** A time as people write it: a number with its unit, such as `30d`, `1.5h` or `250ms`. */
export type Duration = `${number}${DurationUnit}`

/** Milliseconds, seconds, minutes, hours, days of 24 hours, weeks of seven days. */
export type DurationUnit = 'ms' | 's' | 'm' | 'h' | 'd' | 'w'

const UNITS_MS: ReadonlyMap<string, number> = new Map([['ms', 1], ['s', 1_000], ['m', 60_000], ['h', 3_600_000], ['d', 86_400_000], ['w', 604_800_000]])
const WRITTEN = /^(\d{1,15}(?:\.\d{1,6})?)(ms|s|m|h|d|w)$/
/** A century, as everywhere: beyond it a delay is a mistake in units. */
const DURATION_MAX_MS = 3_155_760_000_000
const SAID_MAX = 40

/**
 * Milliseconds of a duration; a number is milliseconds already. Fractions of a millisecond are rounded up.
 *
 * @throws `core.option_invalid` for what is no such text, is negative, or longer than a century.
 */
export function durationMs(duration: Duration | number): number {
  const ms = typeof duration === 'number' ? duration : writtenMs(String(duration))
  if (ms >= 0 && ms <= DURATION_MAX_MS) return Math.ceil(ms)
  throw new TrunklineError('core.option_invalid', {
    option: 'duration', expected: 'milliseconds, or a number from 0 up with one of the units ms, s, m, h, d and w, such as 30d, up to a century', actual: String(duration).slice(0, SAID_MAX),
  })
}

function writtenMs(text: string): number {
  const [, count, unit] = WRITTEN.exec(text) ?? []
  return Number(count) * (UNITS_MS.get(unit ?? '') ?? Number.NaN)
}

/** A time for people: in the largest unit that needs no fraction. */
export function durationText(ms: number): string {
  const fitting = [...UNITS_MS].findLast(([, unitMs]) => ms >= unitMs && ms % unitMs === 0)
  return fitting === undefined ? `${ms}ms` : `${ms / fitting[1]}${fitting[0]}`
}
