import { TrunklineError } from '../../core/errors.ts'
import type { PgPoolClient } from './postgres-client.ts'

/** What a statement of the caller's answers: the result of `pg`, of which these fields are promised. */
export interface PgHandleResult<Row> {
  readonly command: string
  readonly rowCount: number | null
  readonly rows: Row[]
}

/** A statement as `pg` takes it. */
export interface PgHandleQuery {
  readonly text: string
  readonly values?: readonly unknown[] | undefined
  /** A statement with a name is prepared once per connection. Not behind a pooler in transaction mode. */
  readonly name?: string | undefined
}

/**
 * The connection of a transaction, for the caller's own statements. It has the `query` of a `pg` client, and gives its results and
 * errors unchanged. Statements that are started side by side run one after the other.
 */
export interface PgHandle {
  query<Row = Record<string, unknown>>(text: string, values?: readonly unknown[]): Promise<PgHandleResult<Row>>
  query<Row = Record<string, unknown>>(query: PgHandleQuery): Promise<PgHandleResult<Row>>
}

/** The slice of a client that is promised to nobody but forwarded to. */
type RawQuery = (query: unknown, values: unknown) => Promise<PgHandleResult<never>>

/** A `PgHandle` that ends with its transaction, so that a statement that comes late cannot run in somebody else's. */
export class PgUnitHandle implements PgHandle {
  readonly #client: PgPoolClient
  #last: Promise<unknown> = Promise.resolve()
  #running = 0
  #isOver = false

  constructor(client: PgPoolClient) {
    this.#client = client
  }

  // The row type is the caller's claim about the statement, as in the client's own types.
  readonly query = <Row>(query: string | PgHandleQuery, values?: readonly unknown[]): Promise<PgHandleResult<Row>> => {
    return this.turn(() => this.#raw(query, values))
  }

  /** Runs something on the connection after what was started before: the client wants one at a time. */
  turn<T>(work: () => Promise<T>): Promise<T> {
    if (this.#isOver) return Promise.reject(new TrunklineError('outbox.unit_over', { operation: 'a statement' }))
    const result = this.#running === 0 ? work() : this.#last.then(work)
    this.#running++
    this.#last = result.then(() => this.#ended(), () => this.#ended())
    return result
  }

  /** Takes no more statements; resolves when those that were started have ended. */
  async end(): Promise<void> {
    this.#isOver = true
    while (this.#running > 0) await this.#last
  }

  #ended(): void {
    this.#running--
  }

  #raw(query: unknown, values: unknown): Promise<PgHandleResult<never>> {
    const client: { readonly query: unknown } = this.#client
    // The port of the client names one of the forms that it takes; the caller may use all of them.
    const run = client.query as RawQuery
    return run.call(this.#client, query, values)
  }
}
