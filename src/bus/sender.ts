import type { Contract, ContractTypes, DefinedContract } from '../contract/contract.ts'
import { aKind } from '../contract/names.ts'
import { neverAborted } from '../core/abort.ts'
import type { Clock } from '../core/clock.ts'
import { TrunklineError, isTrunklineError } from '../core/errors.ts'
import { ASK_TIMEOUT_MS, BODY_BYTES_MAX, PUBLISH_TIMEOUT_MS } from '../core/limits.ts'
import type { Logger } from '../core/logger.ts'
import { answerMessage } from './answer-message.ts'
import type { Balancer } from './balancer.ts'
import type { CallPolicy, PolicyHost } from './call-policy.ts'
import { type AttemptLimits, askUnder } from './ask-under.ts'
import type { BusCounters } from './bus-events.ts'
import type { Calls } from './calls.ts'
import { checkAskOptions, checkPublishOptions } from './checked-options.ts'
import type { DeadlineSweep } from './deadline-sweep.ts'
import type { AnswerOutcome } from './delivery-runner.ts'
import type { Envelopes } from './envelopes.ts'
import { type Middleware, type PublishStep, publishChain } from './middleware.ts'
import type { AskOptions, BusDefaults, PublishOptions } from './options.ts'
import type { LightPlane, Outbound } from './port.ts'
import type { ContractRegistry } from './registry.ts'
import { inRange } from './retry-policy.ts'
import type { RuntimeTransport } from './runtime-transport.ts'
import { currentScope } from './scope.ts'
import { refuseInUnit } from './unit-scope.ts'

const STORED: Promise<void> = Promise.resolve()

/** What the outgoing side needs of its bus. */
export interface SenderParts {
  readonly clock: Clock
  readonly logger: Logger
  readonly policyHost: PolicyHost
  /** The policy that is configured for a contract. */
  readonly policyOf: ((contract: Contract) => CallPolicy<unknown> | undefined) | undefined
  readonly defaults: BusDefaults
  readonly registry: ContractRegistry
  readonly envelopes: Envelopes
  readonly counters: BusCounters
  readonly deadlines: DeadlineSweep
  readonly calls: Calls
  readonly transport: RuntimeTransport
  readonly lightTransport: RuntimeTransport
  /** Of the bus's directory; undefined without one. */
  readonly balancer: () => Balancer | undefined
  /** @throws `bus.not_running`. */
  readonly mustRun: (operation: string) => void
}

/** The outgoing side of a bus: validates, puts into an envelope, runs the middleware and hands to a transport. */
export class Sender {
  readonly #parts: SenderParts
  readonly #bodyBytesMax: number
  #chain: ((step: PublishStep) => Promise<void>) | undefined

  constructor(parts: SenderParts) {
    this.#parts = parts
    this.#bodyBytesMax = parts.defaults.bodyBytesMax ?? BODY_BYTES_MAX
  }

  /** Sets what runs round every publish. */
  use(middleware: readonly Middleware[]): void {
    this.#chain = publishChain(middleware, (step) => this.#hand(step) ?? STORED)
  }

  /** See `Bus.broadcast`. */
  broadcast(contract: Contract, data: unknown, options: PublishOptions | undefined): Promise<void> {
    try {
      this.#parts.mustRun('broadcast')
      if (options?.immediately !== true) refuseInUnit('bus.broadcast')
      checkPublishOptions('bus.broadcast', options)
      this.light('canBroadcast', contract.type)
      const known = this.#parts.registry.addSent(contract)
      if (known.kind !== 'event') throw wrongKind(known, 'an event')
      const message = this.#parts.envelopes.make(known, known.encode(data, this.#bodyBytesMax), options, { deadlineAtMs: options?.deadlineAtMs, isLight: true })
      return this.#publishStep({ contract, kind: known.kind, plane: 'light', message })?.catch((error: unknown) => this.#refused(error)) ?? STORED
    } catch (error) {
      return this.#refused(error)
    }
  }

  /** See `Bus.ask`. */
  ask(contract: Contract, data: unknown, options: AskOptions<unknown>): Promise<unknown> {
    try {
      this.#parts.mustRun('ask')
      if (options.immediately !== true) refuseInUnit('bus.ask')
      checkAskOptions(options)
      const limitMs = inRange('timeoutMs', options.timeoutMs ?? this.#parts.defaults.askTimeoutMs ?? ASK_TIMEOUT_MS, 1, 86_400_000)
      const timeoutMs = Math.min(limitMs, (currentScope()?.deadlineAtMs ?? Infinity) - this.#parts.clock.nowMs())
      const policy = options.policy ?? this.#parts.policyOf?.(contract)
      const { signal } = options
      if (policy === undefined) return this.#askOnce(contract, data, options, { timeoutMs, deadlineMs: timeoutMs, signal })
      return askUnder(policy, { contract, data, timeoutMs, signal, isIdempotent: options.isIdempotent === true }, this.#parts.policyHost, this.#parts.deadlines, (limits) => this.#askOnce(contract, data, options, limits))
    } catch (error) {
      return Promise.reject(error)
    }
  }

  #askOnce(contract: Contract, data: unknown, options: AskOptions<unknown>, limits: AttemptLimits): Promise<unknown> {
    return options.balance === undefined ? this.#askOf(undefined, contract, data, options, limits) : this.#askBalanced(options.balance, contract, data, options, limits)
  }

  /** Through the balancer, which makes one attempt or several, each at one instance. */
  async #askBalanced(balance: NonNullable<AskOptions['balance']>, contract: Contract, data: unknown, options: AskOptions<unknown>, limits: AttemptLimits): Promise<unknown> {
    const { deadlineMs, signal } = limits
    const balancer = this.#parts.balancer()
    if (balancer === undefined) {
      throw new TrunklineError('core.option_invalid', { option: 'balance of bus.ask', expected: 'given to a bus with discovery', actual: 'given to a bus without' })
    }
    const isCommand = contract.kind === 'command'
    if (isCommand && contract.order === 'key') {
      throw new TrunklineError('core.option_invalid', { option: 'balance of bus.ask', expected: 'given for commands without order, since what goes to one instance overtakes what is stored', actual: `given for ${contract.type}` })
    }
    const { type, version } = contract
    // One id for all attempts: a handler within a store then recognises what it has done.
    const given = isCommand && options.id === undefined ? { ...options, id: this.#parts.envelopes.freshId() } : options
    const call = { type, version, balance, signal, timeoutMs: deadlineMs, mayRepeat: !isCommand || options.isIdempotent === true }
    return await balancer.ask(call, (to, { timeoutMs, signal: attemptSignal, early }) => {
      const attemptLimits = { timeoutMs, deadlineMs: timeoutMs, early, signal: attemptSignal === neverAborted ? undefined : attemptSignal }
      return this.#askOf(to, contract, data, given, attemptLimits)
    })
  }

  /** @param to address of one instance, or undefined for any. */
  #askOf(to: string | undefined, contract: Contract, data: unknown, options: AskOptions<unknown>, { timeoutMs, deadlineMs, signal, early }: AttemptLimits): Promise<unknown> {
    try {
      this.#parts.mustRun('ask')
      const light = this.light('canRequest', contract.type)
      const known = this.#parts.registry.addSent(contract)
      if (known.kind === 'event') throw wrongKind(known, 'a query or command')
      const encoded = known.encode(data, this.#bodyBytesMax)
      // Not later than the deadline of the message being handled, whatever the clock has done since `deadlineMs` was told from it.
      const deadlineAtMs = Math.min(this.#parts.clock.nowMs() + deadlineMs, currentScope()?.deadlineAtMs ?? Infinity)
      if (timeoutMs <= 0) throw new TrunklineError('bus.ask_timeout', { type: contract.type, timeoutMs: 0 })
      this.#parts.counters.asked++
      return this.#parts.calls.open(known, { timeoutMs, signal, early }, (token) => {
        if (known.kind === 'query' || to !== undefined) {
          const message = this.#parts.envelopes.make(known, encoded, options, { deadlineAtMs, isLight: known.kind === 'query' })
          return this.#publishStep({ contract, kind: known.kind, plane: 'light', message, token, to })
        }
        const message = this.#parts.envelopes.make(known, encoded, options, { deadlineAtMs, replyTo: light.replyAddress(token) })
        return this.#publishStep({ contract, kind: known.kind, plane: 'durable', message })
      })
    } catch (error) {
      return this.#refused(error)
    }
  }

  /** See `Bus.publish` and `Bus.send`. */
  store(kind: 'event' | 'command', contract: Contract, data: unknown, options: PublishOptions | undefined): Promise<void> {
    try {
      this.#parts.mustRun(kind === 'event' ? 'publish' : 'send')
      if (options?.immediately !== true) refuseInUnit(kind === 'event' ? 'bus.publish' : 'bus.send')
      checkPublishOptions(kind === 'event' ? 'bus.publish' : 'bus.send', options)
      const known = this.#parts.registry.addSent(contract)
      if (known.kind !== kind) throw wrongKind(known, aKind(kind))
      const encoded = known.encode(data, this.#bodyBytesMax)
      // Only asks hand a deadline on: what was published or sent is to be handled also when the asker has gone.
      const message = this.#parts.envelopes.make(known, encoded, options, options?.deadlineAtMs === undefined ? undefined : { deadlineAtMs: options.deadlineAtMs })
      if (options?.timeoutMs === undefined) return this.#publishStep({ contract, kind: known.kind, plane: 'durable', message }) ?? STORED
      const timeoutMs = inRange('timeoutMs', options.timeoutMs, 1, 86_400_000)
      return this.#within(this.#publishStep({ contract, kind, plane: 'durable', message, timeoutMs }) ?? STORED, message, timeoutMs)
    } catch (error) {
      return this.#refused(error)
    }
  }

  /** What may pass is told in a later turn of the event loop: who tries again at once must not keep the loop from what would let it pass. */
  #refused(error: unknown): Promise<never> {
    if (!isTrunklineError(error) || error.disposition !== 'retry' || error.code === 'bus.not_running') return Promise.reject(error)
    return new Promise((_resolve, reject) => this.#parts.clock.defer(() => reject(error)))
  }

  /** Publishes what an outbox kept: made long ago, perhaps by another process and of a type that this one does not know. */
  relay(outbound: Outbound, timeoutMs: number): Promise<void> | undefined {
    if (this.#chain === undefined) return this.#parts.transport.publish(outbound, timeoutMs)
    const { kind, message } = outbound
    return this.#chain({ contract: this.#parts.registry.get(message.type), kind, plane: 'durable', message, timeoutMs })
  }

  /** A limit of its own for one publish, middleware included. */
  #within(stored: Promise<void>, message: { readonly type: string; readonly id: string }, timeoutMs: number): Promise<void> {
    return new Promise((resolve, reject) => {
      const limit = {
        expiresAtMs: this.#parts.clock.monotonicMs() + timeoutMs,
        expire: (): void => reject(new TrunklineError('bus.publish_timeout', { type: message.type, id: message.id, timeoutMs })),
      }
      this.#parts.deadlines.add(limit)
      stored.then(resolve, reject).finally(() => this.#parts.deadlines.remove(limit))
    })
  }

  /** Undefined where all was done at once. */
  #publishStep(step: PublishStep): Promise<void> | undefined {
    return this.#chain === undefined ? this.#hand(step) : this.#chain(step)
  }

  /** The last step of every publish, inside all middleware. */
  readonly #hand = (step: PublishStep): Promise<void> | undefined => {
    const { message, plane } = step
    const isEvent = step.kind === 'event'
    if (plane === 'durable') {
      const kind = isEvent ? 'event' : 'command'
      const { inner } = this.#parts.transport
      if (!inner.capabilities.canStore) throw new TrunklineError('bus.unsupported', { adapter: inner.name, capability: 'canStore', needed: message.type })
      const stored = this.#parts.transport.publish({ kind, message }, step.timeoutMs ?? this.#parts.defaults.publishTimeoutMs ?? PUBLISH_TIMEOUT_MS)
      this.#parts.counters.published++
      return stored
    }
    const light = this.light(isEvent ? 'canBroadcast' : 'canRequest', message.type)
    return isEvent ? light.broadcast(message) : light.request(message, step.token ?? '', step.to)
  }

  /**
   * The light plane that carries what is asked for.
   *
   * @throws `bus.unsupported`.
   */
  light(capability: 'canBroadcast' | 'canRequest', needed: string): LightPlane {
    const { inner } = this.#parts.lightTransport
    if (inner.light !== undefined && inner.capabilities[capability]) return inner.light
    throw new TrunklineError('bus.unsupported', { adapter: inner.name, capability, needed })
  }

  /** Sends an answer; the asker may be gone, which is the asker's loss and nobody's error. */
  readonly reply = (replyTo: string, contract: DefinedContract<string, ContractTypes>, outcome: AnswerOutcome): Promise<void> | undefined => {
    try {
      const sent = this.#parts.lightTransport.inner.light?.reply(replyTo, answerMessage(this.#parts.envelopes, contract, outcome))
      return sent?.catch((error: unknown) => this.#unsent(contract, error))
    } catch (error) {
      this.#unsent(contract, error)
      return undefined
    }
  }

  #unsent(contract: Contract, error: unknown): void {
    this.#parts.logger.warn({ err: error, type: contract.type }, 'an answer could not be sent; the asker will time out')
  }
}

function wrongKind(contract: Contract, wanted: string): TrunklineError {
  return new TrunklineError('contract.definition_invalid', { type: contract.type, problem: `it is ${aKind(contract.kind)}, and ${wanted} is needed here` })
}
