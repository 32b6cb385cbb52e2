import { errorText, isTrunklineError, TrunklineError } from '../../core/errors.ts'

/** How the library names the database in its errors. */
export const STORE = 'postgres'

/**
 * What a failed statement means. `conflict`: the database gave the transaction up, a repetition may do. `down`: it cannot be
 * used now. `refused`: it never takes this.
 */
export type PgFailure = 'conflict' | 'down' | 'refused'

// Serialization failure, deadlock, lock timeout.
const CONFLICTS: ReadonlySet<string> = new Set(['40001', '40P01', '55P03'])
// A statement or a transaction took too long, or was cancelled by hand; read-only: a primary that became a standby (P-24).
const DOWN_CODES: ReadonlySet<string> = new Set(['57014', '25006', '25P03', '25P04'])
// Link, resources (disk, memory, connections), operator (shutdown, starting up), system (files, P-25), broken pooler, corruption.
const DOWN_CLASSES: ReadonlySet<string> = new Set(['08', '53', '57', '58', 'XX'])

/** Sorts what the client threw. What carries no SQLSTATE comes from the link, and counts as `down`. */
export function failureOf(thrown: unknown): PgFailure {
  const state = sqlState(thrown)
  if (state === undefined) return thrown instanceof TypeError || thrown instanceof RangeError ? 'refused' : 'down'
  if (CONFLICTS.has(state)) return 'conflict'
  return DOWN_CODES.has(state) || DOWN_CLASSES.has(state.slice(0, 2)) ? 'down' : 'refused'
}

/** The five characters that PostgreSQL gives each kind of failure; undefined for failures of the link. */
export function sqlState(thrown: unknown): string | undefined {
  if (typeof thrown !== 'object' || thrown === null || !('code' in thrown) || typeof thrown.code !== 'string') return undefined
  return /^[0-9A-Z]{5}$/.test(thrown.code) && 'severity' in thrown ? thrown.code : undefined
}

/**
 * Translates what the client threw; errors of this library pass unchanged. The text holds no value of the caller's.
 *
 * @param cause what is kept as the cause, where that is not what tells the reason.
 */
export function storeError(thrown: unknown, cause: unknown = thrown): TrunklineError {
  if (isTrunklineError(thrown)) return thrown
  const code = { conflict: 'store.conflict', down: 'store.down', refused: 'store.refused' } as const
  return new TrunklineError(code[failureOf(thrown)], { store: STORE, problem: problemOf(thrown) }, { cause })
}

/** For people: what happened, without the values that messages of PostgreSQL can quote. */
export function problemOf(thrown: unknown): string {
  const state = sqlState(thrown)
  if (state === undefined) return messageOf(thrown)
  const place = ['schema', 'table', 'column', 'constraint'].flatMap((name) => {
    const value: unknown = typeof thrown === 'object' && thrown !== null ? Reflect.get(thrown, name) : undefined
    return typeof value === 'string' ? [`${name} ${value}`] : []
  })
  // Classes 22 and 23 quote data; the others name objects of the database.
  const text = /^2[23]/.test(state) ? 'a value breaks a rule of the table' : messageOf(thrown)
  return `${text} (SQLSTATE ${[state, ...place].join(', ')})`
}

/** Libraries over the client tell what it said in objects that are no errors. */
function messageOf(thrown: unknown): string {
  if (thrown instanceof Error || typeof thrown !== 'object' || thrown === null || !('message' in thrown)) return errorText(thrown)
  return errorText(thrown.message)
}
