import { expect, test } from 'vitest'
import { AdmittedDeliveries, callerOf } from '../../src/bus/admitted-deliveries.ts'
import type { Admission, AdmissionRequest } from '../../src/bus/call-policy.ts'
import type { Delivery } from '../../src/bus/port.ts'
import { TrunklineError } from '../../src/core/errors.ts'
import { wireMessage } from '../adapters/wire-messages.ts'

/** An admission that notes what it is offered, and lets in what it is told to. */
class Notes implements Admission {
  readonly offered: AdmissionRequest[] = []
  readonly endings: AdmissionRequest[] = []

  offer(request: AdmissionRequest): void {
    this.offered.push(request)
  }

  ended(request: AdmissionRequest): void {
    this.endings.push(request)
  }
}

function delivery(more: Partial<Delivery> = {}): Delivery {
  const settled = (): Promise<void> => Promise.resolve()
  return {
    message: { ...wireMessage(), source: '/shop', replyTo: 'inbox/1' }, attempt: 1, isSuspect: false, isRedriven: false,
    begin: () => Promise.resolve(1), ack: settled, retry: settled, deadLetter: settled, release: settled, ...more,
  }
}

function admitted(): { readonly notes: Notes; readonly deliveries: AdmittedDeliveries; readonly seen: string[] } {
  const notes = new Notes()
  const seen: string[] = []
  return { notes, seen, deliveries: new AdmittedDeliveries(notes, { start: () => seen.push('start'), refuse: (_delivery, error) => seen.push(error.code) }) }
}

const full = new TrunklineError('bus.callee_overloaded', { type: 't', problem: 'full', retryAfterMs: 1 })

test('only what is asked and has certainly not begun can be refused', () => {
  const { deliveries, notes } = admitted()
  const sent = delivery()
  const others = [delivery({ message: { ...sent.message, replyTo: undefined } }), delivery({ attempt: 2 }), delivery({ isSuspect: true }), delivery({ isRedriven: true })]
  expect([sent, ...others].map((one) => deliveries.offer(one))).toEqual([true, false, false, false, false])
  expect(notes.offered.map(({ caller }) => caller)).toEqual(['shop'])
})

test('what was let in gives its place back when it is settled, once', () => {
  const { deliveries, notes, seen } = admitted()
  const one = delivery()
  deliveries.offer(one)
  notes.offered[0]?.start()
  deliveries.ended(one)
  deliveries.ended(one)
  deliveries.ended(delivery())
  expect([seen, notes.endings.length]).toEqual([['start'], 1])
})

test('what is given back is neither started nor refused afterwards, and its place is free', async () => {
  const { deliveries, notes, seen } = admitted()
  const [one, two] = [delivery(), delivery()]
  for (const each of [one, two]) deliveries.offer(each)
  expect(deliveries.giveBack()).toEqual([one, two])
  notes.offered[0]?.start()
  notes.offered[1]?.refuse(full)
  await Promise.resolve()
  expect([seen, notes.endings]).toEqual([[], [notes.offered[0]]])
})

test('what is refused is refused once', () => {
  const { deliveries, notes, seen } = admitted()
  deliveries.offer(delivery())
  notes.offered[0]?.refuse(full)
  expect([seen, deliveries.giveBack()]).toEqual([['bus.callee_overloaded'], []])
})

test.each([['/shop', 'shop'], ['https://elsewhere.example', 'https://elsewhere.example']])('the caller in the source %s is %s', (source, caller) => {
  expect(callerOf({ ...wireMessage(), source })).toBe(caller)
})
