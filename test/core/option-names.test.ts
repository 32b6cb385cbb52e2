import { describe, expect, test } from 'vitest'
import { isTrunklineError } from '../../src/core/errors.ts'
import { type OptionNames, optionNames, refuseUnknown } from '../../src/core/option-names.ts'

interface Retry {
  readonly attemptsMax?: number
  readonly initialMs?: number
  readonly maxMs?: number
  readonly timeoutMs?: number
  readonly servers?: string
}
const KNOWN: OptionNames = optionNames<Retry>({ attemptsMax: true, initialMs: true, maxMs: true, timeoutMs: true, servers: true })

function refusal(options: unknown): unknown {
  try {
    // Callers without types can give anything.
    refuseUnknown('bus.on', options as object, KNOWN)
  } catch (thrown) {
    return thrown
  }
  return undefined
}

describe('options', () => {
  test('pass with known names, with none, and with unknown names that hold nothing', () => {
    expect(refusal({ attemptsMax: 3, maxMs: undefined })).toBe(undefined)
    expect(refusal({})).toBe(undefined)
    expect(refusal({ nonsense: undefined })).toBe(undefined)
    expect(refusal(Object.create(null))).toBe(undefined)
  })

  test.each([
    ['maxAttempts', 'attemptsMax'],
    ['attempts', 'attemptsMax'],
    ['timeout', 'timeoutMs'],
    ['timeoutms', 'timeoutMs'],
    ['initalMs', 'initialMs'],
    ['server', 'servers'],
    ['Servers', 'servers'],
  ])('are refused with %s, and %s is named first', (name, nearest) => {
    const thrown = refusal({ [name]: 5 })
    expect(thrown).toMatchObject({ code: 'core.option_unknown', disposition: 'stop', details: { option: name, place: 'bus.on', nearest } })
    expect(isTrunklineError(thrown, 'core.option_unknown') && thrown.details.known[0]).toBe(nearest)
    expect(isTrunklineError(thrown, 'core.option_unknown') && thrown.details.known).toHaveLength(KNOWN.size)
  })

  test('are refused without a guess where no name is near', () => {
    expect(refusal({ colour: 'red' })).toMatchObject({ code: 'core.option_unknown', details: { nearest: undefined, known: [...KNOWN].toSorted() } })
    expect(refusal({ ['x'.repeat(5_000)]: 1 })).toMatchObject({ code: 'core.option_unknown', details: { option: 'x'.repeat(60) } })
  })

  test('are refused where a name is inherited', () => {
    expect(refusal(Object.create({ maxAttempts: 3 }))).toMatchObject({ code: 'core.option_unknown' })
  })

  test.each([['a text', 'nats://user:secret@host'], ['null', null], ['undefined', undefined], ['a function', (): void => {}], ['a number', 5]])('are an object, and %s is not one', (_what, given) => {
    const thrown = refusal(given)
    expect(thrown).toMatchObject({ code: 'core.option_invalid', details: { option: 'given to bus.on', expected: 'an object of options' } })
    expect(String(thrown)).not.toContain('secret')
  })
})
