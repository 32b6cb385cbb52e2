import { AsyncLocalStorage } from 'node:async_hooks'
import { TrunklineError } from '../core/errors.ts'

const units = new AsyncLocalStorage<true>()

/** Calls `work` such that everything it awaits is known to run inside a unit of work. */
export function runAsUnit<R>(work: () => R): R {
  return units.run(true, work)
}

/** True inside a unit of work. */
export function isInUnit(): boolean {
  return units.getStore() === true
}

/**
 * Refuses what would happen although the unit of work is rolled back, or would wait for what the unit holds (O-05).
 *
 * @throws `outbox.unit_nested`.
 */
export function refuseInUnit(operation: string): void {
  if (isInUnit()) throw new TrunklineError('outbox.unit_nested', { operation })
}
