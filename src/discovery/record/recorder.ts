import { type Clock, type Timer, sleep } from '../../core/clock.ts'
import { errorText, isTrunklineError } from '../../core/errors.ts'
import type { Logger } from '../../core/logger.ts'
import type { Random } from '../../core/random.ts'
import { type Fact, fact } from '../../store/fact.ts'
import type { DirectoryEvent } from '../directory-events.ts'
import type { Instance } from '../directory-state.ts'
import { DirectoryRecorded, InstanceRecorded, type PastInstance, RecordKept, RecordLeft, type RecordedChange, pastOf } from './record-contracts.ts'
import type { RecordLog, RecordTail } from './record-log.ts'

/** Between two looks of a recorder whether there is something to write, in milliseconds. */
const WRITE_MS = 500
/** Between two looks at the record of who does not write it, in milliseconds; longer where there are many. */
const LOOK_MS = 5_000
const LOOK_MS_PER_INSTANCE = 250
const LOOK_MS_MAX = 30_000
/** After so long without an event the recorder says that it is there. */
const KEPT_MS = 30_000
/** A record that stood still for so long has no recorder, whatever else is known. */
const SILENT_MS = 75_000
/** A recorder that is not seen is believed to be gone only by who has looked about for so long. */
const SETTLED_MS = 10_000
/** Between two statements of everything, at the latest. */
const STATEMENT_MS = 21_600_000
/** Transitions between two statements, or twice as many as there are instances. */
const STATEMENT_TRANSITIONS = 1_000
const BATCH_MAX = 100
/** Transitions that wait for the store; beyond that a statement takes their place. */
const WAITING_MAX = 2_000
const PART_BYTES_MAX = 120_000
const LEAVE_MS = 2_000

/** What a recorder looks at. */
export interface RecorderHost {
  /** The bus, which is another one after each restart. */
  readonly process: string
  readonly clock: Clock
  readonly random: Random
  readonly logger: Logger
  readonly keptMs: number
  /** Everybody that is known, this instance too. */
  readonly all: () => readonly Instance[]
  /** True while the others can be heard. */
  readonly isFresh: () => boolean
  /** True where that bus is thought to run. */
  readonly isThere: (process: string) => boolean
}

interface Transition {
  readonly change: RecordedChange
  readonly reason: string
  readonly row: PastInstance
  readonly seenAtMs: number
}

/** What is to be appended next; repeated with the same ids until its outcome is known. */
interface Batch {
  readonly facts: (nowMs: number) => readonly Fact[]
  readonly transitions: number
  readonly endsStatement: boolean
}

/**
 * Writes what one directory sees into the record, while no other one does: of those that could, the one whose append under the last revision succeeded.
 * Another one's append makes it stand back, so nothing is ever recorded twice, whoever was paused or cut off.
 */
export class Recorder {
  readonly #host: RecorderHost
  readonly #log: RecordLog
  readonly #waiting: Transition[] = []
  #batches: Batch[] = []
  #isRecording = false
  #isStopped = false
  #problem: string | undefined
  #revision: bigint | undefined
  #movedAtMs = 0
  #startedAtMs = 0
  #statedAtMs = -Infinity
  #sinceStatement = 0
  #timer: Timer | undefined
  #stepping: Promise<void> = Promise.resolve()

  constructor(host: RecorderHost, log: RecordLog) {
    this.#host = host
    this.#log = log
  }

  /** True while it is this one that writes. */
  get isRecording(): boolean {
    return this.#isRecording
  }

  /** Why nothing can be written or read at present, or undefined. */
  get problem(): string | undefined {
    return this.#problem
  }

  /** Begins to look after the record. */
  start(): void {
    if (this.#isStopped) return
    this.#startedAtMs = this.#nowMs
    this.#movedAtMs = this.#nowMs
    this.#after(this.#host.random.next() * WRITE_MS)
  }

  /** Takes what happened to the view. */
  readonly told = (event: DirectoryEvent): void => {
    if (!this.#isRecording || !('reason' in event) || !('instance' in event)) return
    if (this.#waiting.length >= WAITING_MAX) {
      this.#waiting.length = 0
      this.#statedAtMs = -Infinity
    }
    // The kinds are the changes with this word before them.
    const change = event.kind.slice('instance-'.length) as RecordedChange
    this.#waiting.push({ change, reason: event.reason, row: pastOf(event.instance), seenAtMs: this.#nowMs })
  }

  /** Writes what waits, and that this instance stops, and leaves the record to another one. Never rejects, and takes at most two seconds. */
  async stop(self: Instance | undefined): Promise<void> {
    const { clock } = this.#host
    this.#isStopped = true
    this.#timer?.cancel()
    const giveUp = new AbortController()
    await Promise.race([this.#leave(self).finally(() => giveUp.abort()), sleep(clock, LEAVE_MS, giveUp.signal)])
    this.#isRecording = false
  }

  async #leave(self: Instance | undefined): Promise<void> {
    await this.#stepping
    if (!this.#isRecording) return
    if (self !== undefined) this.#waiting.push({ change: 'stopped', reason: 'it said goodbye', row: { ...pastOf(self), state: 'stopped' }, seenAtMs: this.#nowMs })
    try {
      while (this.#waiting.length > 0) this.#batches.push(this.#transitions())
      this.#batches.push(this.#made(() => [fact(RecordLeft, { recorder: this.#host.process })], 1))
      await this.#write()
    } catch (error) {
      this.#failed(error)
    }
  }

  #after(delayMs: number): void {
    this.#timer = this.#host.clock.setTimer(delayMs, () => {
      this.#stepping = this.#step().catch((error: unknown) => this.#failed(error)).finally(() => {
        if (!this.#isStopped) this.#after(this.#isRecording ? WRITE_MS : this.#lookMs)
      })
    }, { background: true })
  }

  get #lookMs(): number {
    const { all, random } = this.#host
    return Math.min(LOOK_MS_MAX, Math.max(LOOK_MS, all().length * LOOK_MS_PER_INSTANCE)) * (0.75 + random.next() / 2)
  }

  async #step(): Promise<void> {
    if (!this.#isRecording) await this.#look()
    if (!this.#isRecording) return
    if (this.#batches.length === 0) this.#plan()
    await this.#write()
  }

  /** Begins to record where nobody else does. */
  async #look(): Promise<void> {
    const { isFresh, keptMs, logger } = this.#host
    const tail = await this.#log.tail()
    this.#problem = undefined
    if (tail?.revision !== this.#revision) {
      this.#revision = tail?.revision
      this.#movedAtMs = this.#nowMs
    }
    if (!isFresh() || this.#isStopped || !this.#isFree(tail)) return
    this.#isRecording = true
    this.#waiting.length = 0
    this.#batches = this.#statement()
    this.#log.keepFor(keptMs).catch((error: unknown) => logger.warn({ err: error }, 'how long the record of the directory is kept could not be set'))
  }

  #isFree(tail: RecordTail | undefined): boolean {
    if (tail === undefined || tail.isLeft || tail.recorder === this.#host.process || this.#nowMs - this.#movedAtMs > SILENT_MS) return true
    return this.#nowMs - this.#startedAtMs > SETTLED_MS && !this.#host.isThere(tail.recorder)
  }

  /** What is to be written next, if anything. Whoever cannot hear the others any more leaves the record to one who can. */
  #plan(): void {
    const idleMs = this.#nowMs - this.#movedAtMs
    const limit = Math.max(STATEMENT_TRANSITIONS, 2 * this.#host.all().length)
    if (this.#waiting.length > 0) this.#batches.push(this.#transitions())
    else if (!this.#host.isFresh()) this.#batches.push(this.#made(() => [fact(RecordLeft, { recorder: this.#host.process })], 1))
    else if (this.#nowMs - this.#statedAtMs > STATEMENT_MS || this.#sinceStatement >= limit) this.#batches = this.#statement()
    else if (idleMs >= KEPT_MS) this.#batches.push(this.#made(() => [fact(RecordKept, { recorder: this.#host.process })], 1))
  }

  async #write(): Promise<void> {
    for (let batch = this.#batches[0]; batch !== undefined; batch = this.#batches[0]) {
      const facts = batch.facts(this.#nowMs)
      this.#revision = await this.#log.append(this.#revision, facts)
      this.#batches.shift()
      this.#movedAtMs = this.#nowMs
      this.#problem = undefined
      this.#sinceStatement += batch.transitions
      if (batch.endsStatement) {
        this.#statedAtMs = this.#nowMs
        this.#sinceStatement = 0
      }
      if (facts[0]?.contract.type === RecordLeft.type) this.#isRecording = false
    }
  }

  #failed(error: unknown): void {
    if (!isTrunklineError(error, 'store.wrong_revision')) {
      // What was to be written is tried again, with the same ids.
      this.#problem = errorText(error).slice(0, 200)
      this.#host.logger.warn({ err: error }, 'the record of the directory cannot be reached; it is tried again')
      return
    }
    this.#isRecording = false
    this.#waiting.length = 0
    this.#batches = []
  }

  #transitions(): Batch {
    const taken = this.#waiting.splice(0, BATCH_MAX)
    const { process } = this.#host
    return this.#made((nowMs) => taken.map(({ change, reason, row, seenAtMs }) => fact(InstanceRecorded, { recorder: process, change, reason: reason.slice(0, 500), agoMs: Math.max(0, nowMs - seenAtMs), instance: row })), taken.length, taken.length)
  }

  #statement(): Batch[] {
    const seenAtMs = this.#nowMs
    const { process } = this.#host
    const rows: PastInstance[][] = [[]]
    let bytes = 0
    for (const row of this.#host.all().map(pastOf)) {
      bytes += JSON.stringify(row).length
      if (bytes > PART_BYTES_MAX) {
        rows.push([])
        bytes = 0
      }
      rows.at(-1)?.push(row)
    }
    // What waits is in it.
    this.#waiting.length = 0
    return rows.map((instances, part) => ({
      ...this.#made((nowMs) => [fact(DirectoryRecorded, { recorder: process, part, parts: rows.length, agoMs: Math.max(0, nowMs - seenAtMs), instances })], 1), endsStatement: part === rows.length - 1,
    }))
  }

  #made(facts: (nowMs: number) => readonly Fact[], count: number, transitions: number = 0): Batch {
    const { random, clock } = this.#host
    const ids = Array.from({ length: count }, () => random.id(clock.nowMs()))
    return { facts: (nowMs) => facts(nowMs).map((one, index) => ({ ...one, id: ids[index] })), transitions, endsStatement: false }
  }

  get #nowMs(): number {
    return this.#host.clock.monotonicMs()
  }
}
