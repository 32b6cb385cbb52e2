import type { StoreBackend } from '../outbox/port.ts'
import type { LogCapabilities } from '../store/port.ts'

/** What a case is about; one file of cases each. */
export type StoreFamily =
  | 'log' | 'follow' | 'metadata' | 'units' | 'writers' | 'checkpoints' | 'leases' | 'inbox' | 'outbox' | 'timers' | 'bodies'

/** The families in the order of the matrix. */
export const storeFamilies: readonly StoreFamily[] = [
  'log', 'follow', 'metadata', 'units', 'writers', 'checkpoints', 'leases', 'inbox', 'outbox', 'timers', 'bodies',
]

/** Parts of a store that some technologies do not have: a whole family of cases, or one of the others. */
export type StorePart =
  | StoreFamily
  /** Business rows beside events: `StorePlace.rows`. */
  | 'business rows'
  /** The store's own transport. */
  | 'own transport'
  /** Events that a stream's settings end are gone from the whole log and from categories too. */
  | 'truncation everywhere'

/** A store under test. */
export interface StoreSubject {
  /** For test names and for the matrix: `postgres`. */
  readonly name: string
  /** What its log declares. */
  readonly capabilities: LogCapabilities
  /** Parts that this technology does not have, each with the reason; shown in the matrix. */
  readonly without?: Readonly<Partial<Record<StorePart, string>>>
  /** Longest wait for something that must happen, in milliseconds. Only failures reach it. Default 20,000. */
  readonly waitMsMax?: number
  /** Makes an empty database of its own for one case: a schema, a file, an object. Closed by the suite. */
  place(): Promise<StorePlace>
}

/** Where one case runs. */
export interface StorePlace {
  /** Another backend value on this database, as another process would make it. The suite opens and closes it. */
  make(): StoreBackend<unknown>
  /** A table of a user's in this database; made by `place`. */
  readonly rows?: BusinessRows
  /** Removes the database. Every backend is closed by then. */
  close(): Promise<void>
}

/** A table of a user's: texts with numbers. */
export interface BusinessRows {
  /** Writes a row on the handle of a transaction. */
  put(handle: unknown, id: string, value: number): Promise<void>
  /** Reads what is committed, outside any transaction. */
  read(id: string): Promise<number | undefined>
}
