import { describe, expect, test } from 'vitest'
import { settingsOf, targetOf } from '../../../src/adapters/eventstoredb/eventstoredb-options.ts'

describe('the connection string', () => {
  test('is built from checked parts, with everything encoded (guard 20)', () => {
    const target = targetOf({ hosts: ['one.example:2113', 'two.example'], user: 'a:b', password: 'p@ss:word/?', tls: { caFile: '/etc/ca file.pem' } })
    expect(target.connectionString('shop 1')).toBe(
      'esdb://a%3Ab:p%40ss%3Aword%2F%3F@one.example:2113,two.example:2113?tls=true&tlsCAFile=%2Fetc%2Fca%20file.pem&keepAliveInterval=10000&keepAliveTimeout=10000&connectionName=shop%201',
    )
    expect(target.credentials).toEqual({ username: 'a:b', password: 'p@ss:word/?' })
  })

  test('of a cluster behind one name says so', () => {
    expect(targetOf({ hosts: 'cluster.example', isDiscovered: true }).connectionString('x')).toMatch(/^esdb\+discover:\/\/cluster\.example:2113\?tls=true&/)
  })

  test('without TLS carries no credentials, and that is said (guard 21)', () => {
    const target = targetOf({ hosts: '127.0.0.1:2113', user: 'u', password: 'secret', tls: false })
    expect(target.connectionString('x')).not.toContain('secret')
    expect(target.warning).toContain('not sent')
  })

  test.each([
    ['a host with a scheme', { hosts: 'esdb://one' }],
    ['an IPv6 address', { hosts: '[::1]:2113' }],
    ['no host', { hosts: [] }],
    ['a port that is none', { hosts: 'one:99999' }],
    ['a password without a user', { hosts: 'one', password: 'p' }],
    ['no TLS to another machine', { hosts: 'one.example', tls: false as const }],
    ['a certificate without its key', { hosts: 'one', tls: { certFile: 'a' } }],
    ['several hosts where one name is discovered', { hosts: ['one', 'two'], isDiscovered: true }],
    ['a keep-alive of nothing', { hosts: 'one', keepAliveIntervalMs: 0 }],
  ])('refuses %s', (_what, options) => {
    expect(() => targetOf(options)).toThrow(expect.objectContaining({ code: 'core.option_invalid' }))
  })
})

test.each([{ namespace: 'No Name' }, { callTimeoutMs: 1 }, { leaseMs: Number.NaN }, { eventsAgeMaxMs: 5 }, { silenceMaxMs: -1 }])('refuses the setting %o', (options) => {
  expect(() => settingsOf(options)).toThrow(expect.objectContaining({ code: 'core.option_invalid' }))
})
