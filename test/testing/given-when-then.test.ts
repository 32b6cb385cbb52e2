import { describe, expect, test } from 'vitest'
import { z } from 'zod'
import { decider, event, fact } from '../../src/index.ts'
import { given } from '../../src/testing/index.ts'

const Opened = event('bank.account-opened', { schema: z.object({ owner: z.string().default('nobody') }) })
const Closed = event('bank.account-closed', { schema: z.object({}) })

class Refused extends Error {}

const account = decider({
  category: 'account',
  events: [Opened, Closed],
  initialState: () => ({ isOpen: false, owner: '' }),
  decide: (command: 'open' | 'close' | 'nonsense', state) => {
    // As a caller in plain JavaScript could.
    if (command === 'nonsense') return fact(Opened, { owner: 5 as never })
    if (command === 'open') return state.isOpen ? undefined : fact(Opened, {})
    if (!state.isOpen) throw new Refused('there is nothing to close')
    return fact(Closed, {})
  },
  evolve: (state, happened) => (happened.type === 'bank.account-opened' ? { isOpen: true, owner: happened.data.owner } : { ...state, isOpen: false }),
})

describe('given, when, then', () => {
  test('passes for what was decided, with defaults filled in as they are when it is stored', () => {
    given(account).when('open').thenDecides(fact(Opened, { owner: 'nobody' })).thenState({ isOpen: true, owner: 'nobody' })
    given(account, fact(Opened, { owner: 'ann' })).when('close').thenDecides(fact(Closed, {})).thenState({ isOpen: false, owner: 'ann' })
    given(account, fact(Opened, {})).when('open').thenDecides()
    given(account).when('close').thenRefused().thenRefused('nothing to close').thenRefused(/close$/).thenRefused(Refused).thenState({ isOpen: false, owner: '' })
    given(account).when('nonsense').thenRefused('contract.payload_invalid')
  })

  test('fails for everything else', () => {
    expect(() => given(account).when('open').thenDecides()).toThrow()
    expect(() => given(account).when('open').thenDecides(fact(Opened, { owner: 'ann' }))).toThrow()
    expect(() => given(account).when('open').thenRefused()).toThrow('did not refuse')
    expect(() => given(account).when('close').thenDecides(fact(Closed, {}))).toThrow('nothing to close')
    expect(() => given(account).when('close').thenRefused('other')).toThrow('nothing to close')
    expect(() => given(account).when('close').thenRefused(TypeError)).toThrow('nothing to close')
    expect(() => given(account).when('open').thenState({ isOpen: false, owner: '' })).toThrow()
  })
})
