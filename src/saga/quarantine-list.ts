import type { ContractTypes, EventContract } from '../contract/contract.ts'
import { event } from '../contract/define.ts'
import type { Schema } from '../contract/schema.ts'
import type { Clock } from '../core/clock.ts'
import { errorText } from '../core/errors.ts'
import type { Logger } from '../core/logger.ts'
import type { EventStore } from '../store/event-store.ts'
import { fact } from '../store/fact.ts'
import type { SagaObservation } from './observation.ts'

/** An instance that went into quarantine, or came out of it. */
export interface QuarantineNote {
  readonly instance: string
  readonly isQuarantined: boolean
  readonly code: string
}

/** The types of `SagaQuarantineNoted`. */
export interface QuarantineNotedTypes extends ContractTypes {
  readonly input: QuarantineNote
  readonly output: QuarantineNote
  readonly replyInput: undefined
  readonly replyOutput: undefined
  readonly errors: object
}

/** It is written by the library alone. */
const anyNote: Schema<QuarantineNote> = { '~standard': { version: 1, vendor: 'trunkline', validate: (value) => ({ value: value as QuarantineNote }) } }

/** Stands in the stream `saga_quarantines-<name>` of each saga. */
export const SagaQuarantineNoted: EventContract<'saga.quarantine-noted', QuarantineNotedTypes> = event('saga.quarantine-noted', { schema: anyNote })

/** Notes that a process reads at its start; what was quarantined before those is told by `find` and `stuck`. */
const NOTES_MAX = 1_000
/** A process hears of what others have quarantined or resumed after this, in milliseconds. */
const REFRESH_MS = 10_000
const NAMES_MAX = 5

/** What a list needs. */
export interface QuarantineParts {
  readonly events: Pick<EventStore, 'read' | 'append'>
  readonly clock: Clock
  readonly logger: Logger
}

/**
 * Instances of one saga in quarantine, for the health of its processes: noted in a short stream of its own right after the commit, so that no process reads
 * instances to know of them. Where a process dies in between, `find` tells it and this list does not.
 */
export class QuarantineList {
  readonly #saga: string
  readonly #parts: QuarantineParts
  readonly #codes = new Map<string, string>()
  #revision: bigint | undefined
  #readAtMs = 0
  #work: Promise<void> = Promise.resolve()

  constructor(saga: string, parts: QuarantineParts) {
    this.#saga = saga
    this.#parts = parts
  }

  /** Reads what others have noted. @throws `store.*`. */
  async load(): Promise<void> {
    const notes: { readonly revision: bigint; readonly data: QuarantineNote }[] = []
    for await (const { revision, data } of this.#parts.events.read(this.#stream, [SagaQuarantineNoted], { direction: 'backwards', limit: NOTES_MAX })) notes.push({ revision, data })
    for (const { revision, data } of notes.toReversed()) this.#take(revision, data)
    this.#readAtMs = this.#parts.clock.monotonicMs()
  }

  /** Takes note of what has happened here. */
  observe(observation: SagaObservation): void {
    const { kind, instance } = observation
    if (kind === 'quarantined') this.#note({ instance, isQuarantined: true, code: observation.code })
    else if (kind === 'resumed') this.#note({ instance, isQuarantined: false, code: '' })
  }

  /** What is wrong, for people; empty where nothing is in quarantine. */
  reasons(): readonly string[] {
    this.#lookAgain()
    const all = [...this.#codes].map(([instance, code]) => `${instance} (${code})`)
    if (all.length === 0) return []
    const rest = all.length > NAMES_MAX ? ` and ${all.length - NAMES_MAX} more` : ''
    return [`${all.length} of ${this.#saga} ${all.length === 1 ? 'is' : 'are'} quarantined until an operator acts: ${all.slice(0, NAMES_MAX).join(', ')}${rest}`]
  }

  /** Resolves when everything is noted. */
  async settled(): Promise<void> {
    await this.#work
  }

  get #stream(): string {
    return `saga_quarantines-${this.#saga}`
  }

  #note(note: QuarantineNote): void {
    this.#set(note)
    this.#queue(async () => void (await this.#parts.events.append(this.#stream, 'any', [fact(SagaQuarantineNoted, note)])))
  }

  #lookAgain(): void {
    const nowMs = this.#parts.clock.monotonicMs()
    if (nowMs - this.#readAtMs < REFRESH_MS) return
    this.#readAtMs = nowMs
    this.#queue(async () => {
      const after = this.#revision === undefined ? {} : { after: this.#revision }
      for await (const { revision, data } of this.#parts.events.read(this.#stream, [SagaQuarantineNoted], after)) this.#take(revision, data)
    })
  }

  /** One after the other, so that what is read is never older than what was noted here. */
  #queue(work: () => Promise<void>): void {
    this.#work = this.#work.then(work).catch((error: unknown) => this.#parts.logger.debug({ problem: errorText(error), saga: this.#saga }, 'the quarantine of a saga was not noted'))
  }

  #take(revision: bigint, note: QuarantineNote): void {
    this.#revision = revision
    this.#set(note)
  }

  #set({ instance, isQuarantined, code }: QuarantineNote): void {
    if (isQuarantined) this.#codes.set(instance, code)
    else this.#codes.delete(instance)
  }
}
