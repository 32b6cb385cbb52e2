import { isTrunklineError, TrunklineError } from '../../core/errors.ts'
import { problemOf } from './postgres-errors.ts'

/** The error for an operation of the transport that could not be done now. */
export function lost(problem: string, cause?: unknown): TrunklineError {
  return new TrunklineError('bus.connection_lost', { adapter: 'postgres', problem }, { cause })
}

/** What a store's error means for a transport: the database cannot be used now. Other errors of the library pass. */
export function asLost(thrown: unknown): TrunklineError {
  if (!isTrunklineError(thrown)) return lost(problemOf(thrown), thrown)
  const isStore = ['store.down', 'store.conflict', 'store.rolled_back', 'store.refused'].includes(thrown.code)
  return isStore ? lost(thrown.message, thrown) : thrown
}

/** True where the same may work in a moment: the link was lost, or another transaction stood in the way. */
export function isPassing(thrown: unknown): boolean {
  return isTrunklineError(thrown) && ['store.down', 'store.conflict', 'store.rolled_back'].includes(thrown.code)
}
