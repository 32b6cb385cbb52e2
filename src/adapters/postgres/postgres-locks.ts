import { createHash } from 'node:crypto'

// Advisory locks of the library, all held to the end of a transaction and never longer (P-16). Each kind has a class of its own
// in PostgreSQL's two-number form; the second number tells what is locked.

/** Held, shared, by every transaction that has taken a position of the log; the second number is the sequence's oid. */
export const LOG_LOCK = 0x544b_0001
/** Held by the transaction that writes messages of a key to the outbox. */
export const KEY_LOCK = 0x544b_0002
/** Held by whoever changes the tables. */
export const MIGRATION_LOCK = 0x544b_0003

/** Keys share this many locks: the lock table of a server has room for about 6,400, and two keys that share one only wait a moment. */
const KEY_SLOTS = 1_024

/** Numbers of the schemas that are in use, of which a process has few: hashing one takes longer than all else about a key's lock. */
const NUMBERS = new Map<string, number>()

/** A 32-bit number for a text, signed as PostgreSQL's integer is. */
export function lockNumber(text: string): number {
  return createHash('sha256').update(text).digest().readInt32BE(0)
}

/** The locks for some keys of one schema: each once, in the order in which everybody takes them, so that nobody deadlocks (P-14). */
export function keyLocks(schema: string, keys: Iterable<string>): readonly number[] {
  const base = schemaNumber(schema) & ~(KEY_SLOTS - 1)
  const slots = new Set<number>()
  for (const key of keys) slots.add(base | keySlot(key))
  return [...slots].toSorted((left, right) => left - right)
}

function schemaNumber(schema: string): number {
  const known = NUMBERS.get(schema) ?? lockNumber(schema)
  NUMBERS.set(schema, known)
  return known
}

/** FNV-1a over UTF-16 units: every process and release has to agree on it. */
function keySlot(key: string): number {
  let hash = 0x811c9dc5
  for (let at = 0; at < key.length; at++) hash = Math.imul(hash ^ key.charCodeAt(at), 0x01000193)
  return ((hash >>> 22) ^ hash) & (KEY_SLOTS - 1)
}
