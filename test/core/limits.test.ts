import { describe, expect, test } from 'vitest'
import * as limits from '../../src/core/limits.ts'

const NATS_PAYLOAD_BYTES = 1_048_576
const QUEUE_NAME_BYTES = 255

describe('limits', () => {
  test('are whole positive numbers, immediate retries apart', () => {
    for (const [name, value] of Object.entries(limits)) {
      expect([name, Number.isSafeInteger(value)]).toEqual([name, true])
      expect([name, value >= (name === 'IMMEDIATE_RETRIES' ? 0 : 1)]).toEqual([name, true])
    }
  })

  test('leave room for a dead letter of the largest message in a default NATS server', () => {
    // Every byte of a header may travel as three characters; a record may hold 8 errors of two texts, each byte escaped as six.
    const headers = limits.HEADER_BYTES_MAX * 3 + limits.HEADER_COUNT_MAX * 4 + (limits.KEY_BYTES_MAX + limits.ID_LENGTH_MAX * 4 * 3) * 3
    const record = limits.ERROR_CHAIN_MAX * limits.ERROR_TEXT_MAX * 2 * 6
    expect(limits.BODY_BYTES_MAX + headers + record).toBeLessThan(NATS_PAYLOAD_BYTES)
  })

  test('order every default before its limit', () => {
    const rising: readonly (readonly number[])[] = [
      [limits.BACKOFF_DELAY_MIN_MS, limits.RETRY_INITIAL_MS, limits.RETRY_DELAY_MAX_MS, limits.RETRY_DELAY_LIMIT_MS],
      [limits.IMMEDIATE_RETRIES, limits.ATTEMPTS_MAX],
      [limits.IN_FLIGHT_MAX, limits.IN_FLIGHT_LIMIT],
      [limits.BATCH_MAX, limits.IN_FLIGHT_LIMIT],
      [limits.BATCH_WAIT_MS, limits.HANDLER_TIMEOUT_MS],
      [limits.ASK_TIMEOUT_MS, limits.HANDLER_TIMEOUT_MS],
      [limits.RECONNECT_INITIAL_MS, limits.RECONNECT_DELAY_MAX_MS, limits.LINK_SILENCE_MAX_MS],
      // A publish outlives at least one reconnect with the longest wait.
      [limits.RECONNECT_DELAY_MAX_MS * 2, limits.PUBLISH_TIMEOUT_MS],
      [limits.LANE_SETTLED_MAX, limits.LANE_HELD_MAX],
    ]
    for (const list of rising) expect(list).toEqual(list.toSorted((left, right) => left - right))
  })

  test('let a type name fit a queue name with a namespace and the longest ending', () => {
    expect(limits.TYPE_LENGTH_MAX + limits.NAME_LENGTH_MAX + ':suspect.lane-63.hold'.length).toBeLessThan(QUEUE_NAME_BYTES)
  })

  test('cut keys into 8 by 8 buckets, as the subjects write them', () => {
    expect(limits.KEY_BUCKETS).toBe(8 * 8)
  })
})
