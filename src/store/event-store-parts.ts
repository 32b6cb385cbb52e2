import type { Clock } from '../core/clock.ts'
import type { WireMessage } from '../core/envelope.ts'
import type { Logger } from '../core/logger.ts'
import type { Random } from '../core/random.ts'
import type { EventMaker, Fact } from './fact.ts'
import type { Appended, CheckpointTable, EventLog, ExpectedRevision, LeaseTable, NewEvent, StoreTransaction, StreamMetadata } from './port.ts'

/** What an event store gets from its database while that is open. */
export interface EventStoreParts {
  readonly log: EventLog
  readonly checkpoints: CheckpointTable
  readonly leases: LeaseTable
  readonly messages: EventMaker
  readonly clock: Clock
  readonly random: Random
  readonly logger: Logger
  readonly instance: string
  readonly leaseMs: number
  /** Appends so that public events leave with the commit. */
  readonly append: (stream: string, expected: ExpectedRevision, facts: readonly Fact[], hasPublic: boolean, events: readonly NewEvent[]) => Promise<Appended>
  /** Replaces the settings of a stream, outside units of work. */
  readonly setMetadata: (stream: string, metadata: StreamMetadata) => Promise<void>
  /** Runs in a transaction of its own; `unit` is what handlers get beside it. */
  readonly transact: <T>(work: (tx: StoreTransaction, unit: object) => Promise<T>, signal?: AbortSignal) => Promise<T>
  /** Calls `work` such that what it publishes was caused by the message. */
  readonly inScopeOf: <R>(message: WireMessage, work: () => R) => R
}
