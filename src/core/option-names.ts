import { TrunklineError } from './errors.ts'

/** The names that the options of one place can have. */
export type OptionNames = ReadonlySet<string>

/** Lists the names of an options type; the compiler asks for every one of them, and for no other. */
export function optionNames<T extends object>(names: Readonly<Record<keyof T, true>>): OptionNames {
  return new Set(Object.keys(names))
}

/**
 * Refuses names that mean nothing, which a caller without types, or one whose options come out of a file, can give: a
 * misspelt limit must not be ignored in silence. A name whose value is undefined does no harm and passes.
 *
 * @param place for people, such as `bus.on`.
 * @param shape what is expected where it is no object.
 * @throws `core.option_unknown` naming the nearest known name first, `core.option_invalid` for what is no object.
 */
export function refuseUnknown(place: string, options: object, known: OptionNames, shape: string = 'an object of options'): void {
  if (typeof options !== 'object' || options === null) throw notOptions(place, options, shape)
  for (const name in options) {
    if (!known.has(name) && Reflect.get(options, name) !== undefined) throw unknownOption(place, name, known)
  }
}

const NAME_SAID_MAX = 60

function notOptions(place: string, given: unknown, expected: string): TrunklineError {
  // Never the value itself: a text given instead of options may be a URL with a password.
  const actual = given === null ? 'null' : `of the type ${typeof given}`
  return new TrunklineError('core.option_invalid', { option: `given to ${place}`, expected, actual })
}

function unknownOption(place: string, given: string, known: OptionNames): TrunklineError {
  const name = given.slice(0, NAME_SAID_MAX)
  const ranked = [...known].map((candidate) => ({ candidate, distance: distance(name, candidate) })).toSorted((left, right) => left.distance - right.distance)
  const best = ranked[0]
  const nearest = best !== undefined && best.distance <= Math.max(2, Math.ceil(name.length * 0.4)) ? best.candidate : undefined
  const names = nearest === undefined ? [...known].toSorted() : ranked.map(({ candidate }) => candidate)
  return new TrunklineError('core.option_unknown', { option: name, place, nearest, known: names })
}

/** How far two names are apart: the same words in another order are near (`maxAttempts`, `attemptsMax`), else by edits. */
function distance(left: string, right: string): number {
  const words = (name: string): string => name.split(/(?=[A-Z])|[-_]/).map((word) => word.toLowerCase()).toSorted().join(' ')
  const whole = edits(left.toLowerCase(), right.toLowerCase())
  const inOrder = edits(words(left), words(right))
  return Math.min(whole, inOrder, isPart(left, right) ? 2 : Infinity)
}

/** `server` and `servers`, `timeout` and `timeoutMs`. */
function isPart(left: string, right: string): boolean {
  const [short = '', long = ''] = [left.toLowerCase(), right.toLowerCase()].toSorted((one, other) => one.length - other.length)
  return short.length >= 3 && long.includes(short)
}

/** Levenshtein's distance. Names are short, so a row of numbers is enough. */
function edits(left: string, right: string): number {
  let row = Array.from({ length: right.length + 1 }, (_cell, index) => index)
  for (let at = 0; at < left.length; at++) {
    const next = [at + 1]
    for (let index = 0; index < right.length; index++) {
      const change = (row[index] ?? 0) + (right[index] === left[at] ? 0 : 1)
      next.push(Math.min(change, (row[index + 1] ?? 0) + 1, (next[index] ?? 0) + 1))
    }
    row = next
  }
  return row.at(-1) ?? 0
}
