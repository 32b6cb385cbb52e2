/** What keeps the rows, or the events. */
export type StoreKind = 'sqlite' | 'postgres' | 'eventstoredb'
/** What carries the messages. */
export type TransportKind = 'sqlite' | 'nats' | 'rabbitmq' | 'postgres'
/** What is tortured together. */
export const PAIRS: readonly (readonly [StoreKind, TransportKind])[] = [
  ['sqlite', 'sqlite'], ['sqlite', 'nats'], ['sqlite', 'rabbitmq'], ['postgres', 'nats'], ['postgres', 'rabbitmq'], ['postgres', 'postgres'], ['eventstoredb', 'nats'],
]
/** What is tortured together with sagas. */
export const SAGA_PAIRS: readonly (readonly [StoreKind, TransportKind])[] = [['sqlite', 'sqlite'], ['postgres', 'nats'], ['postgres', 'rabbitmq'], ['eventstoredb', 'nats']]
/** A bug that is planted on purpose, to see the torture find it. */
export type Planted = 'ack-before-commit' | 'no-inbox' | 'delete-before-publish' | 'checkpoint-by-id' | SagaPlanted | 'none'
/** Bugs that only sagas can have. */
export type SagaPlanted = 'alarm-lost' | 'sent-before-append' | 'compensation-skipped' | 'conflict-burns-attempts'

/** Which processes there are. */
export type Role = 'producer' | 'ledger' | 'audit' | 'sagas' | 'relay'

/** Everything that a process needs to know; travels as JSON. */
export interface WorkerPlan {
  readonly role: Role
  readonly instance: number
  readonly store: StoreKind
  readonly transport: TransportKind
  /** File of SQLite, or URL of PostgreSQL or EventStoreDB. */
  readonly storeAddress: string
  readonly transportAddress: string
  readonly accounts: number
  /** Transfers a second that each producer asks for. */
  readonly perSecond: number
  readonly planted: Planted
  /** Each transfer is a saga. */
  readonly isSagas: boolean
  /** Producers stop when this file exists. */
  readonly stopFile: string
}

/** Each account begins with this. */
export const OPENING_CENTS = 1_000_000
/** Time after which the work of a dead or frozen process is taken over, in milliseconds. Freezes last longer. */
export const LEASE_MS = 2_000
