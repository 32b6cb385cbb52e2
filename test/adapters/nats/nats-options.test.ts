import { inspect } from 'node:util'
import { describe, expect, test } from 'vitest'
import { nats, type NatsOptions } from '../../../src/adapters/nats/index.ts'
import { targetOf } from '../../../src/adapters/nats/nats-options.ts'

const refusal = (options: NatsOptions): unknown => {
  try {
    nats(options)
    return undefined
  } catch (error) {
    return error
  }
}

describe('credentials', () => {
  test('are refused over a link that others can read', () => {
    for (const secret of [{ user: 'u', pass: 'hidden' }, { token: 'hidden' }, { credentials: 'hidden' }, { credentialsFile: '/hidden' }]) {
      expect(refusal({ servers: 'nats://broker.example:4222', ...secret })).toMatchObject({ code: 'core.option_invalid' })
    }
    const inUrl = refusal({ servers: 'nats://u:hidden@broker.example' })
    expect(inUrl).toMatchObject({ code: 'core.option_invalid' })
    expect(inspect(inUrl)).not.toContain('hidden')
  })

  test('are accepted on this machine, over TLS, and where it was said explicitly', () => {
    const secret = { user: 'u', pass: 'p' }
    for (const servers of ['localhost:4222', 'nats://127.0.0.1', 'nats://[::1]:4222', 'tls://broker.example']) {
      expect(refusal({ servers, ...secret })).toBeUndefined()
    }
    expect(refusal({ servers: 'nats://broker.example', tls: {}, ...secret })).toBeUndefined()
    expect(refusal({ servers: 'nats://broker.example', allowPlaintextCredentials: true, ...secret })).toBeUndefined()
    expect(refusal({ servers: 'nats://broker.example' })).toBeUndefined()
  })

  test('in a url are taken out of it', () => {
    const target = targetOf({ servers: 'nats://u:p%40ss@127.0.0.1:4333' })
    expect(target.servers).toEqual(['127.0.0.1:4333'])
    expect(target.secrets?.plain()).toEqual({ user: 'u', pass: 'p@ss' })
    expect(inspect(target, { depth: 9, showHidden: true })).not.toContain('p@ss')
  })

  test('that are functions are asked again for each connection', () => {
    let asked = 0
    const { secrets } = targetOf({ servers: 'localhost', token: () => `token-${++asked}` })
    expect([secrets?.plain(), secrets?.plain()]).toEqual([{ auth_token: 'token-1' }, { auth_token: 'token-2' }])
  })
})

describe('options', () => {
  test('with a name that means nothing are refused', () => {
    expect(refusal({ server: 'localhost' } as never)).toMatchObject({ code: 'core.option_unknown', details: { place: 'nats()', option: 'server', nearest: 'servers' } })
    expect(refusal({ servers: 'localhost', tls: { serverName: 'x' } } as never)).toMatchObject({ code: 'core.option_unknown', details: { place: 'tls of nats()', nearest: 'servername' } })
    expect(refusal({ connection: {}, servers: 'localhost' } as never)).toMatchObject({ code: 'core.option_unknown', details: { option: 'servers' } })
  })

  test('that are none, or name no server, are refused with what they must be', () => {
    for (const given of ['nats://u:hidden@localhost', undefined, null, 5]) {
      const error = refusal(given as never)
      expect(error).toMatchObject({ code: 'core.option_invalid', details: { option: 'given to nats()', expected: expect.stringContaining('servers') } })
      expect(inspect(error)).not.toContain('hidden')
    }
    for (const given of [{}, { servers: 5 }, { servers: ['localhost', 5] }]) expect(refusal(given as never)).toMatchObject({ code: 'core.option_invalid', details: { option: 'servers' } })
  })

  test('outside their range are refused', () => {
    const servers = 'localhost'
    // What JavaScript can pass although the types forbid it.
    const wrong: readonly object[] = [
      { namespace: 'Not.Allowed' }, { ackWaitMs: 10 }, { ackWaitMs: Number.NaN }, { replicas: 2 }, { lanes: 7 }, { leaseMs: 0 },
      { inboxPrefix: 'a.*' }, { openTimeoutMs: 1 }, { duplicateWindowMs: 0 }, { eventsAgeMaxMs: 5 },
    ]
    for (const option of wrong) expect({ option, refusal: refusal({ servers, ...option }) }).toMatchObject({ refusal: { code: 'core.option_invalid' } })
    for (const list of ['http://localhost', 'nats://', []]) expect(refusal({ servers: list })).toMatchObject({ code: 'core.option_invalid' })
  })
})
