import type { BusOutbox, MessageMaker, MessageMakerOptions, Scheduling, UnitOfWork } from '../bus/port.ts'
import { refuseInUnit } from '../bus/unit-scope.ts'
import type { AnyCommand, DataInput, EventContract } from '../contract/contract.ts'
import { TrunklineError } from '../core/errors.ts'
import type { DeadOutboxRow, NewOutboxRow, OutboxStats, SqlStatement, StoreBackend, UnitTransaction } from './port.ts'
import type { Sharder } from './shards.ts'

/** What an outbox gets from its store while that is open. */
export interface OutboxParts {
  readonly messages: MessageMaker
  readonly sharder: Sharder
  readonly backend: StoreBackend<unknown>
  /** @throws `bus.overloaded` while too many messages wait. */
  readonly checkBacklog: () => void
  /** Rows were written in a transaction whose commit nobody will tell of. */
  readonly nudge: (shards: readonly number[]) => void
}

/** Messages written within a transaction that somebody else opened and will commit. */
export class ForeignUnit {
  readonly #parts: OutboxParts
  readonly #handle: unknown

  constructor(parts: OutboxParts, handle: unknown) {
    this.#parts = parts
    this.#handle = handle
  }

  /**
   * Writes an event to the outbox; it leaves when the transaction commits, and not otherwise.
   *
   * Where one transaction publishes for several keys, give them to one `publishAll`, so that their locks are taken in
   * an order in which no two transactions wait for each other.
   *
   * @throws `contract.*`, `outbox.transaction_missing` for a handle that is not inside a transaction, `store.*`.
   */
  publish<C extends EventContract>(contract: C, data: DataInput<C>, options?: MessageMakerOptions): Promise<void> {
    return this.#write([{ contract, data, options }])
  }

  /** The same for a command. */
  send<C extends AnyCommand>(contract: C, data: DataInput<C>, options?: MessageMakerOptions): Promise<void> {
    return this.#write([{ contract, data, options }])
  }

  /** Several events and commands at once, in their order. @throws as `publish` does. */
  publishAll(messages: readonly Drafted[]): Promise<void> {
    return this.#write(messages)
  }

  /**
   * Several events and commands, and the commit of the transaction right behind them: one round trip less than two statements. Only on
   * a client of `pg`, whose transaction nobody else ends. Where it rejects, roll back.
   *
   * @throws as `publish` does; `bus.unsupported` for a handle of another library, and with a store that is not PostgreSQL;
   *   `store.rolled_back` where a statement of the transaction had failed before.
   */
  async commit(messages: readonly Drafted[]): Promise<void> {
    const { backend, nudge } = this.#parts
    if (backend.commitWith === undefined) throw new TrunklineError('bus.unsupported', { adapter: backend.name, capability: 'commit', needed: 'outbox.in(…).commit' })
    const rows = rowsOf(this.#parts, messages)
    await backend.commitWith(this.#handle, rows)
    nudge(shardsOf(rows))
  }

  async #write(drafts: readonly Drafted[]): Promise<void> {
    const { backend, nudge } = this.#parts
    const rows = rowsOf(this.#parts, drafts)
    const transaction: UnitTransaction<unknown> = await backend.adopt(this.#handle)
    await transaction.write(rows)
    nudge(shardsOf(rows))
  }
}

/** @throws `contract.*`, `bus.overloaded`. */
function rowsOf({ messages, sharder, checkBacklog }: OutboxParts, drafts: readonly Drafted[]): readonly NewOutboxRow[] {
  checkBacklog()
  return drafts.map(({ contract, data, options }) => sharder.place(messages.make(contract, data, options)))
}

function shardsOf(rows: readonly NewOutboxRow[]): readonly number[] {
  return [...new Set(rows.map(({ shard }) => shard))]
}

/** A message to be written. */
export interface Drafted {
  readonly contract: EventContract | AnyCommand
  readonly data: unknown
  readonly options?: MessageMakerOptions | undefined
}

/** Says what to publish, for `publishAll`, with its data checked by the compiler. */
export function draft<C extends EventContract | AnyCommand>(contract: C, data: DataInput<C>, options?: MessageMakerOptions): Drafted {
  return { contract, data, options }
}

/** The outbox of a store: messages that were committed and wait for the relay. */
export class Outbox implements BusOutbox {
  readonly unitOfWork: UnitOfWork
  readonly scheduling: Scheduling
  readonly #parts: (operation: string) => OutboxParts

  constructor(unitOfWork: UnitOfWork, scheduling: Scheduling, parts: (operation: string) => OutboxParts) {
    this.unitOfWork = unitOfWork
    this.scheduling = scheduling
    this.#parts = parts
  }

  /**
   * The outbox within a transaction of your own: `await outbox.in(tx).publish(OrderPlaced, { … })`.
   *
   * @param handle the open transaction of the library that you use.
   * @throws `outbox.not_attached`.
   */
  in(handle: unknown): ForeignUnit {
    return new ForeignUnit(this.#parts('in'), handle)
  }

  /**
   * A statement of your own with messages beside it, as one statement: rows and messages are there together or not at all, in one round
   * trip and without a transaction around it. PostgreSQL only.
   *
   * ```ts
   * await pool.query(outbox.statement({ text: 'INSERT INTO sale VALUES ($1)', values: [id] }, [draft(SaleMade, { id })]))
   * ```
   *
   * Run it once, and not within the store's own units. It may be any single statement with `$1` parameters; what it returns stays its own. Of
   * several such statements in one transaction the keys' locks are taken one after the other, so two transactions can deadlock there.
   *
   * @throws `contract.*`, `bus.overloaded`, `outbox.not_attached`; `bus.unsupported` with another store, and where the bus is on the store's
   *   own transport.
   */
  statement(statement: { readonly text: string; readonly values?: readonly unknown[]; readonly name?: string }, messages: readonly Drafted[]): SqlStatement {
    const parts = this.#parts('statement')
    const { backend, nudge } = parts
    if (backend.statementWith === undefined) throw new TrunklineError('bus.unsupported', { adapter: backend.name, capability: 'statement', needed: 'outbox.statement' })
    const rows = rowsOf(parts, messages)
    const whole = backend.statementWith({ ...statement, values: [...(statement.values ?? [])] }, rows)
    nudge(shardsOf(rows))
    return whole
  }

  /** How many messages wait, how long the oldest one does, and how many were given up. */
  stats(): Promise<OutboxStats> {
    return this.#parts('stats').backend.outbox.stats()
  }

  /** Messages that no broker takes, oldest first. */
  dead(options: { readonly limit?: number; readonly after?: bigint } = {}): Promise<readonly DeadOutboxRow[]> {
    return this.#parts('dead').backend.outbox.dead(Math.min(options.limit ?? 100, 1_000), options.after)
  }

  /** Publishes a dead one again. False where it does not exist (any more). @throws `outbox.unit_nested` inside a unit of work. */
  async redrive(id: bigint): Promise<boolean> {
    refuseInUnit('outbox.redrive')
    const { backend, nudge } = this.#parts('redrive')
    const isRedriven = await backend.outbox.redrive(id)
    if (isRedriven) nudge([...Array(backend.outbox.shards).keys()])
    return isRedriven
  }

  /** Removes a dead one for good. False where it does not exist (any more). @throws `outbox.unit_nested` inside a unit of work. */
  async remove(id: bigint): Promise<boolean> {
    refuseInUnit('outbox.remove')
    return await this.#parts('remove').backend.outbox.removeDead(id)
  }
}

