import type { ContractTypes, EventContract } from '../contract/contract.ts'
import { event } from '../contract/define.ts'
import type { Schema } from '../contract/schema.ts'
import { type EventStore, category } from '../store/event-store.ts'
import { fact } from '../store/fact.ts'
import type { SagaFamily } from './family.ts'
import { sagaEventOf } from './instance-log.ts'
import type { SagaStatus } from './instance.ts'
import { type SagaEvent, type SagaEventData, type SagaEventKind, type SagaOutcome, sagaEvents } from './saga-events.ts'

/** One instance in a list. */
export interface SagaSummary {
  readonly saga: string
  readonly instance: string
  readonly version: number
  readonly status: SagaStatus
  /** Runs that are waited for; those being undone begin with `undo:`. */
  readonly waitsFor: readonly string[]
  readonly outcome: SagaOutcome | undefined
  readonly reason: string | undefined
  readonly correlationId: string
  readonly startedAtMs: number
  /** Since when it is in this status, and waits for what it waits for, by the store's clock. */
  readonly sinceMs: number
}

/** Which instances. All parts that are given must match. */
export interface SagaFilter {
  readonly status?: SagaStatus
  readonly outcome?: SagaOutcome
  /** Waits for this step, or for its compensation. */
  readonly step?: string
  readonly version?: number
  /** Of the flow that started it. */
  readonly correlationId?: string
  /** In its state since before this, in milliseconds since 1970. */
  readonly sinceBeforeMs?: number
  /** Default 100, at most 10,000. */
  readonly limit?: number
}

/** How many instances are in one state. */
export interface SagaStateCount {
  readonly saga: string
  readonly version: number
  readonly status: SagaStatus
  /** What they wait for; empty for those that wait for nothing. */
  readonly step: string
  readonly count: number
  /** Of the one that has been there longest. */
  readonly oldestSinceMs: number
  readonly oldest: string
}

interface Row {
  instance: string
  version: number
  status: SagaStatus
  before: SagaStatus
  readonly waits: Set<string>
  outcome: SagaOutcome | undefined
  reason: string | undefined
  correlationId: string
  startedAtMs: number
  sinceMs: number
  /** Of its first event. */
  readonly position: bigint
}

/** How far all instances have ended. */
export interface SagaSettled {
  /** Position in the log, as text. */
  readonly position: string
}

/** The types of `SagaSettledNoted`. */
export interface SagaSettledTypes extends ContractTypes {
  readonly input: SagaSettled
  readonly output: SagaSettled
  readonly replyInput: undefined
  readonly replyOutput: undefined
  readonly errors: object
}

/** It is written by the library alone. */
const anySettled: Schema<SagaSettled> = { '~standard': { version: 1, vendor: 'trunkline', validate: (value) => ({ value: value as SagaSettled }) } }

/** Stands in the stream `saga_directories-<name>`: no instance that had begun before the position is unfinished. */
export const SagaSettledNoted: EventContract<'saga.settled', SagaSettledTypes> = event('saga.settled', { schema: anySettled })

const ENDED_MAX = 10_000
const LIMIT_MAX = 10_000
/** Positions between two notes. */
const NOTE_EVERY = 5_000n

const CONTRACTS = [
  sagaEvents.started, sagaEvents['message-kept'], sagaEvents['step-started'], sagaEvents['step-completed'], sagaEvents['step-failed'], sagaEvents['step-retrying'], sagaEvents['step-skipped'],
  sagaEvents['compensation-begun'], sagaEvents['compensation-started'], sagaEvents['compensation-completed'], sagaEvents['compensation-given-up'],
  sagaEvents.ended, sagaEvents.quarantined, sagaEvents.resumed, sagaEvents.migrated,
] as const

/**
 * Which instances of a saga there are, for operators: a fold of their events in the memory of a process that asks, and of no other. Nothing is read before
 * the first question; each question reads what came since the last one. It holds unfinished instances and the last 10,000 that ended, and notes in the
 * store up to where all have ended, so that the next process begins there.
 */
export class SagaDirectory {
  readonly #family: SagaFamily
  readonly #events: Pick<EventStore, 'read' | 'append'>
  readonly #rows = new Map<string, Row>()
  readonly #ended = new Map<string, Row>()
  #position: bigint | undefined
  #noted: bigint | undefined
  #isBegun = false
  #reading: Promise<void> = Promise.resolve()

  constructor(family: SagaFamily, events: Pick<EventStore, 'read' | 'append'>) {
    this.#family = family
    this.#events = events
  }

  /** Instances, the one that has been longest in its state first. @throws `store.*`. */
  async find(filter: SagaFilter = {}): Promise<readonly SagaSummary[]> {
    await this.#refresh()
    const { limit = 100 } = filter
    const rows = [...this.#rows.values(), ...(filter.status === undefined || filter.status === 'ended' ? this.#ended.values() : [])]
    const found = rows.filter((row) => fits(row, filter)).toSorted((one, other) => one.sinceMs - other.sinceMs)
    return found.slice(0, Math.min(Math.max(1, limit), LIMIT_MAX)).map((row) => this.#summary(row))
  }

  /** How many unfinished instances are in each state, and since when the oldest is. @throws `store.*`. */
  async states(): Promise<readonly SagaStateCount[]> {
    await this.#refresh()
    const counts = new Map<string, SagaStateCount>()
    for (const row of this.#rows.values()) {
      for (const wait of row.waits.size === 0 ? [''] : row.waits) {
        // Repetitions of one step are one state.
        const step = wait.replace(/#\d+$/, '')
        const key = `${row.version} ${row.status} ${step}`
        const known = counts.get(key)
        const isOlder = known === undefined || row.sinceMs < known.oldestSinceMs
        counts.set(key, {
          saga: this.#family.name, version: row.version, status: row.status, step, count: (known?.count ?? 0) + 1,
          oldestSinceMs: isOlder ? row.sinceMs : known.oldestSinceMs, oldest: isOlder ? row.instance : known.oldest,
        })
      }
    }
    return [...counts.values()].toSorted((one, other) => one.oldestSinceMs - other.oldestSinceMs)
  }

  /** Instances held in memory. */
  get size(): number {
    return this.#rows.size + this.#ended.size
  }

  async #refresh(): Promise<void> {
    const reading = this.#reading.catch(() => undefined).then(() => this.#read())
    this.#reading = reading
    await reading
  }

  async #read(): Promise<void> {
    if (!this.#isBegun) await this.#begin()
    for await (const recorded of this.#events.read(category(this.#family.newest.category), CONTRACTS, this.#position === undefined ? {} : { after: this.#position })) {
      this.#apply(recorded.stream.slice(recorded.stream.indexOf('-') + 1), sagaEventOf(recorded), recorded)
      this.#position = recorded.position
    }
    await this.#note()
  }

  async #begin(): Promise<void> {
    for await (const { data } of this.#events.read(this.#stream, [SagaSettledNoted], { direction: 'backwards', limit: 1 })) {
      this.#position = BigInt(data.position)
      this.#noted = this.#position
    }
    this.#isBegun = true
  }

  get #stream(): string {
    return `saga_directories-${this.#family.name}`
  }

  /** Everything before the first unfinished instance need never be read again. */
  async #note(): Promise<void> {
    let settled = this.#position
    if (settled === undefined) return
    for (const { position } of this.#rows.values()) if (position <= settled) settled = position - 1n
    if (settled < 0n || settled - (this.#noted ?? 0n) < NOTE_EVERY) return
    await this.#events.append(this.#stream, 'any', [fact(SagaSettledNoted, { position: `${settled}` })])
    this.#noted = settled
  }

  #apply(instance: string, { kind, data }: SagaEvent, { position, storedAtMs }: { readonly position: bigint; readonly storedAtMs: number }): void {
    const row = this.#rows.get(instance) ?? this.#ended.get(instance) ?? newRow(instance, position, storedAtMs)
    // The kind chooses the function that takes the data of this kind.
    const change = FOLD[kind] as ((row: Row, data: unknown, atMs: number) => void) | undefined
    change?.(row, data, storedAtMs)
    this.#put(row)
  }

  #put(row: Row): void {
    const { instance } = row
    if (row.status !== 'ended') {
      this.#ended.delete(instance)
      this.#rows.set(instance, row)
      return
    }
    this.#rows.delete(instance)
    row.waits.clear()
    this.#ended.delete(instance)
    this.#ended.set(instance, row)
    const [oldest] = this.#ended.keys()
    if (this.#ended.size > ENDED_MAX && oldest !== undefined) this.#ended.delete(oldest)
  }

  #summary({ instance, version, status, waits, outcome, reason, correlationId, startedAtMs, sinceMs }: Row): SagaSummary {
    return { saga: this.#family.name, instance, version, status, waitsFor: [...waits], outcome, reason, correlationId, startedAtMs, sinceMs }
  }
}

type RowFold = { readonly [K in SagaEventKind]?: (row: Row, data: SagaEventData[K], atMs: number) => void }

function enter(row: Row, status: SagaStatus, atMs: number): void {
  row.status = status
  row.sinceMs = atMs
}

function wait(row: Row, run: string, isWaited: boolean, atMs: number): void {
  if (isWaited) row.waits.add(run)
  else row.waits.delete(run)
  if (row.status !== 'ended') row.sinceMs = atMs
}

const FOLD: RowFold = {
  'started': (row, { version, correlationId }, atMs) => {
    Object.assign(row, { version, correlationId, startedAtMs: atMs })
    enter(row, 'running', atMs)
  },
  'step-started': (row, { run }, atMs) => wait(row, run, true, atMs),
  'step-retrying': (row, { run }, atMs) => wait(row, run, true, atMs),
  'step-completed': (row, { run }, atMs) => wait(row, run, false, atMs),
  'step-failed': (row, { run }, atMs) => wait(row, run, false, atMs),
  'step-skipped': (row, { run }, atMs) => wait(row, run, false, atMs),
  'compensation-begun': (row, { reason }, atMs) => {
    row.reason = reason
    enter(row, 'compensating', atMs)
  },
  'compensation-started': (row, { run }, atMs) => {
    wait(row, `undo:${run}`, true, atMs)
    if (row.status === 'ended') enter(row, 'compensating', atMs)
  },
  'compensation-completed': (row, { run }, atMs) => wait(row, `undo:${run}`, false, atMs),
  'compensation-given-up': (row, { run }, atMs) => wait(row, `undo:${run}`, false, atMs),
  'quarantined': (row, { reason }, atMs) => {
    if (row.status !== 'quarantined') row.before = row.status
    row.reason = reason
    enter(row, 'quarantined', atMs)
  },
  'resumed': (row, _data, atMs) => enter(row, row.before, atMs),
  'migrated': (row, { toVersion }) => {
    row.version = toVersion
  },
  'ended': (row, { outcome, reason }, atMs) => {
    Object.assign(row, { outcome, reason })
    enter(row, 'ended', atMs)
  },
}

function newRow(instance: string, position: bigint, nowMs: number): Row {
  return {
    instance, version: 0, status: 'early', before: 'running', waits: new Set(), outcome: undefined, reason: undefined, correlationId: '', startedAtMs: 0, sinceMs: nowMs, position,
  }
}

function fits(row: Row, { status, outcome, step, version, correlationId, sinceBeforeMs }: SagaFilter): boolean {
  const isStep = (wait: string): boolean => step === undefined || wait === step || wait === `undo:${step}` || wait.replace(/#\d+$/, '') === step
  return (status === undefined || row.status === status)
    && (outcome === undefined || row.outcome === outcome)
    && (step === undefined || [...row.waits].some(isStep))
    && (version === undefined || row.version === version)
    && (correlationId === undefined || row.correlationId === correlationId)
    && (sinceBeforeMs === undefined || row.sinceMs < sinceBeforeMs)
}
