import { describe, test } from 'vitest'
import { TrunklineError, type TransportCapabilities } from '../../src/index.ts'
import { conformanceCases, standingOf, testTransport } from '../../src/testing/index.ts'
import { type Bend, bentSubject } from './bent-transport.ts'

const refused = (capability: keyof TransportCapabilities): TrunklineError => new TrunklineError('bus.unsupported', { adapter: 'memory', capability, needed: 'it' })

/** A transport without the operation, that says so. */
const ABSENT: readonly (readonly [keyof TransportCapabilities, Bend])[] = [
  ['canStore', { publish: () => Promise.reject(refused('canStore')), subscribe: () => Promise.reject(refused('canStore')) }],
  ['canOrderByKey', {}],
  ['canBroadcast', {}],
  ['canRequest', {}],
  ['canManageDeadLetters', { without: ['deadLetters'] }],
  ['canReplay', {}],
  ['canDelayRetry', { delivery: (inner) => ({ retry: (delayMs) => (delayMs > 0 ? Promise.reject(refused('canDelayRetry')) : inner.retry(0)) }) }],
]

describe.each(ABSENT)('a transport that declares %s: false', { timeout: 20_000 }, (flag, bend) => {
  const subject = bentSubject({ ...bend, capabilities: { [flag]: false } })
  const concerned = conformanceCases.filter((one) => one.needs?.includes(flag) === true && standingOf(one, subject).kind === 'refused')
  testTransport((name, run) => test.concurrent(name, run), { ...subject, waitMsMax: 5_000 }, concerned)
})

describe('a transport that cannot hold anything back', { timeout: 20_000 }, () => {
  const [, bend] = ABSENT[6] ?? ['canDelayRetry', {}]
  const subject = { ...bentSubject({ ...bend, capabilities: { canDelayRetry: false } }), waitMsMax: 5_000 }
  testTransport((name, run) => test.concurrent(name, run), subject, conformanceCases.filter((one) => one.family === 'delivery' || one.family === 'dead letters'))
})
