import { createHash } from 'node:crypto'

/** Keys whose lanes are remembered. */
const KNOWN_MAX = 8_192

/**
 * Numbers of keys: 64 bits of SHA-256, so that a row and an index hold a number where a key may be long and hold what text refuses
 * (P-23). Two keys that share a number would only wait for each other; that takes an attacker 2^64 tries for a given key.
 */
export class PgLanes {
  readonly #known = new Map<string, string>()

  /** The number as PostgreSQL reads a bigint. */
  of(key: string): string {
    let lane = this.#known.get(key)
    if (lane === undefined) {
      lane = `${createHash('sha256').update(key).digest().readBigInt64BE(0)}`
      if (this.#known.size >= KNOWN_MAX) this.#known.clear()
      this.#known.set(key, lane)
    }
    return lane
  }
}
