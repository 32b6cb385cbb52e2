import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { type RegisterCase, conformanceCases, testTransport } from '../../src/testing/index.ts'
import type { BrokerSubject } from './broker-subject.ts'

/** Cases at the same time: the suite's register for vitest. What is not promised is a test whose name says why. */
export const concurrently: RegisterCase = (name, run, untested) => {
  if (untested === undefined) test.concurrent(name, run)
  else notPromised(name, untested)
}

/** Cases one after the other, for those that break the broker. */
const oneByOne: RegisterCase = (name, run, untested) => {
  if (untested === undefined) test(name, run)
  else notPromised(name, untested)
}

function notPromised(name: string, reason: string): void {
  test(`${name} (not promised: ${reason})`, () => {
    expect(reason).not.toBe('')
  })
}

/** All cases on a broker: those that break it one by one, on a second server that holds nothing of the others. */
export function testBroker(subjectOf: () => BrokerSubject): void {
  describe('shared', { timeout: 150_000 }, () => {
    testTransport(concurrently, started(subjectOf()), conformanceCases.filter(({ family }) => family !== 'faults'))
  })
  describe('broken', { timeout: 240_000 }, () => {
    testTransport(oneByOne, started(subjectOf()), conformanceCases.filter(({ family }) => family === 'faults'))
  })
}

function started(subject: BrokerSubject): BrokerSubject {
  beforeAll(() => subject.start())
  afterAll(() => subject.close())
  return subject
}
