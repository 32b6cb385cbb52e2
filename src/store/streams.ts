import { hasControls } from '../contract/names.ts'
import { TrunklineError } from '../core/errors.ts'
import type { ExpectedRevision } from './port.ts'

/** Longest name of a stream in UTF-8 bytes; what indexes of every database can hold (P-23). */
const STREAM_BYTES_MAX = 255

/**
 * Gives the name of a stream back if it can be one: `category-id`.
 *
 * @throws `core.option_invalid`.
 */
export function checkedStream(stream: unknown): string {
  const expected = `category-id, 1 to ${STREAM_BYTES_MAX} bytes without control characters`
  if (typeof stream !== 'string') throw new TrunklineError('core.option_invalid', { option: 'stream', expected, actual: typeof stream })
  const isFit = stream.indexOf('-') > 0 && !stream.startsWith('$') && Buffer.byteLength(stream) <= STREAM_BYTES_MAX && !hasControls(stream)
  if (!isFit) throw new TrunklineError('core.option_invalid', { option: 'stream', expected, actual: JSON.stringify(stream).slice(0, 300) })
  return stream
}

/** The category of a stream: its name up to the first dash. */
export function categoryOf(stream: string): string {
  const dash = stream.indexOf('-')
  return dash < 0 ? stream : stream.slice(0, dash)
}

/**
 * Gives an expectation back if it is one.
 *
 * @throws `core.option_invalid`.
 */
export function checkedExpectation(expected: unknown): ExpectedRevision {
  if (expected === 'noStream' || expected === 'any' || (typeof expected === 'bigint' && expected >= 0n)) return expected
  throw new TrunklineError('core.option_invalid', {
    option: 'expected', expected: '"noStream", "any" or the revision of the last event as a bigint from 0n', actual: String(expected).slice(0, 100),
  })
}
