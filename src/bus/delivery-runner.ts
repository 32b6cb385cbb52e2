import type { ContractTypes, DefinedContract } from '../contract/contract.ts'
import { type Clock, instantText } from '../core/clock.ts'
import type { Message, WireMessage } from '../core/envelope.ts'
import { TrunklineError, isTrunklineError } from '../core/errors.ts'
import { HOPS_MAX } from '../core/limits.ts'
import type { Logger } from '../core/logger.ts'
import type { Random } from '../core/random.ts'
import { CLAIM_TYPE, unopenedClaim } from './claim-check.ts'
import type { BusCounters, BusEvent } from './bus-events.ts'
import type { Admission } from './call-policy.ts'
import { AdmittedDeliveries } from './admitted-deliveries.ts'
import { type ContextSource, type HandlerContext, LazyContext } from './context.ts'
import { deadLetterOf } from './dead-letter-of.ts'
import type { DeadlineSweep, Expiring } from './deadline-sweep.ts'
import { messageOf, scopeOf } from './envelopes.ts'
import type { HandleChain, ReceiveChain } from './middleware.ts'
import { KeptAnswer } from './kept-answer.ts'
import { OpenedDelivery } from './opened-delivery.ts'
import type { Delivery } from './port.ts'
import { type DecideRetry, type Decision, type RetryPolicy, codeOf, decideRetry, dispositionOf } from './retry-policy.ts'
import { type Scope, runInScope } from './scope.ts'
import type { SuspectGate } from './suspect-gate.ts'

/** A user's handler with its contract. */
export interface HandlerEntry {
  readonly contract: DefinedContract<string, ContractTypes>
  /** For people: in logs and dead letters. */
  readonly name: string
  readonly handle: (message: Message, context: HandlerContext) => unknown
}

/** How one subscription handles what it gets. */
export interface RunnerOptions {
  readonly group: string
  readonly inFlightMax: number
  readonly handlerTimeoutMs: number
  readonly policy: RetryPolicy
  readonly decide: DecideRetry | undefined
  readonly entries: ReadonlyMap<string, HandlerEntry>
  /** Hears how each attempt ended, where somebody wants to know. */
  readonly outcome?: ((isFailure: boolean) => void) | undefined
  /** Lets asked commands in; undefined where all are taken as they come. */
  readonly admission?: Admission | undefined
}

/** What the runners of one bus share. */
export interface RunnerHost {
  readonly clock: Clock
  readonly random: Random
  readonly logger: Logger
  readonly service: string
  readonly instance: string
  readonly bodyBytesMax: number
  readonly suspects: SuspectGate
  readonly deadlines: DeadlineSweep
  readonly counters: BusCounters
  readonly emit: (event: BusEvent) => void
  /** Middleware round handlers, where there is any. */
  readonly around: HandleChain | undefined
  /** Middleware that changes messages on their way in, where there is any. */
  readonly receive: ReceiveChain | undefined
  /** Answers an asked command; resolves in any case. */
  readonly answer: (wire: WireMessage, contract: DefinedContract<string, ContractTypes>, outcome: AnswerOutcome) => Promise<void> | undefined
  /** The subscription cannot go on; the bus pauses it and shows it in its health. */
  readonly halt: (runner: DeliveryRunner, error: unknown) => void
}

/** What an asker gets to know. */
export type AnswerOutcome =
  | { readonly kind: 'value'; readonly value: unknown }
  | { readonly kind: 'error'; readonly error: unknown; /** True where no handler was called. */ readonly isRefusal?: boolean }

/** Resolves when a delivery is settled; undefined where it is settled already. */
export type Settled = Promise<void> | undefined

/** A delivery that passed every check and waits for its handler. */
export interface Prepared {
  readonly delivery: Delivery
  readonly entry: HandlerEntry
  readonly attempt: number
  readonly message: Message
  readonly scope: Scope
  readonly context: LazyContext
}

/**
 * Takes the deliveries of one subscription from an adapter and settles each one: checks, handler
 * with time limit, retry policy, dead letter. At most `inFlightMax` handlers run at the same time;
 * what the adapter hands over beyond that waits here, bounded by the adapter's prefetch.
 */
export class DeliveryRunner {
  readonly options: RunnerOptions
  protected readonly host: RunnerHost
  readonly #waiting: Delivery[] = []
  #inFlight = 0
  #suspects = 0
  #isStopping = false
  #isPumping = false
  readonly #idle: (() => void)[] = []
  readonly #running = new Set<LazyContext>()
  readonly #source: ContextSource
  readonly #admitted: AdmittedDeliveries | undefined

  constructor(options: RunnerOptions, host: RunnerHost) {
    this.options = options
    this.host = host
    this.#source = { group: options.group, attemptsMax: options.policy.attemptsMax, logger: host.logger }
    const { admission } = options
    if (admission !== undefined) this.#admitted = new AdmittedDeliveries(admission, { start: this.#start, refuse: this.#refuse })
  }

  /** Deliveries being handled now. */
  get inFlight(): number {
    return this.#inFlight + this.#suspects
  }

  /** The sink given to the adapter. */
  readonly take = (delivery: Delivery): void => {
    if (this.#isStopping) {
      this.#quietly(delivery.release())
      return
    }
    if (this.#admitted?.offer(delivery) === true) return
    this.#waiting.push(delivery)
    this.pump()
  }

  /** Takes no more; gives back what has not begun; resolves when every handler has ended and was settled. */
  async drain(): Promise<void> {
    this.#isStopping = true
    for (const delivery of [...(this.#admitted?.giveBack() ?? []), ...this.#waiting.splice(0)]) {
      this.#quietly(delivery.release())
      this.#admitted?.ended(delivery)
    }
    this.flush()
    if (this.#inFlight > 0 || this.#suspects > 0) await new Promise<void>((resolve) => this.#idle.push(resolve))
  }

  /** True while a handler runs in this scope. */
  isHandling(scope: Scope): boolean {
    for (const context of this.#running) if (context.isOf(scope)) return true
    return false
  }

  /** Tells the handlers that still run to stop. */
  abort(reason: unknown): void {
    for (const context of this.#running) context.abort(reason)
  }

  /** Room for more handlers. */
  protected get hasRoom(): boolean {
    return this.#inFlight < this.options.inFlightMax
  }

  /** Runs what was prepared; a batching runner collects instead. */
  protected perform(prepared: Prepared): Settled {
    return this.performOne(prepared, prepared.entry.handle)
  }

  /** Runs what a batching runner holds back. */
  protected flush(): void {}

  protected pump(): void {
    // A delivery that is settled at once ends inside the loop, which then goes on by itself.
    if (this.#isPumping) return
    this.#isPumping = true
    while (this.hasRoom) {
      const delivery = this.#waiting.shift()
      if (delivery === undefined) break
      if (delivery.isSuspect) {
        this.#takeSuspect(delivery)
        continue
      }
      this.#inFlight++
      const settled = this.#attempted(delivery)
      if (settled === undefined) this.#endedOne(delivery)
      else if (this.#admitted === undefined) settled.then(this.#ended, this.#broke)
      else settled.catch((error: unknown) => this.#report(error)).finally(() => this.#endedOne(delivery))
    }
    this.#isPumping = false
  }

  #endedOne(delivery: Delivery): void {
    this.#admitted?.ended(delivery)
    this.#ended()
  }

  /** It was let in: it takes its turn among what was only sent. */
  readonly #start = (delivery: Delivery): void => {
    this.#waiting.push(delivery)
    this.pump()
  }

  /** First the ack: whoever is told that nothing was begun may have it done elsewhere. */
  readonly #refuse = (delivery: Delivery, error: TrunklineError): void => {
    const { message } = delivery
    const contract = this.options.entries.get(message.type)?.contract
    this.#inFlight++
    this.#settledRefusal(delivery, contract, error).catch((cause: unknown) => this.#report(cause)).finally(this.#ended)
  }

  async #settledRefusal(delivery: Delivery, contract: HandlerEntry['contract'] | undefined, error: TrunklineError): Promise<void> {
    await delivery.ack()
    if (contract !== undefined) await this.host.answer(delivery.message, contract, { kind: 'error', error, isRefusal: true })
  }

  readonly #ended = (): void => {
    this.#inFlight--
    this.#tellIdle()
    if (this.#waiting.length > 0) this.pump()
  }

  /** Suspects wait for their turn beside the in-flight limit: one that hangs must not starve what is healthy. */
  #takeSuspect(delivery: Delivery): void {
    this.#suspects++
    const ended = (): void => {
      this.#suspects--
      this.#tellIdle()
    }
    this.#runAlone(delivery).then(ended, (error: unknown) => {
      this.#report(error)
      ended()
    })
  }

  #tellIdle(): void {
    if (this.#inFlight === 0 && this.#suspects === 0 && this.#idle.length > 0) for (const resolve of this.#idle.splice(0)) resolve()
  }

  readonly #broke = (error: unknown): void => {
    this.#report(error)
    this.#ended()
  }

  #report(error: unknown): void {
    this.host.logger.error({ err: error, group: this.options.group }, 'a delivery could not be settled; it will come again')
  }

  /** Whatever an adapter throws while it settles, the other deliveries go on. */
  #attempted(delivery: Delivery): Settled {
    try {
      return this.#run(delivery)
    } catch (error) {
      return Promise.reject(error)
    }
  }

  #run(delivery: Delivery): Settled {
    const opened = this.#opened(delivery)
    if (opened !== undefined) return opened.then((message) => (message === undefined ? undefined : this.#runOpened(new OpenedDelivery(delivery, message))))
    return this.#runOpened(delivery)
  }

  /** The message as middleware makes it, undefined where that failed and was settled; and undefined at once where nothing has to be done. */
  #opened(delivery: Delivery): Promise<WireMessage | undefined> | undefined {
    const { receive } = this.host
    const opened = receive?.(delivery.message)
    return opened?.catch((error: unknown) => this.fail(delivery, delivery.attempt, error).then(() => undefined))
  }

  #runOpened(delivery: Delivery): Settled {
    const prepared = this.#prepare(delivery, delivery.attempt)
    return prepared instanceof Promise ? prepared : this.perform(prepared)
  }

  async #runAlone(delivery: Delivery): Promise<void> {
    await this.host.suspects.enter()
    try {
      if (this.#isStopping) await delivery.release()
      else await this.#runSuspect(delivery)
    } finally {
      this.host.suspects.leave()
    }
  }

  async #runSuspect(delivery: Delivery): Promise<void> {
    if (this.#isExhausted(delivery)) {
      await this.#giveUp(delivery, this.#exhausted(delivery), delivery.attempt, this.options.entries.get(delivery.message.type))
      return
    }
    const attempt = await delivery.begin()
    const message = await (this.#opened(delivery) ?? delivery.message)
    if (message === undefined) return
    const prepared = this.#prepare(message === delivery.message ? delivery : new OpenedDelivery(delivery, message), attempt)
    await (prepared instanceof Promise ? prepared : this.performOne(prepared, prepared.entry.handle))
  }

  /**
   * Beside the attempts that are known to have begun, the one that made it a suspect has perhaps run, unrecorded.
   * It counts, so that a message that kills its process does it `attemptsMax` times and not once more; but a suspect of
   * which no attempt is known always gets its turn, since it may only have waited beside the one that killed.
   */
  #isExhausted({ attempt }: Delivery): boolean {
    const { attemptsMax } = this.options.policy
    return attempt > attemptsMax || (attempt === attemptsMax && attempt > 1)
  }

  #exhausted(delivery: Delivery): TrunklineError {
    const attempts = delivery.attempt
    return new TrunklineError('bus.attempts_exhausted', {
      type: delivery.message.type,
      group: this.options.group,
      attempts,
      problem: 'the last attempt never ended: its process died, hung or lost its link while the handler ran',
    })
  }

  /** Checks everything that can be known before the handler runs; what fails is settled at once. */
  #prepare(delivery: Delivery, attempt: number): Prepared | Promise<void> {
    const wire = delivery.message
    try {
      if (wire.defect !== undefined) throw new TrunklineError('contract.message_foreign', { problem: wire.defect })
      if (wire.contentType === CLAIM_TYPE) throw unopenedClaim()
      const entry = this.options.entries.get(wire.type)
      if (entry === undefined) throw new TrunklineError('bus.type_unhandled', { type: wire.type.slice(0, 200), group: this.options.group })
      if (wire.hops > HOPS_MAX) throw new TrunklineError('bus.hops_exceeded', { type: wire.type, hops: `${wire.hops}`, hopsMax: HOPS_MAX })
      const scope = scopeOf(wire)
      // An operator who takes a message out of the dead letters wants it handled, however late.
      if (scope.deadlineAtMs !== undefined && !delivery.isRedriven && scope.deadlineAtMs <= this.host.clock.nowMs()) {
        // An ask has ended with its asker, who was told so; as a dead letter it would hold its key for an operator.
        if (wire.replyTo !== undefined) return this.#expire(delivery)
        throw new TrunklineError('bus.deadline_passed', { type: wire.type, deadline: instantText(scope.deadlineAtMs) })
      }
      const data = entry.contract.decode(wire.version, wire.body, this.host.bodyBytesMax)
      const context = new LazyContext(this.#source, delivery, attempt, scope)
      return { delivery, entry, attempt, message: messageOf(wire, data, scope), scope, context }
    } catch (error) {
      return this.fail(delivery, attempt, error)
    }
  }

  async #expire(delivery: Delivery): Promise<void> {
    const { type, id } = delivery.message
    this.host.counters.expiredRequests++
    this.host.emit({ kind: 'request-expired', type, id })
    await delivery.ack()
  }

  /** The same with a context of its own, for one more call of a handler within the attempt. */
  protected renewed(prepared: Prepared): Prepared {
    return { ...prepared, context: new LazyContext(this.#source, prepared.delivery, prepared.attempt, prepared.scope) }
  }

  /** Runs one handler and settles its delivery. A synchronous handler costs no timer and no extra turn. */
  protected performOne(prepared: Prepared, handle: HandlerEntry['handle']): Settled {
    const { delivery, entry, attempt } = prepared
    let result: unknown
    try {
      result = this.callHandler(prepared, handle)
    } catch (error) {
      return this.#failed(delivery, attempt, error, entry)
    }
    if (!isThenable(result)) return this.succeed(delivery, entry, { kind: 'value', value: result })
    return this.limited(prepared, result).then(
      (value) => this.succeed(delivery, entry, { kind: 'value', value }),
      (error: unknown) => this.#failed(delivery, attempt, error, entry),
    )
  }

  /** Before the ack comes the answer: a death in between repeats the command and its answer, and loses neither. */
  protected succeed(delivery: Delivery, entry: HandlerEntry, outcome: AnswerOutcome): Settled {
    this.host.counters.handled++
    if (outcome.kind === 'value' && outcome.value instanceof KeptAnswer) this.host.counters.repeated++
    this.options.outcome?.(false)
    if (delivery.message.replyTo === undefined) return delivery.ack()
    return this.host.answer(delivery.message, entry.contract, outcome)?.then(() => delivery.ack()) ?? delivery.ack()
  }

  /** Calls a handler inside its scope and middleware; what it returns may be a promise. */
  protected callHandler(prepared: Prepared, handle: HandlerEntry['handle']): unknown {
    const { context, entry, message, scope } = prepared
    const { around } = this.host
    if (around === undefined) return runInScope(scope, handle, message, context)
    return runInScope(scope, around, { contract: entry.contract, message, context }, () => handle(message, context))
  }

  /** Calls `work` such that what it publishes and reads belongs to the message. */
  protected inScope<T>(prepared: Prepared, work: () => T): T {
    return runInScope(prepared.scope, work)
  }

  /** Waits for a handler's promise within its time limit. */
  protected limited(prepared: Prepared, result: PromiseLike<unknown>): Promise<unknown> {
    const { context, message } = prepared
    this.#running.add(context)
    const { deadlines, clock } = this.host
    const timeoutMs = this.options.handlerTimeoutMs
    return new Promise((resolve, reject) => {
      let isLate = false
      const limit: Expiring = {
        expiresAtMs: clock.monotonicMs() + timeoutMs,
        expire: () => {
          isLate = true
          const error = new TrunklineError('bus.handler_timeout', { type: message.type, group: this.options.group, timeoutMs })
          context.abort(error)
          reject(error)
        },
      }
      const end = (): void => {
        this.#running.delete(context)
        if (isLate) this.host.emit({ kind: 'handler-late', group: this.options.group, type: message.type, id: message.id })
        else deadlines.remove(limit)
      }
      deadlines.add(limit)
      result.then(
        (value) => {
          end()
          resolve(value)
        },
        (error: unknown) => {
          end()
          reject(error)
        },
      )
    })
  }

  /** Applies the retry policy to a failed attempt. */
  protected fail(delivery: Delivery, attempt: number, error: unknown): Promise<void> {
    return this.#failed(delivery, attempt, error, this.options.entries.get(delivery.message.type))
  }

  async #failed(delivery: Delivery, attempt: number, error: unknown, entry: HandlerEntry | undefined): Promise<void> {
    const { message } = delivery
    if (message.replyTo !== undefined && entry !== undefined && isDeclared(error, entry)) {
      // A declared error is an answer: the command was handled and its outcome is a refusal.
      await this.succeed(delivery, entry, { kind: 'error', error })
      return
    }
    this.options.outcome?.(true)
    const decision = this.#decide(delivery, attempt, error)
    if (decision.kind === 'retry') {
      this.host.counters.retried++
      this.host.logger.warn({ err: error, ...this.#named(delivery, attempt), delayMs: decision.delayMs }, 'a handler failed; the message will be tried again')
      this.host.emit({ kind: 'delivery-retried', group: this.options.group, type: message.type, id: message.id, attempt, delayMs: decision.delayMs, code: codeOf(error) })
      await delivery.retry(decision.delayMs)
    } else if (decision.kind === 'stop') {
      this.host.halt(this, error)
      await delivery.release()
    } else await this.#giveUp(delivery, error, attempt, entry)
  }

  #named(delivery: Delivery, attempt: number): object {
    const { id, type } = delivery.message
    return { group: this.options.group, type, messageId: id, attempt }
  }

  #decide(delivery: Delivery, attempt: number, error: unknown): Decision {
    const { policy, decide, group } = this.options
    const failure = { error, disposition: dispositionOf(error), attempt, attemptsMax: policy.attemptsMax, type: delivery.message.type, group }
    return decideRetry(failure, policy, decide, this.host.random)
  }

  async #giveUp(delivery: Delivery, error: unknown, attempts: number, entry?: HandlerEntry): Promise<void> {
    const { message } = delivery
    const { service, instance, clock, counters, emit, answer } = this.host
    const record = deadLetterOf(error, { attempts, handler: entry?.name ?? '', service, instance, nowMs: clock.nowMs() })
    await delivery.deadLetter(record)
    counters.deadLettered++
    this.host.logger.error({ err: error, ...this.#named(delivery, attempts) }, 'a message was given up and is a dead letter now')
    emit({ kind: 'delivery-dead-lettered', group: this.options.group, type: message.type, id: message.id, attempts, code: codeOf(error) })
    if (message.replyTo !== undefined && entry !== undefined) await answer(message, entry.contract, { kind: 'error', error })
  }

  #quietly(promise: Promise<unknown>): void {
    promise.catch((error: unknown) => this.host.logger.warn({ err: error, group: this.options.group }, 'a delivery could not be given back; it will come again'))
  }
}

function isDeclared(error: unknown, entry: HandlerEntry): boolean {
  return isTrunklineError(error, 'contract.declared_error') && error.details.type === entry.contract.type && entry.contract.declaresError(error.details.name)
}

/** True for a promise, also of another library. */
export function isThenable(value: unknown): value is PromiseLike<unknown> {
  return typeof value === 'object' && value !== null && 'then' in value && typeof value.then === 'function'
}
