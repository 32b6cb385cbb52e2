import { TrunklineError } from '../../core/errors.ts'
import type { PgPool, PgPoolClient, PgQuery, PgResult, PgRow } from './postgres-client.ts'
import { failureOf, STORE, storeError } from './postgres-errors.ts'
import { joined, type Joined, type JoinOptions } from './postgres-joined.ts'
import type { PgStatement } from './postgres-rows.ts'

type Around = Pick<JoinOptions, 'beginning' | 'isCommitting'>

/** What statements run on: the pool, one transaction, or a transaction of the caller's. */
export interface PgExecutor {
  /** Runs a statement; resolves with its rows. @throws `store.*`. */
  run(statement: PgStatement, values: readonly unknown[]): Promise<readonly PgRow[]>
}

/** What the statements of one unit of work run on. */
export interface PgUnitExecutor extends PgExecutor {
  /** Runs the last statement of a transaction. It may be sent together with the commit, which then fails as it does. */
  runLast(statement: PgStatement, values: readonly unknown[]): Promise<void>
}

/** How statements are sent. */
export interface PgSendOptions {
  readonly isPreparing: boolean
  readonly queryTimeoutMs: number
  /** True where the connections send a statement without waiting for the answer to the one before. */
  readonly isPipelined: boolean
}

/** The statement as the client takes it. */
export function queryOf(statement: PgStatement, values: readonly unknown[], { isPreparing, queryTimeoutMs }: Pick<PgSendOptions, 'isPreparing' | 'queryTimeoutMs'>): PgQuery {
  const query = { text: statement.text, values: [...values], query_timeout: queryTimeoutMs }
  return isPreparing ? { ...query, name: statement.name } : query
}

/** Rows as objects; the client gives nothing else where no row mode is asked for. */
export function rowsOf(result: PgResult): readonly PgRow[] {
  return result.rows.filter(isRow)
}

function isRow(row: unknown): row is PgRow {
  return typeof row === 'object' && row !== null
}

/** A transaction that somebody else has opened and will commit: every statement goes by itself. */
export abstract class PgPlainExecutor implements PgUnitExecutor {
  abstract run(statement: PgStatement, values: readonly unknown[]): Promise<readonly PgRow[]>

  async runLast(statement: PgStatement, values: readonly unknown[]): Promise<void> {
    await this.run(statement, values)
  }
}

/** A connection lent by the pool until `end`. Whatever breaks it meanwhile reaches whoever waits, and nobody else (P-22). */
export class PgSession implements PgExecutor {
  readonly #client: PgPoolClient
  readonly #options: PgSendOptions
  readonly #onError: (error: Error) => void
  #isBroken = false
  #isEnded = false
  /** Set by whoever has ended a transaction on it: nothing of it is left on the connection. */
  isIdle = false

  private constructor(client: PgPoolClient, options: PgSendOptions) {
    this.#client = client
    this.#options = options
    this.#onError = () => {
      this.#isBroken = true
    }
    client.on('error', this.#onError)
  }

  /** Takes a connection. @throws `store.down` where none is to be had. */
  static async take(pool: PgPool, options: PgSendOptions): Promise<PgSession> {
    try {
      return new PgSession(await pool.connect(), options)
    } catch (error) {
      throw storeError(error)
    }
  }

  /** True where statements are sent without waiting for the answers to those before. */
  get isPipelined(): boolean {
    return this.#options.isPipelined
  }

  /** The client itself, for the caller's own statements. */
  get client(): PgPoolClient {
    return this.#client
  }

  async run(statement: PgStatement, values: readonly unknown[]): Promise<readonly PgRow[]> {
    return rowsOf(await this.send(queryOf(statement, values, this.#options)))
  }

  /** Sends a statement with what begins or ends its transaction; undefined, and nothing is sent, where that cannot be. */
  joined(statement: PgStatement, values: readonly unknown[], around: Around): Joined | undefined {
    if (this.#isEnded) return undefined
    const sent = joined(this.#client, { ...around, ...this.#options }, queryOf(statement, values, this.#options))
    return sent === undefined ? undefined : { ...sent, results: sent.results.catch((error: unknown) => this.#failed(error)) }
  }

  /** The same for a statement of the caller's, whose errors stay as they are. */
  joinedRaw(query: unknown, values: unknown, around: Around): Joined | undefined {
    const { isPreparing } = this.#options
    return this.#isEnded ? undefined : joined(this.#client, { ...around, isPreparing }, query, values)
  }

  /** Runs a text without values; several statements are allowed. Resolves with the last one's result. */
  async runText(text: string, timeoutMs: number = this.#options.queryTimeoutMs): Promise<PgResult> {
    const answer: PgResult | readonly PgResult[] = await this.send({ text, query_timeout: timeoutMs })
    if (!isMany(answer)) return answer
    const last = answer.at(-1)
    if (last === undefined) throw new TrunklineError('core.invariant_broken', { expected: 'a result for every statement' })
    return last
  }

  /** @throws `store.*`. */
  async send(query: PgQuery): Promise<PgResult> {
    if (this.#isEnded) throw new TrunklineError('store.down', { store: STORE, problem: 'the connection was given back' })
    try {
      return await this.#client.query(query)
    } catch (error) {
      return this.#failed(error)
    }
  }

  /** @throws `store.*`. */
  #failed(error: unknown): never {
    // After a time limit of the client's own, the answer is still to come: the connection is of no use to anyone.
    if (failureOf(error) === 'down') this.#isBroken = true
    throw storeError(error)
  }

  /** Gives the connection back; one that broke, or is in the middle of something, is closed instead. Idempotent. */
  end(isClean: boolean): void {
    if (this.#isEnded) return
    this.#isEnded = true
    const isKept = isClean && !this.#isBroken
    // A connection that is closed may fail once more while it closes.
    if (isKept) this.#client.off('error', this.#onError)
    this.#client.release(!isKept)
  }
}

function isMany(answer: PgResult | readonly PgResult[]): answer is readonly PgResult[] {
  return Array.isArray(answer)
}
