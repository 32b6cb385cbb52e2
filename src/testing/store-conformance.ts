import { rejects } from 'node:assert/strict'
import { isTrunklineError } from '../core/errors.ts'
import type { LogCapabilities } from '../store/port.ts'
import type { RegisterCase } from './conformance.ts'
import { bodyCases } from './store-conformance-bodies.ts'
import type { StoreCase } from './store-conformance-case.ts'
import { checkpointCases, leaseCases } from './store-conformance-checkpoints.ts'
import { followCases } from './store-conformance-follow.ts'
import { inboxCases } from './store-conformance-inbox.ts'
import { logCases } from './store-conformance-log.ts'
import { metadataCases } from './store-conformance-metadata.ts'
import { outboxCases } from './store-conformance-outbox.ts'
import { StoreStage } from './store-conformance-stage.ts'
import type { StoreSubject } from './store-conformance-subject.ts'
import { timerCases } from './store-conformance-timers.ts'
import { unitCases } from './store-conformance-units.ts'
import { writerCases } from './store-conformance-writers.ts'

/**
 * Every case for the ports of a store, family by family. One file each: `store-conformance-<family>.ts`; a store is described
 * as a `StoreSubject` (`store-conformance-subject.ts`), and `test/conformance/store-memory.test.ts` shows how it is run.
 */
export const storeCases: readonly StoreCase[] = [
  ...logCases, ...followCases, ...metadataCases, ...unitCases, ...writerCases, ...checkpointCases, ...leaseCases, ...inboxCases, ...outboxCases, ...timerCases, ...bodyCases,
]

/** What a case means for one store. */
export type StoreStanding =
  | { readonly kind: 'kept' }
  /** The operation is declared absent; asking for it must fail. */
  | { readonly kind: 'refused'; readonly capability: keyof LogCapabilities }
  /** Not promised, for this reason. */
  | { readonly kind: 'untested'; readonly reason: string }

/** Whether a store keeps, refuses or does not promise a case: from its declarations alone, never from a run. */
export function storeStandingOf(one: StoreCase, subject: Pick<StoreSubject, 'capabilities' | 'without'>): StoreStanding {
  const missing = [one.family, ...(one.uses ?? [])].find((part) => subject.without?.[part] !== undefined)
  if (missing !== undefined) return { kind: 'untested', reason: subject.without?.[missing] ?? '' }
  const absent = one.needs?.find((capability) => !subject.capabilities[capability])
  if (absent === undefined) return { kind: 'kept' }
  return absent === 'canCommitStreams' ? { kind: 'refused', capability: absent } : { kind: 'untested', reason: `it declares ${absent}: false` }
}

/**
 * Registers the cases for one store with any test runner:
 * `testStore((name, run, untested) => test(untested === undefined ? name : `${name} (${untested})`, …), subject)`.
 *
 * Cases are independent and may run at the same time.
 *
 * @param cases default: all of them.
 */
export function testStore(register: RegisterCase, subject: StoreSubject, cases: readonly StoreCase[] = storeCases): void {
  for (const one of cases) {
    const standing = storeStandingOf(one, subject)
    const name = `${one.family}: ${one.name}`
    if (standing.kind === 'untested') register(name, () => Promise.resolve(), standing.reason)
    else if (standing.kind === 'refused') register(`${name} (refused: ${standing.capability})`, () => runRefused(one, subject, standing.capability))
    else register(name, () => runStoreCase(one, subject))
  }
}

/** Runs one case in a database of its own. Rejects where the store behaves differently. */
export async function runStoreCase(one: StoreCase, subject: StoreSubject): Promise<void> {
  await using stage = new StoreStage(subject, await subject.place())
  await one.run(stage)
}

/** What is declared absent must be refused, and with its own name; ignoring it in silence fails. */
async function runRefused(one: StoreCase, subject: StoreSubject, capability: keyof LogCapabilities): Promise<void> {
  const isRefusal = (error: unknown): boolean => isTrunklineError(error, 'bus.unsupported') && error.details.capability === capability
  await rejects(() => runStoreCase(one, subject), isRefusal, `${subject.name} declares ${capability}: false and did not refuse it`)
}
