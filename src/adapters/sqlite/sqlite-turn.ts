import type { SqliteConnection } from './sqlite-connection.ts'
import type { SqliteFailure } from './sqlite-driver.ts'

/** What one transaction has done that others want to know after its commit. */
export class SqliteTurn {
  readonly connection: SqliteConnection
  /** Groups that have something to claim now. */
  readonly groups: Set<number> = new Set()
  /** Where events and commands go, read once per transaction. */
  readonly routes: Map<string, SqliteRoute> = new Map()
  /** Another process may have something to do. */
  wakesOthers = false
  /** This process has something in its light-plane inbox. */
  wakesInbox = false
  /** Events appended to the log. */
  appended = 0
  /** Rows that got a number from one of the sequences of the store, the events among them. Never more than there are. */
  numbered = 0

  constructor(connection: SqliteConnection) {
    this.connection = connection
  }

  /** Notes rows of a table that `SqliteChanges` watches. */
  number(rows: number): void {
    this.numbered += rows
    this.wakesOthers = true
  }

  /** Forgets what a savepoint has undone. A wake-up too many does no harm; a group that does not exist would. */
  backTo(before: { readonly appended: number; readonly numbered: number }): void {
    this.routes.clear()
    this.appended = before.appended
    this.numbered = before.numbered
  }
}

/** Who gets a type. */
export interface SqliteRoute {
  readonly groups: readonly { readonly id: number; readonly isOrdered: boolean }[]
  /** Addresses of instances that listen without durability. */
  readonly listeners: readonly string[]
}

/** What jobs and units have in common. */
interface SqliteQueued {
  /** Weight for the bound of a transaction. */
  readonly bytes: number
  /** Given up before its turn came. */
  readonly isCancelled: boolean
  /** The transaction was committed. */
  done(): void
  /** True where what could not be done is not to be tried again. */
  isExpired(nowMs: number, failure: SqliteFailure): boolean
  /** It was not done and never will be. */
  fail(failure: SqliteFailure, thrown: unknown): void
}

/** One thing to be done in a transaction that it may share with others. */
export interface SqliteJob extends SqliteQueued {
  readonly isUnit: false
  /** Writes. It may run several times before one commit succeeds, so it changes nothing but the database. */
  run(turn: SqliteTurn): void
}

/** How the function of a unit has ended. */
export type SqliteUnitEnd = { readonly kind: 'returned' } | { readonly kind: 'failed'; readonly error: unknown }

/** Somebody's function in a transaction that it may share with others, behind a savepoint of its own. It may wait while it runs. */
export interface SqliteUnit extends SqliteQueued {
  readonly isUnit: true
  /** Set where a commit was refused and nobody knows because of whom: then it gets a transaction of its own. */
  isAlone: boolean
  /** True where its turn comes too late. */
  isLate(nowMs: number): boolean
  /** Runs it. It never rejects. After the end nothing is written any more. */
  run(turn: SqliteTurn): Promise<SqliteUnitEnd>
  /** Ends a run from outside, with this error; without effect when it has ended. */
  stop(error: unknown): void
  /** It was undone, or never begun, because of this. */
  failWith(error: unknown): void
}

/** What joins the end of a transaction, or has one of its own. */
export interface SqliteTurnTail {
  /** True where it has something to do; asked only when no job waits. */
  wants(connection: SqliteConnection): boolean
  run(turn: SqliteTurn): void
  done(): void
}
