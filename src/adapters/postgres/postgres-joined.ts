import type { PgPoolClient, PgResult } from './postgres-client.ts'

// PostgreSQL's frontend/backend protocol, "Pipelining": what is sent between two Syncs is one message to the server, answered at
// once, and after the first error the rest of it is skipped.

/** Begins a transaction. */
export const BEGIN = 'BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE'

/** A statement that was sent with others. */
export interface Joined {
  /** Its result, and behind it that of the commit, where there is one. */
  readonly results: Promise<readonly PgResult[]>
  /** True once the server has said that it ran what stood before. */
  readonly hasBegun: () => boolean
}

/** What travels with a statement. */
export interface JoinOptions {
  /** Settings of the transaction that begins with it, as statements; undefined where none begins. */
  readonly beginning: readonly string[] | undefined
  /** Commits after it. */
  readonly isCommitting: boolean
  /** True where the connection keeps prepared statements. */
  readonly isPreparing: boolean
  /** Longest wait for the answer, in milliseconds, where it differs from the connection's. */
  readonly queryTimeoutMs?: number | undefined
}

/** The part of the client's connection that matters here. */
interface WireConnection {
  readonly parsedStatements: Readonly<Record<string, unknown>>
  parse(statement: { readonly name: string; readonly text: string }): void
  bind(portal: { readonly portal: string; readonly statement: string; readonly values: readonly unknown[]; readonly valueMapper: (value: unknown) => unknown }): void
  execute(portal: { readonly portal: string; readonly rows: number }): void
  sync(): void
}

/** A statement as `pg` sends it and gathers its answer. */
interface RawQuery {
  name: string | undefined
  requiresPreparation(): boolean
  prepare(connection: WireConnection): void
  _getRows(connection: WireConnection, rows: number | undefined): void
  handleCommandComplete(message: unknown, connection: WireConnection): void
}

interface JoinedQuery extends RawQuery {
  readonly hasBegun: boolean
  query_timeout?: number
}

type Callback = (error: unknown, results?: PgResult | readonly PgResult[]) => void
type RawQueryClass = new (config: object | string, values: unknown, callback: Callback) => RawQuery
type JoinedClass = new (options: JoinOptions, config: object | string, values: unknown, callback: Callback) => JoinedQuery

const BEGIN_NAME = 'trunkline_begin'
const COMMIT_NAME = 'trunkline_commit'
const COMMIT = 'COMMIT'

/** Connections on which the beginning and the commit are prepared. */
const PREPARED = new WeakSet<object>()
const CLASSES = new WeakMap<RawQueryClass, JoinedClass>()

/**
 * Sends a statement together with the beginning or the end of its transaction: one round trip and one turn of the server instead of two or
 * three, and never a statement outside of a transaction that could not begin, because the server skips it then.
 *
 * `pg` means its queries to be extended, but what is overridden is not documented: undefined comes back, and nothing is sent, where a client
 * looks otherwise. The same for a statement that cannot travel like this: one without values and name, which may be several; one of another
 * class, such as a cursor; one that is to be prepared now, because the client would take the beginning's being prepared for its own.
 */
export function joined(client: PgPoolClient, options: JoinOptions, query: unknown, values?: unknown): Joined | undefined {
  const connection = connectionOf(client)
  const joinedClass = classOf(client)
  const config = typeof query === 'string' ? { text: query } : query
  if (connection === undefined || joinedClass === undefined || !isObject(config) || !canTravel(connection, options, config, values)) return undefined
  const { promise, resolve, reject } = Promise.withResolvers<readonly PgResult[]>()
  const callback: Callback = (error, answer) => {
    if (answer === undefined) reject(error)
    else resolve(isMany(answer) ? answer : [answer])
  }
  const sent = isPlain(config) ? plain(joinedClass, options, config, values, callback) : new joinedClass(options, config, values, callback)
  if (options.queryTimeoutMs !== undefined) sent.query_timeout = options.queryTimeoutMs
  const sender: { query(query: object): unknown } = client
  sender.query(sent)
  return { results: promise, hasBegun: () => sent.hasBegun }
}

/** A statement of which all is said here. */
interface PlainConfig {
  readonly text: string
  readonly values?: unknown
  readonly name?: string
}

/** The client copies a whole description property by property, which takes longer than sending it. */
function plain(joinedClass: JoinedClass, options: JoinOptions, config: PlainConfig, values: unknown, callback: Callback): JoinedQuery {
  const sent = new joinedClass(options, config.text, values ?? config.values, callback)
  if (config.name !== undefined) sent.name = config.name
  return sent
}

const PLAIN: ReadonlySet<string> = new Set(['text', 'values', 'name', 'query_timeout'])

function isPlain(config: object): config is PlainConfig {
  for (const key in config) if (!PLAIN.has(key)) return false
  return typeof memberOf(config, 'text') === 'string'
}

function canTravel(connection: WireConnection, { beginning }: JoinOptions, config: object, values: unknown): boolean {
  if (memberOf(config, 'submit') !== undefined || memberOf(config, 'rows') !== undefined) return false
  const name = memberOf(config, 'name')
  if (typeof name === 'string' && name !== '') return beginning === undefined || connection.parsedStatements[name] === memberOf(config, 'text')
  const given = values ?? memberOf(config, 'values')
  return Array.isArray(given) && given.length > 0
}

function classOf(client: object): JoinedClass | undefined {
  const query = memberOf(client.constructor, 'Query')
  if (!isQueryClass(query)) return undefined
  const known = CLASSES.get(query) ?? joinedClassOf(query)
  CLASSES.set(query, known)
  return known
}

function joinedClassOf(query: RawQueryClass): JoinedClass {
  return class extends query implements JoinedQuery {
    readonly #options: JoinOptions
    /** Answers that still come before the statement's own. */
    #toSkip: number

    constructor(options: JoinOptions, config: object | string, values: unknown, callback: Callback) {
      super(config, values, callback)
      this.#options = options
      this.#toSkip = options.beginning === undefined ? 0 : options.beginning.length + 1
    }

    get hasBegun(): boolean {
      return this.#toSkip === 0
    }

    override requiresPreparation(): boolean {
      return true
    }

    override prepare(connection: WireConnection): void {
      const { beginning, isPreparing } = this.#options
      if (beginning !== undefined) {
        if (isPreparing) begin(connection)
        else once(connection, BEGIN)
        for (const setting of beginning) once(connection, setting)
      }
      super.prepare(connection)
    }

    override _getRows(connection: WireConnection, rows: number | undefined): void {
      if (!this.#options.isCommitting) {
        super._getRows(connection, rows)
        return
      }
      connection.execute({ portal: '', rows: 0 })
      if (PREPARED.has(connection)) execute(connection, COMMIT_NAME)
      else once(connection, COMMIT)
      connection.sync()
    }

    override handleCommandComplete(message: unknown, connection: WireConnection): void {
      if (this.#toSkip > 0) {
        this.#toSkip--
        return
      }
      super.handleCommandComplete(message, connection)
    }
  }
}

/** Begins. The commit is prepared with the first beginning on a connection: behind a statement that fails its preparation would be skipped. */
function begin(connection: WireConnection): void {
  if (!PREPARED.has(connection)) {
    connection.parse({ name: BEGIN_NAME, text: BEGIN })
    connection.parse({ name: COMMIT_NAME, text: COMMIT })
    PREPARED.add(connection)
  }
  execute(connection, BEGIN_NAME)
}

function once(connection: WireConnection, text: string): void {
  connection.parse({ name: '', text })
  execute(connection, '')
}

function execute(connection: WireConnection, statement: string): void {
  connection.bind({ portal: '', statement, values: [], valueMapper: (value) => value })
  connection.execute({ portal: '', rows: 0 })
}

function connectionOf(client: PgPoolClient): WireConnection | undefined {
  const connection = memberOf(client, 'connection')
  return isWire(connection) ? connection : undefined
}

function isWire(connection: unknown): connection is WireConnection {
  return ['parse', 'bind', 'execute', 'sync'].every((name) => typeof memberOf(connection, name) === 'function') && isObject(memberOf(connection, 'parsedStatements'))
}

function isQueryClass(value: unknown): value is RawQueryClass {
  const prototype: unknown = typeof value === 'function' ? value.prototype : undefined
  return ['requiresPreparation', 'prepare', '_getRows', 'handleCommandComplete'].every((name) => typeof memberOf(prototype, name) === 'function')
}

function isObject(value: unknown): value is object {
  return typeof value === 'object' && value !== null
}

function memberOf(value: unknown, name: string): unknown {
  return isObject(value) || typeof value === 'function' ? Reflect.get(value, name) : undefined
}

function isMany(answer: PgResult | readonly PgResult[]): answer is readonly PgResult[] {
  return Array.isArray(answer)
}
