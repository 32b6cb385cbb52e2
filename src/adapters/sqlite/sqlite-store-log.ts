import { TrunklineError, isTrunklineError } from '../../core/errors.ts'
import type { Appended, EventLog, ExpectedRevision, FollowOptions, LogCapabilities, LogPage, NewEvent, ReadQuery, Selection, StreamMetadata } from '../../store/port.ts'
import type { SqliteChanges } from './sqlite-changes.ts'
import type { SqliteStoreAccess } from './sqlite-store-access.ts'
import { appendEvents, headOf, metadataOf, readEvents, storeMetadata } from './sqlite-store-events.ts'

/** What the event log of a SQLite file can do. */
export const sqliteLogCapabilities: LogCapabilities = { canCommitRows: true, canCommitStreams: true, survivesProcessDeath: true }

/** The event log in a file. Positions are in commit order and have no gaps, so that a reader may pass whatever it sees. */
export class SqliteLogTable implements EventLog {
  readonly capabilities: LogCapabilities = sqliteLogCapabilities
  readonly #access: SqliteStoreAccess
  readonly #open: () => { readonly changes: SqliteChanges; readonly closing: AbortSignal }

  constructor(access: SqliteStoreAccess, open: () => { readonly changes: SqliteChanges; readonly closing: AbortSignal }) {
    this.#access = access
    this.#open = open
  }

  async append(stream: string, expected: ExpectedRevision, events: readonly NewEvent[]): Promise<Appended> {
    const answer = await this.#access.write((turn) => {
      try {
        return appendEvents(turn, this.#access.nowMs, stream, expected, events)
      } catch (thrown) {
        // Nothing was written: the others of the transaction need not be run again because of it.
        if (isTrunklineError(thrown, 'store.wrong_revision')) return thrown
        throw thrown
      }
    })
    if (answer instanceof TrunklineError) throw answer
    return answer
  }

  read(query: ReadQuery): Promise<LogPage> {
    return this.#access.read((connection) => readEvents(connection, this.#access.nowMs, query))
  }

  async *follow(selection: Selection, after: bigint | undefined, { pageMax, signal }: FollowOptions): AsyncGenerator<LogPage, void, undefined> {
    const { changes, closing } = this.#open()
    let cursor = after
    let wasEnd = false
    while (!signal.aborted) {
      if (closing.aborted) throw new TrunklineError('store.down', { store: 'sqlite', problem: 'the store was closed' })
      const { grown } = changes
      const page = await this.read({ selection, direction: 'forwards', after: cursor, limit: pageMax })
      // It may have been given up while the page was read.
      if (signal.aborted) return
      if (page.events.length > 0 || !wasEnd) yield page
      cursor = page.cursor
      wasEnd = page.isEnd
      if (page.isEnd) await changes.growsBeyond(grown, [signal, closing])
    }
  }

  head(): Promise<bigint | undefined> {
    return this.#access.read(headOf)
  }

  metadata(stream: string): Promise<StreamMetadata> {
    return this.#access.read((connection) => metadataOf(connection, stream))
  }

  setMetadata(stream: string, metadata: StreamMetadata): Promise<void> {
    return this.#access.write(({ connection }) => storeMetadata(connection, this.#access.nowMs, stream, metadata))
  }
}
