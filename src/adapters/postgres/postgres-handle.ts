import { TrunklineError } from '../../core/errors.ts'
import { inOneWrite, type PgPoolClient } from './postgres-client.ts'

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

/**
 * A `PgHandle` that ends with its transaction, so that a statement that comes late cannot run in somebody else's. The transaction begins with
 * its first statement.
 */
export class PgUnitHandle implements PgHandle {
  readonly #client: PgPoolClient
  readonly #isPipelined: boolean
  readonly #begin: (isMarked: boolean) => Promise<unknown>
  #beginning: Promise<void> | undefined
  #hasBegun = false
  #last: Promise<unknown> = Promise.resolve()
  readonly #waiters: (() => void)[] = []
  #running = 0
  #isOver = false

  /**
   * @param isPipelined true where the client takes a statement before those before it were answered, and keeps their order.
   * @param begin begins the transaction, and where it is told to, sets `UNIT_MARK` for as long as that lasts.
   */
  constructor(client: PgPoolClient, isPipelined: boolean, begin: (isMarked: boolean) => Promise<unknown>) {
    this.#client = client
    this.#isPipelined = isPipelined
    this.#begin = begin
  }

  // The row type is the caller's claim about the statement, as in the client's own types.
  readonly query = <Row>(query: string | PgHandleQuery, values?: readonly unknown[]): Promise<PgHandleResult<Row>> => {
    return this.turn(() => this.#raw(query, values))
  }

  /** True once it takes no more statements. */
  get isOver(): boolean {
    return this.#isOver
  }

  /** True once something was sent. */
  get hasBegun(): boolean {
    return this.#beginning !== undefined
  }

  /** Resolves when the transaction has begun. */
  began(isMarked = false): Promise<void> {
    this.#beginning ??= this.#begin(isMarked).then(() => {
      this.#hasBegun = true
    })
    return this.#beginning
  }

  /** Runs something on the connection after what was started before. */
  turn<T>(work: () => Promise<T>): Promise<T> {
    if (this.#isOver) return Promise.reject(new TrunklineError('outbox.unit_over', { operation: 'a statement' }))
    if (this.#hasBegun && (this.#isPipelined || this.#running === 0)) return this.#counted(work())
    // Nothing of the caller's is sent before the database has said that the transaction has begun.
    return this.#counted(this.#isPipelined ? this.began().then(work) : Promise.all([this.began(), this.#last]).then(work))
  }

  /** The same for what may travel together with the beginning; it is told whether it is known to be inside the transaction. */
  firstTurn<T>(work: (isInside: boolean) => Promise<T>): Promise<T> {
    if (this.#isOver || this.hasBegun || !this.#isPipelined) return this.turn(() => work(true))
    const [begun, result] = inOneWrite(this.#client, () => [this.began(true), work(false)] as const)
    // Where it could not begin, that is the reason; what was sent is waited for all the same.
    return this.#counted(Promise.allSettled([begun, result]).then(() => begun).then(() => result))
  }

  #counted<T>(result: Promise<T>): Promise<T> {
    this.#running++
    this.#last = result.then(() => this.#ended(), () => this.#ended())
    return result
  }

  /** Takes no more statements; resolves when those that were started have ended. */
  async end(): Promise<void> {
    this.#isOver = true
    if (this.#running > 0) await new Promise<void>((resolve) => this.#waiters.push(resolve))
  }

  #ended(): void {
    if (--this.#running === 0) for (const resolve of this.#waiters.splice(0)) resolve()
  }

  #raw(query: unknown, values: unknown): Promise<PgHandleResult<never>> {
    const client: { readonly query: unknown } = this.#client
    // The port of the client names one of the forms that it takes; the caller may use all of them.
    const run = client.query as RawQuery
    return run.call(this.#client, query, values)
  }
}
