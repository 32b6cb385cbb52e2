import { inspect } from 'node:util'
import { describe, expect, test } from 'vitest'
import { rabbitmq } from '../../../src/adapters/rabbitmq/index.ts'

/** What callers without types give is refused; nothing else may come of it. */
function refusal(options: unknown): unknown {
  try {
    rabbitmq(options as never)
  } catch (error) {
    return error
  }
  return undefined
}

describe('options', () => {
  test('with a name that means nothing are refused, so that nobody talks to the wrong broker', () => {
    expect(refusal({ servers: 'amqp://rabbit' })).toMatchObject({ code: 'core.option_unknown', details: { place: 'rabbitmq()', option: 'servers' } })
    expect(refusal({ uri: 'amqp://rabbit' })).toMatchObject({ code: 'core.option_unknown', details: { nearest: 'url' } })
    expect(refusal({ url: 'amqps://rabbit', tls: { rejectUnauthorized: false } })).toMatchObject({ code: 'core.option_unknown', details: { place: 'tls of rabbitmq()' } })
    expect(refusal({ connect: () => undefined, url: 'amqp://localhost' })).toMatchObject({ code: 'core.option_unknown', details: { option: 'url' } })
  })

  test('that are none are refused without repeating what was given', () => {
    const error = refusal('amqp://u:hidden@localhost')
    expect(error).toMatchObject({ code: 'core.option_invalid', details: { option: 'given to rabbitmq()', expected: expect.stringContaining('url') } })
    expect(inspect(error)).not.toContain('hidden')
  })

  test('outside their range are refused', () => {
    for (const option of ['openTimeoutMs', 'commandTimeoutMs', 'dialTimeoutMs']) {
      for (const value of [0, -1, Number.NaN, 'soon']) expect(refusal({ [option]: value })).toMatchObject({ code: 'core.option_invalid', details: { option: `rabbitmq.${option}` } })
      expect(refusal({ [option]: 500 })).toBeUndefined()
    }
  })
})
