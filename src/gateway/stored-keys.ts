import { type EventContract } from '../contract/contract.ts'
import { event } from '../contract/define.ts'
import type { Schema, SchemaResult } from '../contract/schema.ts'
import { type Clock, systemClock } from '../core/clock.ts'
import { isTrunklineError } from '../core/errors.ts'
import { wholeInRange } from '../bus/retry-policy.ts'
import type { EventStore } from '../store/event-store.ts'
import { fact } from '../store/fact.ts'
import type { Begun, IdempotencyKeys, KeptResponse } from './idempotency.ts'
import { isRecord } from './json-shape.ts'

/** What `storedKeys` takes. */
export interface StoredKeysOptions {
  /** Time after which a request that was begun and never ended may be made again: its process is gone. Longer than any request. Default 120,000. */
  readonly leaseMs?: number
  /** Time that an answer is kept, in milliseconds. Default a day. */
  readonly retentionMs?: number
  /** Default: the machine's. */
  readonly clock?: Clock
}

/** What one event of a key's stream says. */
interface KeyNote {
  readonly step: 'begun' | 'answered' | 'abandoned'
  readonly fingerprint: string
  readonly response: KeptResponse | null
}

/** The schema of our own notes; the library has none of its own in its dependencies. */
const noteSchema: Schema<KeyNote> = {
  '~standard': {
    version: 1,
    vendor: 'trunkline',
    validate: (value): SchemaResult<KeyNote> => (isNote(value) ? { value } : { issues: [{ message: 'it is no note of an idempotency key' }] }),
  },
}

const KeyNoted: EventContract<'gateway.key-noted', { readonly input: KeyNote; readonly output: KeyNote; readonly replyInput: undefined; readonly replyOutput: undefined; readonly errors: object }> =
  event('gateway.key-noted', { schema: noteSchema })

function isNote(value: unknown): value is KeyNote {
  if (!isRecord(value) || typeof value['fingerprint'] !== 'string') return false
  const { step, response } = value
  if (step === 'begun' || step === 'abandoned') return response === null
  return step === 'answered' && isRecord(response) && typeof response['status'] === 'number' && isRecord(response['headers'])
}

/**
 * Keys in the event store, a stream for each: known to all instances, and after a restart. A request whose process died is in
 * progress until `leaseMs` are over; then it is made again with the same message id, by which a handler `within` a store recognises it.
 */
export function storedKeys(events: EventStore, options: StoredKeysOptions = {}): IdempotencyKeys {
  return new StoredKeys(events, options)
}

class StoredKeys implements IdempotencyKeys {
  readonly #events: EventStore
  readonly #leaseMs: number
  readonly #retentionMs: number
  readonly #clock: Clock

  constructor(events: EventStore, { leaseMs = 120_000, retentionMs = 86_400_000, clock = systemClock }: StoredKeysOptions) {
    this.#events = events
    this.#leaseMs = wholeInRange('leaseMs', leaseMs, 1, 86_400_000)
    this.#retentionMs = wholeInRange('retentionMs', retentionMs, 1, 31_536_000_000)
    this.#clock = clock
  }

  async begin(key: string, fingerprint: string): Promise<Begun> {
    const actual = await this.#noted(key, 'noStream', { step: 'begun', fingerprint, response: null })
    if (actual === undefined) return { kind: 'new' }
    const last = await this.#last(key)
    const isOver = last === undefined || last.ageMs >= (last.note.step === 'answered' ? this.#retentionMs : this.#leaseMs)
    if (!isOver && last.note.step !== 'abandoned') {
      if (last.note.fingerprint !== fingerprint) return { kind: 'reused' }
      return last.note.response === null ? { kind: 'in-progress' } : { kind: 'answered', response: last.note.response }
    }
    // Whoever comes first goes on; the other one finds it begun.
    const after = last?.revision ?? actual
    return (await this.#noted(key, after, { step: 'begun', fingerprint, response: null })) === undefined ? { kind: 'new' } : { kind: 'in-progress' }
  }

  async finish(key: string, fingerprint: string, response: KeptResponse): Promise<void> {
    const last = await this.#last(key)
    if (last?.note.step !== 'begun' || last.note.fingerprint !== fingerprint) return
    await this.#noted(key, last.revision, { step: 'answered', fingerprint, response })
    await this.#events.setMetadata(streamOf(key), { ageMaxMs: this.#retentionMs })
  }

  async abandon(key: string, fingerprint: string): Promise<void> {
    const last = await this.#last(key)
    if (last?.note.step !== 'begun' || last.note.fingerprint !== fingerprint) return
    await this.#noted(key, last.revision, { step: 'abandoned', fingerprint, response: null })
  }

  /** Undefined where it was appended, else the revision that the stream has. */
  async #noted(key: string, expected: bigint | 'noStream', note: KeyNote): Promise<bigint | undefined> {
    try {
      await this.#events.append(streamOf(key), expected, [fact(KeyNoted, note)])
      return undefined
    } catch (error) {
      if (!isTrunklineError(error, 'store.wrong_revision')) throw error
      const { actual } = error.details
      return /^\d+$/.test(actual) ? BigInt(actual) : -1n
    }
  }

  async #last(key: string): Promise<{ readonly note: KeyNote; readonly revision: bigint; readonly ageMs: number } | undefined> {
    for await (const { data, revision, storedAtMs } of this.#events.read(streamOf(key), [KeyNoted], { direction: 'backwards', limit: 1 })) {
      return { note: data, revision, ageMs: this.#clock.nowMs() - storedAtMs }
    }
    return undefined
  }
}

function streamOf(key: string): string {
  return `idempotency-${key}`
}
