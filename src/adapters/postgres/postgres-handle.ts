import { TrunklineError } from '../../core/errors.ts'
import { gatherWrites, type PgPoolClient, type PgResult } from './postgres-client.ts'
import type { Joined } from './postgres-joined.ts'

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

/** How a transaction begins. */
export interface PgBeginning {
  /** Begins it. */
  readonly alone: () => Promise<unknown>
  /** Begins it together with a statement; undefined, and nothing is sent, where that cannot be. */
  readonly with: (query: unknown, values: unknown) => Joined | undefined
}

/**
 * A `PgHandle` that ends with its transaction, so that a statement that comes late cannot run in somebody else's. The transaction begins with
 * its first statement.
 */
export class PgUnitHandle implements PgHandle {
  readonly #client: PgPoolClient
  readonly #isPipelined: boolean
  readonly #beginning: PgBeginning
  #begun: Promise<void> | undefined
  #hasBegun = false
  #last: Promise<unknown> = Promise.resolve()
  readonly #waiters: (() => void)[] = []
  #running = 0
  #isOver = false

  /** @param isPipelined true where the client takes a statement before those before it were answered, and keeps their order. */
  constructor(client: PgPoolClient, isPipelined: boolean, beginning: PgBeginning) {
    this.#client = client
    this.#isPipelined = isPipelined
    this.#beginning = beginning
  }

  // The row type is the caller's claim about the statement, as in the client's own types.
  readonly query = <Row>(query: string | PgHandleQuery, values?: readonly unknown[]): Promise<PgHandleResult<Row>> => {
    const first = this.first(() => this.#beginning.with(query, values))
    return first === undefined ? this.turn(() => this.#raw(query, values)) : resultOf(first)
  }

  /** True once it takes no more statements. */
  get isOver(): boolean {
    return this.#isOver
  }

  /** True once something was sent. */
  get hasBegun(): boolean {
    return this.#begun !== undefined
  }

  /** Resolves when the transaction has begun. */
  began(): Promise<void> {
    this.#begun ??= this.#beginAlone()
    return this.#begun
  }

  /** Runs something on the connection after what was started before. */
  turn<T>(work: () => Promise<T>): Promise<T> {
    if (this.#isOver) return Promise.reject(new TrunklineError('outbox.unit_over', { operation: 'a statement' }))
    if (this.#hasBegun && this.#isPipelined) {
      gatherWrites(this.#client)
      return this.#counted(work())
    }
    if (this.#hasBegun && this.#running === 0) return this.#counted(work())
    // Nothing of the caller's is sent before the database has said that the transaction has begun.
    return this.#counted(this.#isPipelined ? this.began().then(work) : Promise.all([this.began(), this.#last]).then(work))
  }

  /** Begins the transaction with a statement; undefined, and nothing is sent, where it has begun before, is over, or `send` sends nothing. */
  first(send: () => Joined | undefined): Promise<readonly PgResult[]> | undefined {
    if (this.#isOver || this.hasBegun) return undefined
    const sent = send()
    if (sent === undefined) return undefined
    const { results, hasBegun } = sent
    // The statement may have failed in a transaction that has begun, or never have left.
    this.#begun = results.then(() => true, hasBegun).then(async (isInside) => {
      if (isInside) this.#hasBegun = true
      else await this.#beginAlone()
    })
    this.#begun.catch(() => undefined)
    return this.#counted(results)
  }

  async #beginAlone(): Promise<void> {
    await this.#beginning.alone()
    this.#hasBegun = true
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

/** The result of the first statement, and a stack that leads to whoever sent it, as the client makes it. */
async function resultOf<Row>(first: Promise<readonly PgResult[]>): Promise<PgHandleResult<Row>> {
  try {
    const [result] = await first
    // oxlint-disable-next-line typescript/no-unsafe-type-assertion -- the row type is the caller's claim, as above
    return result as PgHandleResult<Row>
  } catch (error) {
    if (error instanceof Error) Error.captureStackTrace(error)
    throw error
  }
}
