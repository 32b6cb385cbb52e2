import { TrunklineError, errorText, isTrunklineError } from '../../core/errors.ts'
import { failureOf, isDriverError } from './sqlite-driver.ts'
import type { SqliteFailure } from './sqlite-driver.ts'

/** The error of a store for what could not be done. */
export function storeLost(failure: SqliteFailure, thrown: unknown): TrunklineError {
  if (thrown === undefined && failure !== 'busy') return new TrunklineError('store.down', { store: 'sqlite', problem: 'the store was closed' })
  if (isTrunklineError(thrown, 'bus.connection_lost')) return ofLink(thrown)
  if (isTrunklineError(thrown)) return thrown
  if (failure === 'busy') return new TrunklineError('store.conflict', { store: 'sqlite', problem: LOCKED }, { cause: thrown })
  return new TrunklineError(failure === 'refused' ? 'store.refused' : 'store.down', { store: 'sqlite', problem: errorText(thrown) }, { cause: thrown })
}

/** The error of a store for what a statement or the transport's part of the adapter has thrown. */
export function storeError(thrown: unknown): unknown {
  if (isTrunklineError(thrown, 'bus.connection_lost')) return ofLink(thrown)
  return isDriverError(thrown) ? storeLost(failureOf(thrown), thrown) : thrown
}

const LOCKED = 'another process keeps the file locked'

function ofLink(error: TrunklineError<'bus.connection_lost'>): TrunklineError {
  const { problem } = error.details
  const cause: unknown = error.cause
  if (isDriverError(cause)) return storeLost(failureOf(cause), cause)
  return new TrunklineError('store.down', { store: 'sqlite', problem }, { cause: error })
}

/** Runs `work` and gives its errors the codes of a store. */
export async function asStore<T>(work: () => Promise<T>): Promise<T> {
  try {
    return await work()
  } catch (thrown) {
    throw storeError(thrown)
  }
}
