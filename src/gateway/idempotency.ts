import { createHash } from 'node:crypto'
import type { Clock } from '../core/clock.ts'
import { systemClock } from '../core/clock.ts'
import { TrunklineError } from '../core/errors.ts'
import { wholeInRange } from '../bus/retry-policy.ts'

/** A response that is kept for whoever repeats its request. */
export interface KeptResponse {
  readonly status: number
  readonly headers: Readonly<Record<string, string>>
  /** Text, or null for none. */
  readonly body: string | null
}

/** What is known of a key when its request comes. */
export type Begun =
  /** Nothing: the request is to be made, and then finished or abandoned. */
  | { readonly kind: 'new' }
  /** The same request was answered. */
  | { readonly kind: 'answered'; readonly response: KeptResponse }
  /** The same request is being answered. */
  | { readonly kind: 'in-progress' }
  /** The key belongs to another request. */
  | { readonly kind: 'reused' }

/** Remembers the requests that had an idempotency key. */
export interface IdempotencyKeys {
  /** Takes a key for a request, told apart by its fingerprint. */
  begin(key: string, fingerprint: string): Promise<Begun>
  /** Keeps the answer. */
  finish(key: string, fingerprint: string, response: KeptResponse): Promise<void>
  /** The outcome is not known: the request may be made again. */
  abandon(key: string, fingerprint: string): Promise<void>
}

/** The header of a key. */
export const KEY_HEADER = 'idempotency-key'
/** Says that an answer was kept from the first request. */
export const REPLAYED_HEADER = 'idempotency-replayed'

/** The key of a request: a quoted string as the IETF draft writes it, or bare. @throws `gateway.request_malformed`. */
export function keyOf(headers: Headers): string | undefined {
  const given = headers.get(KEY_HEADER)
  if (given === null) return undefined
  const key = /^"([\u0021\u0023-\u005b\u005d-\u007e]{1,255})"$/.exec(given)?.[1] ?? /^([\u0021\u0023-\u002b\u002d-\u005b\u005d-\u007e]{1,255})$/.exec(given)?.[1]
  if (key === undefined) throw new TrunklineError('gateway.request_malformed', { part: 'Idempotency-Key header', problem: 'it is not one key of 1 to 255 printable characters' })
  return key
}

/** Tells requests apart: the same data gives the same text. */
export function fingerprintOfData(data: unknown): string {
  return createHash('sha256').update(JSON.stringify(data) ?? '').digest('hex')
}

/** What `memoryKeys` takes. */
export interface MemoryKeysOptions {
  /** Keys that are remembered; the oldest go first. Default 10,000. */
  readonly keysMax?: number
  /** Time that an answer is kept, in milliseconds. Default a day. */
  readonly retentionMs?: number
  /** Default: the machine's. */
  readonly clock?: Clock
}

/** Keys in the memory of this process: other instances, and this one after a restart, do not know them. */
export function memoryKeys(options: MemoryKeysOptions = {}): IdempotencyKeys {
  return new MemoryKeys(options)
}

interface Entry {
  readonly fingerprint: string
  readonly expiresAtMs: number
  response: KeptResponse | undefined
}

class MemoryKeys implements IdempotencyKeys {
  readonly #entries = new Map<string, Entry>()
  readonly #keysMax: number
  readonly #retentionMs: number
  readonly #clock: Clock

  constructor({ keysMax = 10_000, retentionMs = 86_400_000, clock = systemClock }: MemoryKeysOptions) {
    this.#keysMax = wholeInRange('keysMax', keysMax, 1, 10_000_000)
    this.#retentionMs = wholeInRange('retentionMs', retentionMs, 1, 31_536_000_000)
    this.#clock = clock
  }

  begin(key: string, fingerprint: string): Promise<Begun> {
    return Promise.resolve(this.#begun(key, fingerprint))
  }

  #begun(key: string, fingerprint: string): Begun {
    const nowMs = this.#clock.monotonicMs()
    const known = this.#entries.get(key)
    if (known !== undefined && known.expiresAtMs > nowMs) {
      if (known.fingerprint !== fingerprint) return { kind: 'reused' }
      return known.response === undefined ? { kind: 'in-progress' } : { kind: 'answered', response: known.response }
    }
    this.#entries.delete(key)
    this.#entries.set(key, { fingerprint, expiresAtMs: nowMs + this.#retentionMs, response: undefined })
    const oldest = this.#entries.size > this.#keysMax ? this.#entries.keys().next() : undefined
    if (oldest?.done === false) this.#entries.delete(oldest.value)
    return { kind: 'new' }
  }

  finish(key: string, fingerprint: string, response: KeptResponse): Promise<void> {
    const entry = this.#entries.get(key)
    if (entry?.fingerprint === fingerprint) entry.response = response
    return Promise.resolve()
  }

  abandon(key: string, fingerprint: string): Promise<void> {
    const entry = this.#entries.get(key)
    if (entry?.fingerprint === fingerprint && entry.response === undefined) this.#entries.delete(key)
    return Promise.resolve()
  }
}
