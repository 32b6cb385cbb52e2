import { inRange, wholeInRange } from '../bus/retry-policy.ts'
import type { InlineProjection } from './unit.ts'
import { type OptionNames, optionNames } from '../core/option-names.ts'

/** What every store accepts beside the options of its database. */
export interface StoreOptions {
  /** Whether this process may publish what waits in the outbox. With false another one has to. Default true. */
  readonly relay?: boolean
  /** Time after which the work of a process that died is taken over, in milliseconds. Default 15,000. */
  readonly leaseMs?: number
  /** Time that a message is remembered as handled, in milliseconds. Default 30 days. */
  readonly inboxRetentionMs?: number
  /** Time that bodies kept beside messages stay, in milliseconds. Default 30 days. */
  readonly bodyRetentionMs?: number
  /** Time for one unit of work, in milliseconds. Default: the database's own limit. */
  readonly unitTimeoutMs?: number
  /** Runs of one unit that the database gives up because of others, the first included. Default 5. */
  readonly conflictAttemptsMax?: number
  /** Messages that one shard of the outbox has on the way at the same time. Default 256. */
  readonly relayPageMax?: number
  /**
   * Messages that may wait in the outbox; while more do, units that publish fail with `bus.overloaded` and are tried again later. Looked
   * at once a second. Of no effect where messages go straight into the store's own transport. Default: any number.
   */
  readonly outboxWaitingMax?: number
  /**
   * Messages made before this instant are set aside by the relay as dead rows (`outbox.too_old`) instead of published: for a database that was
   * restored from a backup, whose outbox holds again what left it long ago. Default: all are published.
   */
  readonly publishNotBefore?: Date
  /** Projections that are part of every transaction that appends: always up to date, and paid for by the writer. */
  readonly inline?: readonly InlineProjection[]
}

/** Options with every default filled in. */
export interface StoreSettings {
  readonly relay: boolean
  readonly leaseMs: number
  readonly inboxRetentionMs: number
  readonly bodyRetentionMs: number
  readonly unitTimeoutMs: number | undefined
  readonly conflictAttemptsMax: number
  readonly relayPageMax: number
  readonly outboxWaitingMax: number | undefined
  readonly notBeforeMs: number | undefined
  readonly inline: readonly InlineProjection[]
}

const DAY_MS = 86_400_000

/** @throws `core.option_invalid`. */
export function storeSettings(options: StoreOptions): StoreSettings {
  return {
    relay: options.relay ?? true,
    leaseMs: inRange('leaseMs', options.leaseMs ?? 15_000, 500, DAY_MS),
    inboxRetentionMs: inRange('inboxRetentionMs', options.inboxRetentionMs ?? 30 * DAY_MS, 1_000, 3_650 * DAY_MS),
    bodyRetentionMs: inRange('bodyRetentionMs', options.bodyRetentionMs ?? 30 * DAY_MS, 1_000, 3_650 * DAY_MS),
    unitTimeoutMs: options.unitTimeoutMs === undefined ? undefined : inRange('unitTimeoutMs', options.unitTimeoutMs, 1, DAY_MS),
    conflictAttemptsMax: wholeInRange('conflictAttemptsMax', options.conflictAttemptsMax ?? 5, 1, 100),
    relayPageMax: wholeInRange('relayPageMax', options.relayPageMax ?? 256, 1, 10_000),
    outboxWaitingMax: options.outboxWaitingMax === undefined ? undefined : wholeInRange('outboxWaitingMax', options.outboxWaitingMax, 1, 1_000_000_000),
    notBeforeMs: options.publishNotBefore === undefined ? undefined : inRange('publishNotBefore', options.publishNotBefore.getTime(), 0, 8.64e15),
    inline: options.inline ?? [],
  }
}

const NAMES: OptionNames = optionNames<StoreOptions>({
  relay: true, leaseMs: true, inboxRetentionMs: true, bodyRetentionMs: true, unitTimeoutMs: true, conflictAttemptsMax: true, relayPageMax: true, outboxWaitingMax: true,
  publishNotBefore: true, inline: true,
})

/** Parts the options of the store from those of its database, which checks its own names. */
export function partedOptions<O extends object>(options: O & StoreOptions): { readonly store: StoreOptions; readonly database: O } {
  // What is no object is refused by the database's own check.
  const entries = typeof options === 'object' && options !== null ? Object.entries(options) : []
  const store: StoreOptions = Object.fromEntries(entries.filter(([name]) => NAMES.has(name)))
  // All that O asks for is still there: only names of the store, none of which it must have, were taken out.
  const database = Object.fromEntries(entries.filter(([name]) => !NAMES.has(name))) as O
  return { store, database }
}
