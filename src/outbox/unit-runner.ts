import { createHash } from 'node:crypto'
import type { UnitOutcome, UnitRequest } from '../bus/port.ts'
import { runAsUnit } from '../bus/unit-scope.ts'
import { backoffMs } from '../core/backoff.ts'
import { sleep } from '../core/clock.ts'
import { TrunklineError, isTrunklineError } from '../core/errors.ts'
import type { InboxEntry, InboxVerdict, NewOutboxRow, StoreBackend, TransactOptions, UnitTransaction } from './port.ts'
import { Unit, type UnitParts } from './unit.ts'

/** What a commit brought. */
export interface Committed {
  readonly shards: readonly number[]
  /** Milliseconds until the earliest of what was scheduled is due. */
  readonly dueInMs: number | undefined
}

/** How units are run. */
export interface UnitRunnerOptions {
  /** Runs of one unit that the database gave up, the first included. */
  readonly conflictAttemptsMax: number
  /** Time for one unit, in milliseconds; undefined leaves it to the database's own limits. */
  readonly unitTimeoutMs: number | undefined
  /** Called after each commit that wrote to the outbox or scheduled something. */
  readonly onCommitted: (committed: Committed) => void
}

/** Waits between runs of a unit that the database gave up. */
const CONFLICT_BACKOFF = { initialMs: 5, factor: 2, maxMs: 200 } as const
/** Messages of one batch that are singled out before the rest run one by one. */
const CULPRITS_MAX = 3

/** A transaction as units see it: each gets its own `Unit`, and what they publish is written when all have ended. */
class Transaction<Tx> {
  readonly tx: UnitTransaction<Tx>
  readonly #parts: UnitParts
  readonly #units: Unit<Tx>[] = []

  constructor(tx: UnitTransaction<Tx>, parts: UnitParts) {
    this.tx = tx
    this.#parts = parts
  }

  unit(): Unit<Tx> {
    const unit = new Unit(this.tx, this.#parts)
    this.#units.push(unit)
    return unit
  }

  /** The earliest of what its units have scheduled. */
  get dueInMs(): number | undefined {
    const due = this.#units.map((unit) => unit.dueInMs).filter((inMs) => inMs !== undefined)
    return due.length === 0 ? undefined : Math.min(...due)
  }

  /** Ends all units; gives what they publish, in their order. */
  end(): readonly NewOutboxRow[] {
    return this.#units.flatMap((unit) => unit.end())
  }
}

/** Runs functions and messages as units of work over one database. */
export class UnitRunner<Tx> {
  readonly #backend: StoreBackend<Tx>
  readonly #parts: UnitParts
  readonly #options: UnitRunnerOptions

  constructor(backend: StoreBackend<Tx>, parts: UnitParts, options: UnitRunnerOptions) {
    this.#backend = backend
    this.#parts = parts
    this.#options = options
  }

  /**
   * Runs `work` in one transaction, again where the database gave it up.
   *
   * @throws what `work` throws, and what `StoreBackend.transact` throws.
   */
  transact<T>(work: (unit: Unit<Tx>) => T | PromiseLike<T>, signal?: AbortSignal): Promise<T> {
    return this.#repeated(async (transaction) => {
      const unit = transaction.unit()
      return await runAsUnit(() => work(unit))
    }, signal)
  }

  /** The same, with the bare transaction beside the unit. */
  transactRaw<T>(work: (tx: UnitTransaction<Tx>, unit: Unit<Tx>) => Promise<T>, signal?: AbortSignal): Promise<T> {
    return this.#repeated(async (transaction) => await runAsUnit(() => work(transaction.tx, transaction.unit())), signal)
  }

  /** Runs a message as a unit; it never rejects. */
  async run(request: UnitRequest): Promise<UnitOutcome> {
    const entry = entryOf(request)
    try {
      return await this.#repeated(async (transaction) => await this.#handled(transaction, request, entry, await transaction.tx.enter(entry)), request.signal)
    } catch (error) {
      return { kind: 'failed', error }
    }
  }

  /** Runs messages in as few transactions as their failures allow; it never rejects. */
  async runMany(requests: readonly UnitRequest[]): Promise<readonly UnitOutcome[]> {
    const outcomes = new Map<UnitRequest, UnitOutcome>()
    const settle = async (request: UnitRequest): Promise<void> => {
      outcomes.set(request, await this.run(request))
    }
    let left = requests
    for (let culprits = 0; left.length > 1 && culprits < CULPRITS_MAX; culprits++) {
      const batch = new Batch(left)
      try {
        for (const [request, outcome] of await this.#together(batch)) outcomes.set(request, outcome)
        left = []
      } catch (error) {
        // The link is gone: nobody is to blame, and trying each one by itself would only take longer.
        if (batch.culprit === undefined && isTrunklineError(error, 'store.down')) return requests.map((request) => outcomes.get(request) ?? { kind: 'failed', error })
        if (batch.culprit === undefined) break
        const { culprit } = batch
        left = left.filter((request) => request !== culprit)
        await settle(culprit)
      }
    }
    // In the order given, so that those of one key keep to it.
    for (const request of left) await settle(request)
    return requests.map((request) => outcomes.get(request) ?? { kind: 'failed', error: new TrunklineError('core.invariant_broken', { expected: 'an outcome for every message of a batch' }) })
  }

  #together(batch: Batch): Promise<ReadonlyMap<UnitRequest, UnitOutcome>> {
    return this.#repeated(async (transaction) => {
      const outcomes = new Map<UnitRequest, UnitOutcome>()
      const entries = batch.requests.map(entryOf)
      const verdicts = await transaction.tx.enterMany(entries)
      const handle = async (index: number): Promise<void> => {
        const [request, entry, verdict] = [batch.requests[index], entries[index], verdicts[index]]
        if (request === undefined || entry === undefined || verdict === undefined || batch.culprit !== undefined) return
        try {
          outcomes.set(request, await this.#handled(transaction, request, entry, verdict))
        } catch (error) {
          batch.blame(request, error)
        }
      }
      await Promise.all(batch.chains.map(async (chain) => {
        for (const index of chain) await handle(index)
      }))
      if (batch.culprit !== undefined) throw batch.error
      return outcomes
    }, undefined, () => batch.forget())
  }

  async #handled(transaction: Transaction<Tx>, request: UnitRequest, entry: InboxEntry, verdict: InboxVerdict): Promise<UnitOutcome> {
    if (verdict.kind === 'seen') return verdict
    const { id, source, group } = entry
    if (verdict.kind === 'collision') throw new TrunklineError('outbox.id_collision', { id, source, group })
    const unit = transaction.unit()
    const value: unknown = await request.work(unit)
    if (request.encodeAnswer !== undefined) await transaction.tx.keepAnswer(entry, request.encodeAnswer(value))
    return { kind: 'done', value }
  }

  async #repeated<T>(work: (transaction: Transaction<Tx>) => Promise<T>, signal: AbortSignal | undefined, again?: () => void): Promise<T> {
    for (let attempt = 1; ; attempt++) {
      try {
        return await this.#once(work, signal)
      } catch (error) {
        const isOver = attempt >= this.#options.conflictAttemptsMax || signal?.aborted === true
        if (isOver || !isTrunklineError(error, 'store.conflict')) throw error
        again?.()
        await sleep(this.#parts.clock, backoffMs(CONFLICT_BACKOFF, attempt, this.#parts.random), signal)
      }
    }
  }

  /**
   * Runs `work` in one transaction that writes the rows it gives back; resolves with their number.
   *
   * @throws as `transact` does.
   */
  async commit(work: (tx: UnitTransaction<Tx>) => Promise<readonly NewOutboxRow[]>): Promise<number> {
    const rows = await this.#backend.transact(async (tx) => {
      const written = await work(tx)
      if (written.length > 0) await tx.write(written)
      return written
    })
    if (rows.length > 0) this.#options.onCommitted({ shards: shardsOf(rows), dueInMs: undefined })
    return rows.length
  }

  async #once<T>(work: (transaction: Transaction<Tx>) => Promise<T>, signal: AbortSignal | undefined): Promise<T> {
    const { unitTimeoutMs, onCommitted } = this.#options
    const limits: TransactOptions = { signal, ...(unitTimeoutMs === undefined ? {} : { timeoutMs: unitTimeoutMs }) }
    let rows: readonly NewOutboxRow[] = []
    let dueInMs: number | undefined
    const result = await this.#backend.transact(async (tx) => {
      const transaction = new Transaction(tx, this.#parts)
      try {
        const value = await work(transaction)
        rows = transaction.end()
        dueInMs = transaction.dueInMs
        if (rows.length > 0) await tx.write(rows)
        return value
      } finally {
        // Also after a failure: what somebody kept of a unit must not write into another transaction.
        transaction.end()
      }
    }, limits)
    if (rows.length > 0 || dueInMs !== undefined) onCommitted({ shards: shardsOf(rows), dueInMs })
    return result
  }
}

/** Messages that share a transaction. */
class Batch {
  readonly requests: readonly UnitRequest[]
  /** Indexes of the messages that have to run one after the other. */
  readonly chains: readonly (readonly number[])[]
  #culprit: UnitRequest | undefined
  #error: unknown

  constructor(requests: readonly UnitRequest[]) {
    this.requests = requests
    const chains = new Map<string | number, number[]>()
    for (const [index, { message }] of requests.entries()) {
      const name = message.key ?? index
      const chain = chains.get(name)
      if (chain === undefined) chains.set(name, [index])
      else chain.push(index)
    }
    this.chains = [...chains.values()]
  }

  /** The message whose handler failed first: what failed after it may have done so only because the transaction was broken. */
  get culprit(): UnitRequest | undefined {
    return this.#culprit
  }

  get error(): unknown {
    return this.#error
  }

  blame(request: UnitRequest, error: unknown): void {
    if (this.#culprit !== undefined) return
    this.#culprit = request
    this.#error = error
  }

  forget(): void {
    this.#culprit = undefined
    this.#error = undefined
  }
}

function entryOf(request: UnitRequest): InboxEntry {
  const { source, id, body } = request.message
  return { group: request.group, source, id, digest: createHash('sha256').update(body).digest() }
}

function shardsOf(rows: readonly NewOutboxRow[]): readonly number[] {
  return [...new Set(rows.map(({ shard }) => shard))]
}
