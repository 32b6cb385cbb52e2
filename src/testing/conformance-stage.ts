import { fail } from 'node:assert/strict'
import { type Bus, createBus } from '../bus/bus.ts'
import { deadLetterPlane } from '../bus/dead-letters.ts'
import type { BusOptions } from '../bus/options.ts'
import type { DeadLetterPlane, Delivery, LightPlane, Outbound, Subscription, Transport, TransportHost, TransportSubscription } from '../bus/port.ts'
import type { RetryOptions } from '../core/backoff.ts'
import { instantText, sleep, systemClock } from '../core/clock.ts'
import type { WireMessage } from '../core/envelope.ts'
import { type ErrorCode, TrunklineError, isTrunklineError } from '../core/errors.ts'
import { silentLogger } from '../core/logger.ts'
import { type Random, seededRandom, systemRandom } from '../core/random.ts'
import { WAIT_MS_MAX, comesTrue } from './conformance-wait.ts'
import type { WorkerSettings } from './conformance-worker.ts'
import type { BrokerFaults, ConformancePlace, ConformanceSubject, WorkerProcess } from './conformance-subject.ts'

/** Lets handlers wait until the case says so. */
export class Gate {
  readonly #deferred = Promise.withResolvers<void>()

  /** Resolves once the gate is open. */
  get opened(): Promise<void> {
    return this.#deferred.promise
  }

  open(): void {
    this.#deferred.resolve()
  }
}

/** What a bus of the stage is made of, beside its service. */
export type StageBusOptions = Partial<Omit<BusOptions, 'service' | 'transport'>>

/** What a stage is told about its case. */
export interface StageOptions {
  /** False where buses must not ask for delayed retries, because the transport has none and the case is not about them. Default true. */
  readonly delays?: boolean
}

/** A transport without a bus round it, and what it has handed over. */
export class PortSession {
  readonly transport: Transport
  readonly deliveries: Delivery[] = []

  constructor(transport: Transport) {
    this.transport = transport
  }

  async publish(kind: Outbound['kind'], message: WireMessage): Promise<void> {
    await this.transport.publish({ kind, message }, undefined)
  }

  /** The light plane. @throws `bus.unsupported` where the transport has none. */
  get light(): LightPlane {
    const { light, name, capabilities } = this.transport
    if (light !== undefined && capabilities.canRequest) return light
    throw new TrunklineError('bus.unsupported', { adapter: name, capability: 'canRequest', needed: 'the light plane' })
  }

  /** The dead letters. @throws `bus.unsupported` where the transport has none. */
  get deadLetters(): DeadLetterPlane {
    return deadLetterPlane(this.transport)
  }

  /** Subscribes and collects what is delivered in `deliveries`. */
  subscribe(subscription: Partial<Subscription> & Pick<Subscription, 'group' | 'types'>): Promise<TransportSubscription> {
    const whole: Subscription = { kind: 'event', order: 'none', from: 'new', inFlightMax: 16, handlerTimeoutMs: 30_000, ...subscription }
    return this.transport.subscribe(whole, (delivery) => {
      this.deliveries.push(delivery)
    })
  }
}

/**
 * What a case works with: buses, bare transports and workers in the case's own place, and waits with a
 * limit. Everything that it made ends with it.
 */
export class Stage implements AsyncDisposable {
  readonly subject: ConformanceSubject
  /** Repeats from run to run, so that a case that shuffles does so in the same way. */
  readonly random: Random = seededRandom(20_251)
  readonly #place: ConformancePlace
  readonly #options: StageOptions
  readonly #buses: Bus[] = []
  readonly #ports: Transport[] = []
  readonly #workers: WorkerProcess[] = []
  readonly #gates: Gate[] = []
  readonly #others: Stage[] = []

  constructor(subject: ConformanceSubject, place: ConformancePlace, options: StageOptions = {}) {
    this.subject = subject
    this.#place = place
    this.#options = options
  }

  /** A time limit for asks that is only reached by a failure. */
  get patienceMs(): number {
    return Math.min(15_000, this.subject.waitMsMax ?? Infinity)
  }

  /** The clock of the machine: transports under test run in real time. */
  get nowMs(): number {
    return systemClock.nowMs()
  }

  /** A bus of one instance of `service`, not started. */
  bus(service = 'shop', options: StageBusOptions = {}): Bus {
    const { defaults, ...rest } = options
    const retry: RetryOptions = this.#options.delays === false ? { attemptsMax: 1 } : { initialMs: 5, maxMs: 20 }
    const bus = createBus({
      service: { name: service },
      transport: this.#place.open(),
      // What the cases bring about is no news to whoever runs them.
      logger: silentLogger,
      ...rest,
      defaults: { retry, publishTimeoutMs: 15_000, askTimeoutMs: this.patienceMs, drainTimeoutMs: 3_000, ...defaults },
    })
    this.#buses.push(bus)
    return bus
  }

  /** A bus that only sends; started. */
  async publisher(options: StageBusOptions = {}): Promise<Bus> {
    const bus = this.bus('publisher', options)
    await bus.start()
    return bus
  }

  /** An open transport without a bus. */
  async port(service = 'port'): Promise<PortSession> {
    const transport = this.#place.open()
    const host: TransportHost = {
      clock: systemClock, random: systemRandom, logger: silentLogger, service, instance: systemRandom.id(systemClock.nowMs()), report: () => {},
    }
    await transport.open(host)
    this.#ports.push(transport)
    return new PortSession(transport)
  }

  /** A gate that opens at the latest when the case ends, so that no handler is left waiting. */
  gate(): Gate {
    const gate = new Gate()
    this.#gates.push(gate)
    return gate
  }

  /** Another, separate place of the same subject. */
  async elsewhere(): Promise<Stage> {
    const other = new Stage(this.subject, await this.subject.place(), this.#options)
    this.#others.push(other)
    return other
  }

  /** Starts a worker process in this place. */
  worker(settings: WorkerSettings): WorkerProcess {
    if (this.#place.spawn === undefined) return fail(`${this.subject.name} spawns no workers`)
    const worker = this.#place.spawn(settings)
    this.#workers.push(worker)
    return worker
  }

  /** The means to break this place's broker. */
  get faults(): BrokerFaults {
    return this.#place.faults ?? fail(`${this.subject.name} has nothing to break`)
  }

  /** Puts a message of another program into this place. */
  publishForeign(...message: Parameters<NonNullable<ConformancePlace['publishForeign']>>): Promise<void> {
    return this.#place.publishForeign?.(...message) ?? fail(`${this.subject.name} is written by this library alone`)
  }

  /**
   * Resolves when the condition holds; rejects when it does not in time. An error that it throws counts as "not yet",
   * `bus.unsupported` apart, which no time can change.
   */
  async until(what: string, holds: () => boolean | Promise<boolean>, longestMs: number = WAIT_MS_MAX): Promise<void> {
    await comesTrue(what, holds, Math.min(longestMs, this.subject.waitMsMax ?? Infinity))
  }

  /** Time for work that a handler pretends to do. No case is right only because of it. */
  pause(delayMs: number): Promise<void> {
    return sleep(systemClock, delayMs)
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const gate of this.#gates) gate.open()
    await Promise.allSettled(this.#workers.map((worker) => worker.kill()))
    await Promise.allSettled(this.#buses.map((bus) => bus.stop()))
    await Promise.allSettled(this.#ports.map((transport) => transport.close()))
    for (const other of this.#others) await other[Symbol.asyncDispose]()
    await this.#place.close()
  }
}

/** A message as an adapter gets it; the body is JSON of `data` unless bytes are given. */
export function wireMessage(parts: Partial<WireMessage> & Pick<WireMessage, 'type'>, data: unknown = {}): WireMessage {
  const nowMs = systemClock.nowMs()
  return {
    id: systemRandom.id(nowMs),
    source: '/conformance',
    version: 1,
    time: instantText(nowMs),
    contentType: 'application/json',
    key: undefined,
    correlationId: undefined,
    causationId: undefined,
    deadline: undefined,
    tenant: undefined,
    traceparent: undefined,
    tracestate: undefined,
    hops: 0,
    replyTo: undefined,
    outcome: undefined,
    headers: undefined,
    body: Buffer.from(JSON.stringify(data)),
    defect: undefined,
    ...parts,
  }
}

/** An error as a user's handler throws it. */
export function userError(message: string, options?: ErrorOptions): Error {
  return new Error(message, options)
}

/** Waits for a rejection with the given code and gives the error back. */
export async function refusal(work: () => unknown, code: ErrorCode, what = ''): Promise<Error> {
  try {
    await work()
  } catch (error) {
    if (isTrunklineError(error, code)) return error
    // Told apart by the suite itself: the transport does not have what the case needs.
    if (isTrunklineError(error, 'bus.unsupported')) throw error
    return fail(`${what} was refused with ${error instanceof Error ? error.message : String(error)}, not with ${code}`)
  }
  return fail(`${what} was accepted instead of refused with ${code}`)
}

/** Whole numbers from `first` to `last`. */
export function range(first: number, last: number): number[] {
  return Array.from({ length: Math.max(0, last - first + 1) }, (_, index) => first + index)
}

/** A sorted copy. */
export function sorted(numbers: Iterable<number>): number[] {
  return [...numbers].toSorted((left, right) => left - right)
}
