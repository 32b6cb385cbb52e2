import type { Outbound, PublishSignal } from '../../bus/port.ts'
import { TrunklineError, errorText } from '../../core/errors.ts'
import { lost } from './sqlite-call-job.ts'
import type { SqliteCommitQueue } from './sqlite-commit-queue.ts'
import type { SqliteJob, SqliteTurn } from './sqlite-turn.ts'
import { storeMessage } from './sqlite-deliveries.ts'
import type { SqliteFailure } from './sqlite-driver.ts'
import { routeOf } from './sqlite-groups.ts'
import { attributesText } from './sqlite-message.ts'

/** Stores one message together with those that are published at the same time, and resolves after their common commit. */
export function publishWith(
  queue: SqliteCommitQueue,
  outbound: Outbound,
  options: { readonly giveUpAtMs: number; readonly signal: PublishSignal | undefined },
): Promise<void> {
  return new Promise((resolve, reject) => {
    const job = new PublishJob(outbound, options, resolve, reject)
    if (!job.isCancelled) queue.add(job)
  })
}

/** Stores a message for the groups that want it, and for the instances that listen, in a transaction. */
export function storeOutbound(turn: SqliteTurn, { kind, message }: Outbound, attributes: string): void {
  const route = routeOf(turn, kind, message.type)
  if (route.groups.length > 0) {
    storeMessage(turn, route.groups, message.key, attributes, message.body)
    turn.wakesOthers = true
  }
  for (const address of route.listeners) {
    turn.connection.run("INSERT INTO trunkline_light (address, kind, attributes, body) VALUES (?, 'broadcast', ?, ?)", address, attributes, message.body)
    turn.wakesOthers = true
    turn.wakesInbox = true
  }
}

class PublishJob implements SqliteJob {
  readonly isUnit = false
  readonly bytes: number
  readonly #outbound: Outbound
  readonly #attributes: string
  readonly #giveUpAtMs: number
  readonly #signal: PublishSignal | undefined
  readonly #resolve: () => void
  readonly #reject: (error: unknown) => void
  #isCancelled = false

  constructor(
    outbound: Outbound,
    options: { readonly giveUpAtMs: number; readonly signal: PublishSignal | undefined },
    resolve: () => void,
    reject: (error: unknown) => void,
  ) {
    this.#outbound = outbound
    this.#attributes = attributesText(outbound.message)
    this.bytes = this.#attributes.length + outbound.message.body.byteLength
    this.#giveUpAtMs = options.giveUpAtMs
    this.#signal = options.signal
    this.#resolve = resolve
    this.#reject = reject
    if (this.#signal?.aborted === true) this.#cancel()
    else this.#signal?.addEventListener('abort', this.#cancel, { once: true })
  }

  get isCancelled(): boolean {
    return this.#isCancelled
  }

  run(turn: SqliteTurn): void {
    storeOutbound(turn, this.#outbound, this.#attributes)
  }

  done(): void {
    this.#signal?.removeEventListener('abort', this.#cancel)
    this.#resolve()
  }

  isExpired(nowMs: number, failure: SqliteFailure): boolean {
    // While the file cannot be used, whoever gave the signal decides how long the message is kept.
    return nowMs >= this.#giveUpAtMs && (failure === 'busy' || this.#signal === undefined)
  }

  fail(failure: SqliteFailure, thrown: unknown): void {
    this.#signal?.removeEventListener('abort', this.#cancel)
    const { type, id } = this.#outbound.message
    const problem = errorText(thrown)
    if (failure !== 'refused') this.#reject(lost(failure, thrown))
    else this.#reject(new TrunklineError('bus.publish_refused', { type, id, problem }, { cause: thrown }))
  }

  readonly #cancel = (): void => {
    if (this.#isCancelled) return
    this.#isCancelled = true
    this.#reject(new TrunklineError('bus.connection_lost', { adapter: 'sqlite', problem: 'given up before it was stored' }))
  }
}
