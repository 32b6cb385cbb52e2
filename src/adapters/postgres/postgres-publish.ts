import type { Outbound, PublishSignal, TransportHost } from '../../bus/port.ts'
import type { Timer } from '../../core/clock.ts'
import { errorText, TrunklineError } from '../../core/errors.ts'
import { PUBLISH_TIMEOUT_MS } from '../../core/limits.ts'
import type { PgLink } from './postgres-link.ts'
import { outgoing, type PgMessages, type PgOutgoing, type PgStored, type PgWritten } from './postgres-messages.ts'
import { isPassing, lost } from './postgres-problem.ts'

/** Messages in one statement. */
const MESSAGES_MAX = 512
/** Bytes in one statement. */
const BYTES_MAX = 4_194_304

/** What a publisher needs. */
export interface PublisherOptions {
  readonly link: PgLink
  readonly host: TransportHost
  readonly messages: PgMessages
  readonly instanceId: () => string | undefined
  /** Messages for these groups are on their way, and what is sent now arrives after them. */
  readonly onSent: (groupIds: readonly number[]) => void
  /** Called after each commit. */
  readonly onStored: (stored: PgStored) => void
}

/**
 * Stores messages. While one batch is on its way, those that come meanwhile become the next one, so that they share a transaction
 * and its flush to disk; one that is refused is found by halving its batch and fails alone.
 */
export class PgPublisher {
  readonly #options: PublisherOptions
  #waiting: PublishJob[] = []
  #isScheduled = false
  #isBusy = false
  #isClosed = false
  readonly #idle: (() => void)[] = []

  constructor(options: PublisherOptions) {
    this.#options = options
  }

  /** Resolves after the commit. */
  publish(outbound: Outbound, signal: PublishSignal | undefined): Promise<void> {
    if (this.#isClosed) return Promise.reject(lost('the transport was closed'))
    return new Promise((resolve, reject) => {
      const job = new PublishJob(outgoing(outbound), this.#options.host, signal, resolve, reject)
      if (job.isOver) return
      this.#waiting.push(job)
      this.#poke()
    })
  }

  /** Resolves when nothing waits any more. */
  async flushed(): Promise<void> {
    if (this.#isBusy || this.#waiting.length > 0) await new Promise<void>((resolve) => this.#idle.push(resolve))
  }

  /** Fails what waits. */
  close(): void {
    this.#isClosed = true
    for (const job of this.#waiting.splice(0)) job.fail(lost('the transport was closed'))
  }

  #poke(): void {
    if (this.#isScheduled || this.#isBusy) return
    this.#isScheduled = true
    // What is published by the code that runs now shares the first batch.
    queueMicrotask(() => {
      this.#isScheduled = false
      void this.#work()
    })
  }

  async #work(): Promise<void> {
    if (this.#isBusy) return
    this.#isBusy = true
    try {
      for (let batch = this.#take(); batch.length > 0; batch = this.#take()) await this.#store(batch)
    } finally {
      this.#isBusy = false
      for (const resolve of this.#idle.splice(0)) resolve()
    }
  }

  #take(): readonly PublishJob[] {
    let bytes = 0
    let count = 0
    while (count < this.#waiting.length && count < MESSAGES_MAX && bytes < BYTES_MAX) bytes += this.#waiting[count++]?.message.record.bytes ?? 0
    const taken = this.#waiting.splice(0, count).filter((job) => !job.isOver)
    return taken.length === 0 && this.#waiting.length > 0 ? this.#take() : taken
  }

  async #store(batch: readonly PublishJob[]): Promise<void> {
    try {
      await this.#write(batch)
    } catch (thrown) {
      const left = batch.filter((job) => !job.isOver)
      const [first] = left
      if (first === undefined) return
      if (isPassing(thrown)) await this.#later(left)
      else if (left.length === 1) first.refuse(thrown)
      else {
        const half = Math.ceil(left.length / 2)
        await this.#store(left.slice(0, half))
        await this.#store(left.slice(half))
      }
    }
  }

  async #later(left: readonly PublishJob[]): Promise<void> {
    this.#waiting = [...left, ...this.#waiting]
    if (this.#isClosed) this.close()
    else await this.#options.link.recovered()
  }

  async #write(batch: readonly PublishJob[]): Promise<void> {
    const { messages: tables, link, onStored } = this.#options
    for (let left = batch; left.length > 0; ) {
      const messages = left.map(({ message }) => message)
      const written = await this.#insert(messages)
      const homeless = new Set(written.homeless)
      for (const job of left) if (!homeless.has(job.message)) job.done()
      onStored(written)
      // Commands that nobody has handled yet need a group to wait in.
      left = left.filter((job) => homeless.has(job.message) && !job.isOver)
      if (left.length > 0) await link.run(tables.groupsStep(written.homeless))
    }
  }

  async #insert(messages: readonly PgOutgoing[]): Promise<PgWritten> {
    const { messages: tables, link, instanceId, onSent } = this.#options
    for (let isLocked = tables.needsLocks(messages); ; isLocked = true) {
      const step = tables.insertStep(messages, isLocked, instanceId())
      const awaited = tables.awaited(messages)
      // Without locks one statement is a transaction of its own.
      const answers = isLocked ? link.transact([tables.lockStep(messages), step]) : link.run(step).then((rows) => [rows])
      // The wake-up follows on the same connection without waiting for the answer; where nothing was stored, it does no harm.
      if (awaited.length > 0) onSent(awaited)
      const written = tables.writtenFrom(messages, (await answers).at(-1) ?? [])
      const groups = new Map([...written.groups].map(([group, isForeign]) => [group, isForeign && !awaited.includes(group)]))
      if (written.isWritten) return { ...written, groups }
    }
  }
}

/** A publish that waits for its commit. */
class PublishJob {
  readonly message: PgOutgoing
  readonly #signal: PublishSignal | undefined
  readonly #resolve: () => void
  readonly #reject: (error: unknown) => void
  readonly #limit: Timer | undefined
  #isOver = false

  constructor(message: PgOutgoing, host: TransportHost, signal: PublishSignal | undefined, resolve: () => void, reject: (error: unknown) => void) {
    this.message = message
    this.#signal = signal
    this.#resolve = resolve
    this.#reject = reject
    if (signal?.aborted === true) this.#giveUp()
    else signal?.addEventListener('abort', this.#giveUp, { once: true })
    // Whoever gives a signal decides how long the message is kept.
    this.#limit = signal === undefined ? host.clock.setTimer(PUBLISH_TIMEOUT_MS, this.#giveUp) : undefined
  }

  /** True where its caller has its answer. */
  get isOver(): boolean {
    return this.#isOver
  }

  done(): void {
    if (this.#end()) this.#resolve()
  }

  fail(error: TrunklineError): void {
    if (this.#end()) this.#reject(error)
  }

  refuse(thrown: unknown): void {
    const { type, id } = this.message.outbound.message
    this.fail(new TrunklineError('bus.publish_refused', { type, id, problem: errorText(thrown) }, { cause: thrown }))
  }

  #end(): boolean {
    if (this.#isOver) return false
    this.#isOver = true
    this.#limit?.cancel()
    this.#signal?.removeEventListener('abort', this.#giveUp)
    return true
  }

  readonly #giveUp = (): void => {
    this.fail(lost('given up before it was stored'))
  }
}
