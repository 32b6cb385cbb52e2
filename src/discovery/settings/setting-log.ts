import { TrunklineError, isTrunklineError } from '../../core/errors.ts'
import type { EventStore } from '../../store/event-store.ts'
import { category } from '../../store/event-store.ts'
import { fact } from '../../store/fact.ts'
import type { RecordedEvent } from '../../store/recorded.ts'
import { type SettingChange, SettingChanged } from './setting-contracts.ts'
import { type SettingScope, scopeKey } from './setting-scope.ts'

/** The part of an event store that settings need. */
export type SettingEvents = Pick<EventStore, 'append' | 'read'>

/** A change as it was stored. */
export interface StoredSettingChange extends SettingChange {
  /** When it was stored, by the database's wall clock in milliseconds. */
  readonly atMs: number
}

/** What is to be stored. */
export type NewSettingChange = Omit<SettingChange, 'revision'>

const CATEGORY = 'settings'
const CONFLICTS_MAX = 10

/** Settings in an event store: one stream for each, and its revisions are the stream's. */
export class SettingLog {
  readonly #events: SettingEvents
  #position: bigint | undefined

  constructor(events: SettingEvents) {
    this.#events = events
  }

  /** What was stored since it was called last, of all settings. @throws `store.*`. */
  async news(): Promise<readonly SettingChange[]> {
    const found: SettingChange[] = []
    for await (const event of this.#events.read(category(CATEGORY), [SettingChanged], this.#position === undefined ? {} : { after: this.#position })) {
      found.push(changeOf(event))
      this.#position = event.position
    }
    return found
  }

  /** The changes of one setting, the last one first. @throws `store.*`. */
  async history(name: string, limit: number): Promise<readonly StoredSettingChange[]> {
    const found: StoredSettingChange[] = []
    for await (const event of this.#events.read(streamOf(name), [SettingChanged], { direction: 'backwards', limit })) found.push({ ...changeOf(event), atMs: event.storedAtMs })
    return found
  }

  /** What a scope had as of a revision; undefined where nothing had been set for it. @throws `discovery.setting_revision_missing`, `store.*`. */
  async asOf(name: string, revision: number, scope: SettingScope): Promise<SettingChange | undefined> {
    const key = scopeKey(scope)
    let found: SettingChange | undefined
    let last = -1
    for await (const event of this.#events.read(streamOf(name), [SettingChanged], { limit: revision + 1 })) {
      const change = changeOf(event)
      last = change.revision
      if (last <= revision && scopeKey(change.scope) === key) found = change
    }
    if (last < revision) throw new TrunklineError('discovery.setting_revision_missing', { setting: name, revision })
    return found
  }

  /** Stores a change. @throws `store.wrong_revision` where `expected` is given and is not the last revision, `store.*`. */
  async append(change: NewSettingChange, expected: number | undefined): Promise<SettingChange> {
    for (let attempt = 1; ; attempt++) {
      const last = expected ?? (await this.history(change.name, 1))[0]?.revision ?? -1
      try {
        const { revision } = await this.#events.append(streamOf(change.name), last < 0 ? 'noStream' : BigInt(last), [fact(SettingChanged, { ...change, revision: last + 1 })])
        return { ...change, revision: Number(revision) }
      } catch (error) {
        if (expected !== undefined || !isTrunklineError(error, 'store.wrong_revision') || attempt >= CONFLICTS_MAX) throw error
      }
    }
  }
}

function streamOf(name: string): string {
  return `${CATEGORY}-${name}`
}

/** The revision of the stream counts, whatever was written into the event. */
function changeOf({ data, revision }: RecordedEvent<string, SettingChange>): SettingChange {
  return { ...data, revision: Number(revision) }
}
