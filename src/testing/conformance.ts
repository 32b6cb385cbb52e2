import { rejects } from 'node:assert/strict'
import type { TransportCapabilities } from '../bus/port.ts'
import { isTrunklineError } from '../core/errors.ts'
import { badInputCases } from './conformance-bad-input.ts'
import { batchCases } from './conformance-batches.ts'
import { broadcastCases } from './conformance-broadcast.ts'
import { callCases } from './conformance-calls.ts'
import type { ConformanceCase } from './conformance-case.ts'
import { deadLetterCases } from './conformance-dead-letters.ts'
import { deliveryCases } from './conformance-delivery.ts'
import { faultCases } from './conformance-faults.ts'
import { lifecycleCases } from './conformance-lifecycle.ts'
import { orderCases } from './conformance-order.ts'
import { processCases } from './conformance-processes.ts'
import { retryCases } from './conformance-retry.ts'
import { Stage } from './conformance-stage.ts'
import type { ConformanceSubject } from './conformance-subject.ts'

/** Every case, family by family. */
export const conformanceCases: readonly ConformanceCase[] = [
  ...deliveryCases, ...batchCases, ...retryCases, ...orderCases, ...deadLetterCases, ...callCases, ...broadcastCases, ...badInputCases,
  ...lifecycleCases, ...processCases, ...faultCases,
]

/** Hands one case to a test runner. `untested` is the reason where the transport does not promise what the case is about. */
export type RegisterCase = (name: string, run: () => Promise<void>, untested?: string) => void

/** What a case means for one transport. */
export type CaseStanding =
  | { readonly kind: 'kept' }
  /** The operation is declared absent; asking for it must fail. */
  | { readonly kind: 'refused'; readonly capability: keyof TransportCapabilities }
  /** Not promised, for this reason. */
  | { readonly kind: 'untested'; readonly reason: string }

/** Whether a transport keeps, refuses or does not promise a case: from its declarations alone, never from a run. */
export function standingOf(one: ConformanceCase, subject: Pick<ConformanceSubject, 'capabilities' | 'without'>): CaseStanding {
  const absent = (one.needs ?? []).filter((capability) => !subject.capabilities[capability])
  const guarantee = absent.find((capability) => !capability.startsWith('can'))
  if (guarantee !== undefined) return { kind: 'untested', reason: `it declares ${guarantee}: false` }
  const missing = one.uses === undefined ? undefined : subject.without?.[one.uses]
  if (missing !== undefined) return { kind: 'untested', reason: missing }
  const [operation] = absent
  return operation === undefined ? { kind: 'kept' } : { kind: 'refused', capability: operation }
}

/**
 * Registers the cases for one transport with any test runner:
 * `testTransport((name, run, untested) => test(untested === undefined ? name : `${name} (${untested})`, …), subject)`.
 *
 * Cases are independent and may run at the same time, those of the family `faults` apart: they break the
 * broker that the subject's places share.
 *
 * @param cases default: all of them.
 */
export function testTransport(register: RegisterCase, subject: ConformanceSubject, cases: readonly ConformanceCase[] = conformanceCases): void {
  for (const one of cases) {
    const standing = standingOf(one, subject)
    const name = `${one.family}: ${one.name}`
    if (standing.kind === 'untested') register(name, () => Promise.resolve(), standing.reason)
    else if (standing.kind === 'refused') register(`${name} (refused: ${standing.capability})`, () => runRefused(one, subject, standing.capability))
    else register(name, () => runCase(one, subject))
  }
}

/** Runs one case in a place of its own. Rejects where the transport behaves differently. */
export async function runCase(one: ConformanceCase, subject: ConformanceSubject): Promise<void> {
  const delays = subject.capabilities.canDelayRetry || one.needs?.includes('canDelayRetry') === true
  await using stage = new Stage(subject, await subject.place(), { delays })
  await one.run(stage)
}

/** What is declared absent must be refused, and with its own name; ignoring it in silence fails. */
async function runRefused(one: ConformanceCase, subject: ConformanceSubject, capability: keyof TransportCapabilities): Promise<void> {
  const isRefusal = (error: unknown): boolean =>
    isTrunklineError(error, 'bus.unsupported') && (one.needs ?? []).some((need) => need === error.details.capability && !subject.capabilities[need])
  await rejects(() => runCase(one, subject), isRefusal, `${subject.name} declares ${capability}: false and did not refuse it`)
}
