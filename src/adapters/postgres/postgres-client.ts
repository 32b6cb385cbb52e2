import { TrunklineError } from '../../core/errors.ts'

// The slice of `pg` that the adapter uses, in our own words, so that its types never reach our declarations.

/** One row: an object by column name, or an array in the statement's column order where it was asked for. */
export type PgRow = Readonly<Record<string, unknown>>

/** What a statement answers. */
export interface PgResult {
  /** The command tag's first word: `INSERT`, `COMMIT`; `ROLLBACK` where a commit did not commit (P-08). */
  readonly command: string
  readonly rowCount: number | null
  readonly rows: readonly unknown[]
}

/** A statement as the client takes it. */
export interface PgQuery {
  readonly text: string
  readonly values?: unknown[]
  /** Prepared once per connection under this name; left out behind a pooler that moves sessions. */
  readonly name?: string
  readonly rowMode?: 'array'
  /** Longest wait for the answer, in milliseconds. */
  readonly query_timeout?: number
}

/** What came over `LISTEN`. */
export interface PgNotification {
  readonly channel: string
  readonly payload?: string | undefined
}

/** What a client writes to; both may be missing where another client stands in for `pg`. */
export interface PgSocketOwner {
  readonly connection?: { readonly stream?: { cork?(): void; uncork?(): void } }
}

/** A connection of its own. */
export interface PgClient extends PgSocketOwner {
  connect(): Promise<unknown>
  query(query: PgQuery): Promise<PgResult>
  on(event: 'error', listener: (error: Error) => void): unknown
  on(event: 'end', listener: () => void): unknown
  on(event: 'notification', listener: (notification: PgNotification) => void): unknown
  end(): Promise<void>
}

/** A connection lent by a pool. */
export interface PgPoolClient extends PgSocketOwner {
  query(query: PgQuery): Promise<PgResult>
  on(event: 'error', listener: (error: Error) => void): unknown
  off(event: 'error', listener: (error: Error) => void): unknown
  /** Gives it back; with true it is closed instead. */
  release(destroy?: boolean): void
}

/** A pool of `pg`. */
export interface PgPool {
  connect(): Promise<PgPoolClient>
  query(query: PgQuery): Promise<PgResult>
  on(event: 'error', listener: (error: Error) => void): unknown
  off(event: 'error', listener: (error: Error) => void): unknown
  end(): Promise<void>
}

/** Sends several statements with one write: each write is a call into the kernel, which costs more than everything else about a statement. */
export function inOneWrite<T>({ connection }: PgSocketOwner, send: () => T): T {
  const stream = connection?.stream
  if (stream?.cork === undefined || stream.uncork === undefined) return send()
  stream.cork()
  try {
    return send()
  } finally {
    stream.uncork()
  }
}

/** Sockets that hold back what is written to them until the running callback has ended. */
const GATHERING = new WeakSet<object>()

/** The same for all that is sent before the running callback, and what it resolves, has ended: the statements of a batch leave together. */
export function gatherWrites({ connection }: PgSocketOwner): void {
  const stream = connection?.stream
  if (stream?.cork === undefined || stream.uncork === undefined || GATHERING.has(stream)) return
  GATHERING.add(stream)
  stream.cork()
  process.nextTick(() => {
    GATHERING.delete(stream)
    stream.uncork?.()
  })
}

/** How a connection is made; names are those of `pg`. */
export interface PgConnectOptions {
  readonly connectionString?: string
  readonly host?: string
  readonly port?: number
  readonly database?: string
  readonly user?: string
  readonly password?: string | (() => string | Promise<string>)
  readonly ssl?: boolean | Readonly<Record<string, unknown>>
  readonly application_name?: string
  readonly connectionTimeoutMillis: number
  readonly query_timeout?: number
  readonly statement_timeout?: number
  readonly lock_timeout?: number
  readonly idle_in_transaction_session_timeout?: number
  readonly keepAlive: boolean
  readonly keepAliveInitialDelayMillis: number
  /** Sends a query without waiting for the answer to the one before. */
  readonly pipeline?: boolean
}

/** The entry point of `pg`. */
export interface PgModule {
  readonly Pool: new (options: PgConnectOptions & { readonly max: number; readonly idleTimeoutMillis: number }) => PgPool
  readonly Client: new (options: PgConnectOptions) => PgClient
}

/**
 * Loads `pg`.
 *
 * @throws `core.peer_missing` where it is not installed.
 */
export async function loadPg(): Promise<PgModule> {
  try {
    const { Pool, Client } = await import('pg')
    return { Pool, Client }
  } catch (error) {
    if (!isMissing(error)) throw error
    throw new TrunklineError('core.peer_missing', { package: 'pg', install: 'npm install pg' }, { cause: error })
  }
}

/** A client that is there but broken must not be reported as absent. */
function isMissing(error: unknown): boolean {
  return error instanceof Error && 'code' in error && error.code === 'ERR_MODULE_NOT_FOUND' && error.message.includes("'pg'")
}
