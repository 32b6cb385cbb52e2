import type { EventContract } from '../contract/contract.ts'
import { instantText } from '../core/clock.ts'
import type { Logger } from '../core/logger.ts'
import type { EventStore, FollowedPage } from '../store/event-store.ts'
import type { Selection } from '../store/port.ts'
import type { RecordedEvent } from '../store/recorded.ts'
import type { EventSource } from './event-client.ts'
import { eventText } from './event-text.ts'
import type { StreamedEvent } from './stream-route.ts'

/** What a follower of a log needs. */
export interface EventLogSourceParts {
  readonly events: EventStore
  readonly selection: Selection
  readonly contracts: readonly EventContract[]
  readonly after: bigint | undefined
  readonly pageMax: number
  readonly logger: Logger
  readonly wants: (event: StreamedEvent, tenant: string | undefined) => boolean
}

/** Follows a log for one caller, page by page as the caller takes them. */
export class EventLogSource implements EventSource {
  readonly #parts: EventLogSourceParts
  readonly #leaving = new AbortController()
  readonly #pages: AsyncGenerator<FollowedPage<EventContract>, void, undefined>
  #cursor: bigint | undefined

  constructor(parts: EventLogSourceParts) {
    this.#parts = parts
    this.#cursor = parts.after
    this.#pages = parts.events.followPages(parts.selection, parts.contracts, { after: parts.after, signal: this.#leaving.signal, pageMax: parts.pageMax })
  }

  get cursor(): bigint | undefined {
    return this.#cursor
  }

  async next(): Promise<string | undefined> {
    for (;;) {
      const { done, value } = await this.#pages.next()
      if (done === true) return undefined
      // What no reader can read is passed over, or everybody would come again and again and get no further.
      for (const error of value.unreadable) this.#parts.logger.warn({ err: error }, 'an event stream passes over an event that cannot be read')
      const text = value.events.map((event) => this.#textOf(event)).join('')
      this.#cursor = value.cursor ?? this.#cursor
      if (text !== '') return text
    }
  }

  close(): void {
    this.#leaving.abort()
    this.#pages.return().catch(() => {})
  }

  #textOf(recorded: RecordedEvent): string {
    const { selection, wants } = this.#parts
    const { id, source, type, storedAtMs, version, correlationId, key, tenant, data, revision, position } = recorded
    const event: StreamedEvent = {
      specversion: '1.0', id, source, type, time: instantText(storedAtMs), dataversion: version, correlationid: correlationId, ...(key === undefined ? {} : { partitionkey: key }), data,
    }
    return wants(event, tenant) ? eventText(event, selection.kind === 'stream' ? revision : position) : ''
  }
}
