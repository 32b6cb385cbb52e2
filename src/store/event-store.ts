import { type EventMaker, type Fact, newEvents } from './fact.ts'
import type { Appended, CheckpointTable, EventLog, ExpectedRevision, NewEvent } from './port.ts'
import { checkedExpectation, checkedStream } from './streams.ts'

/** What an event store gets from its database while that is open. */
export interface EventStoreParts {
  readonly log: EventLog
  readonly checkpoints: CheckpointTable
  readonly messages: EventMaker
  /** Appends so that public events leave with the commit. */
  readonly append: (stream: string, expected: ExpectedRevision, facts: readonly Fact[], hasPublic: boolean, events: readonly NewEvent[]) => Promise<Appended>
}

/** Streams of events in one database. */
export class EventStore {
  readonly #parts: (operation: string) => EventStoreParts

  constructor(parts: (operation: string) => EventStoreParts) {
    this.#parts = parts
  }

  /**
   * Appends events to a stream, all or none; those of public contracts go to the bus with the commit.
   *
   * Give the facts ids of your own, or keep the facts, to repeat an append whose outcome is unknown: the same events with the same
   * expectation are there once.
   *
   * @param expected the revision of the stream's last event, or `noStream`, or `any` to give up the check.
   * @throws `store.wrong_revision`, `contract.*`, `store.down`, `store.refused`, `outbox.not_attached`.
   */
  async append(stream: string, expected: ExpectedRevision, facts: readonly Fact[]): Promise<Appended> {
    const { messages, append } = this.#parts('append')
    const events = newEvents(messages, facts)
    return await append(checkedStream(stream), checkedExpectation(expected), facts, events.some(({ isPublic }) => isPublic), events)
  }
}
