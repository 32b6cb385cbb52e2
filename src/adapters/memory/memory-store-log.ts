import { TrunklineError } from '../../core/errors.ts'
import type {
  Appended, EventLog, ExpectedRevision, FollowOptions, LogCapabilities, LogPage, NewEvent, ReadQuery, Selection, StreamMetadata,
} from '../../store/port.ts'
import type { MemoryData } from './memory-store-data.ts'
import { runStaged } from './memory-store-run.ts'

/** What the event log of a memory database can do. */
export const memoryLogCapabilities: LogCapabilities = { canCommitRows: true, canCommitStreams: true, survivesProcessDeath: false }

/** The event log of a memory database, as one program has it open. */
export class MemoryLog implements EventLog {
  readonly capabilities: LogCapabilities = memoryLogCapabilities
  readonly #open: () => MemoryData
  /** Aborts when the store is closed. */
  readonly #closing: () => AbortSignal
  readonly #origin: object

  constructor(open: () => MemoryData, closing: () => AbortSignal, origin: object) {
    this.#open = open
    this.#closing = closing
    this.#origin = origin
  }

  async append(stream: string, expected: ExpectedRevision, events: readonly NewEvent[]): Promise<Appended> {
    const data = this.#open()
    return await runStaged(data, this.#origin, {}, ({ events: staged }) => Promise.resolve().then(() => staged.append(stream, expected, events, data.nowMs)))
  }

  async read(query: ReadQuery): Promise<LogPage> {
    const data = this.#open()
    return await Promise.resolve(data.events.read(query, data.nowMs))
  }

  async *follow(selection: Selection, after: bigint | undefined, { pageMax, signal }: FollowOptions): AsyncGenerator<LogPage, void, undefined> {
    const data = this.#open()
    const closing = this.#closing()
    let cursor = after
    let wasEnd = false
    while (!signal.aborted) {
      if (closing.aborted) throw new TrunklineError('store.down', { store: 'memory', problem: 'the store was closed' })
      const { position } = data.events
      const page = data.events.read({ selection, direction: 'forwards', after: cursor, limit: pageMax }, data.nowMs)
      if (page.events.length > 0 || !wasEnd) yield page
      cursor = page.cursor
      wasEnd = page.isEnd
      if (page.isEnd) await data.events.changed(position, [signal, closing])
    }
  }

  async head(): Promise<bigint | undefined> {
    const { position } = this.#open().events
    return await Promise.resolve(position === 0n ? undefined : position)
  }

  async metadata(stream: string): Promise<StreamMetadata> {
    return await Promise.resolve(this.#open().events.metadata(stream))
  }

  async setMetadata(stream: string, metadata: StreamMetadata): Promise<void> {
    this.#open().events.setMetadata(stream, metadata)
    await Promise.resolve()
  }
}
