/** What keeps the rows. */
export type StoreKind = 'sqlite' | 'postgres'
/** What carries the messages. */
export type TransportKind = 'sqlite' | 'nats' | 'rabbitmq' | 'postgres'
/** A bug that is planted on purpose, to see the torture find it. */
export type Planted = 'ack-before-commit' | 'no-inbox' | 'delete-before-publish' | 'none'

/** Which processes there are. */
export const ROLES = ['producer', 'ledger', 'audit', 'relay'] as const
export type Role = (typeof ROLES)[number]

/** Everything that a process needs to know; travels as JSON. */
export interface WorkerPlan {
  readonly role: Role
  readonly instance: number
  readonly store: StoreKind
  readonly transport: TransportKind
  /** File of SQLite, or URL of PostgreSQL. */
  readonly storeAddress: string
  readonly transportAddress: string
  readonly accounts: number
  /** Transfers a second that each producer asks for. */
  readonly perSecond: number
  readonly planted: Planted
  /** Producers stop when this file exists. */
  readonly stopFile: string
}

/** Each account begins with this. */
export const OPENING_CENTS = 1_000_000
