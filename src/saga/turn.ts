import { type Contract, defined } from '../contract/contract.ts'
import { derivedId } from '../core/random.ts'
import { isDeepStrictEqual } from 'node:util'
import { type Due, checkedDue } from './due.ts'
import { type Instance, apply, copied } from './instance.ts'
import type { SagaMessage, SagaMoment, SagaOutgoing, SagaTimerOrder, SagaTransition } from './port.ts'
import type { KeptMessage, SagaEventData, SagaEventKind, SagaEvent, SagaOutcome, SentMessage } from './saga-events.ts'

/** What a turn needs of its saga. */
export interface SagaHost {
  readonly name: string
  /** What an instance that was started by another saga publishes at its end. */
  readonly ended: Contract
  readState(stored: unknown): unknown
  writeState(state: unknown): unknown
  /** Data of a message that was stored, lifted and validated. @throws `contract.*` where it no longer fits its contract. */
  dataOf(stored: { readonly type: string; readonly version: number; readonly data: unknown }): unknown
}

interface ReadState {
  readonly stored: unknown
  readonly state: unknown
}

/**
 * One transition while it is being made. Whatever is decided becomes an event first, and the event changes the instance, so that what is decided
 * next sees exactly what a later reader of the stream will see. It works on a copy: a transition that fails is thrown away.
 */
export class Turn {
  readonly instance: Instance
  readonly saga: SagaHost
  readonly moment: SagaMoment
  readonly #events: SagaEvent[] = []
  readonly #outgoing: SagaOutgoing[] = []
  readonly #timers = new Map<string, SagaTimerOrder>()
  readonly #cancelled = new Set<string>()
  #made = 0
  #read: ReadState | undefined

  constructor(saga: SagaHost, before: Readonly<Instance>, moment: SagaMoment) {
    this.instance = copied(before)
    this.saga = saga
    this.moment = moment
  }

  /** Says that something happened. */
  emit<K extends SagaEventKind>(kind: K, data: SagaEventData[K]): void {
    // Kind and data were given together, by the same key.
    const event = { kind, data } as SagaEvent
    this.#events.push(event)
    apply(this.instance, event)
  }

  /** The next id of this transition: the same whenever it is made again at this revision. */
  nextId(purpose: string): string {
    return derivedId(`saga-${purpose}`, this.saga.name, this.moment.instance, `${this.moment.revision ?? -1n}`, `${this.#made++}`)
  }

  /**
   * Sends or publishes with the commit; gives back what was sent.
   *
   * @throws `contract.*` for data that does not fit.
   */
  send(contract: Contract, data: unknown, headers?: Readonly<Record<string, string>>): SentMessage {
    const known = defined(contract)
    // Checked here, so that data which does not fit is this saga's fault and not its transaction's.
    const { body } = known.encode(data)
    const id = this.nextId('message')
    const { correlationId, tenant } = this.instance
    this.#outgoing.push({ id, contract, data, correlationId, tenant, headers })
    return { id, kind: known.kind === 'event' ? 'event' : 'command', type: contract.type, data: JSON.parse(body.toString()) }
  }

  /** Sets an alarm, in the place of one of that name. @throws `saga.timer_invalid`, `outbox.timer_invalid`. */
  setTimer(timer: string, due: Due): void {
    const { dueAtMs, due: told, cron, timeZone } = checkedDue(timer, due, this.moment.nowMs)
    const token = this.nextId('timer')
    this.emit('timer-set', { timer, dueAtMs, token, cron, timeZone })
    this.#timers.set(timer, { timer, token, dueAtMs, due: told })
    this.#cancelled.delete(timer)
  }

  /** Takes an alarm back; one that is not set is no mistake. */
  cancelTimer(timer: string): void {
    if (!(timer in this.instance.timers)) return
    this.emit('timer-cancelled', { timer })
    // One that this very transition has set was never told to the store, but may have taken the place of one that was.
    this.#timers.delete(timer)
    this.#cancelled.add(timer)
  }

  /** Takes all alarms back. */
  cancelTimers(): void {
    for (const timer of Object.keys(this.instance.timers)) this.cancelTimer(timer)
  }

  /** The state as a user's function gets it. @throws `contract.*` where the saga's schema does not take it. */
  get state(): unknown {
    const stored = this.instance.state
    const read: ReadState = this.#read !== undefined && this.#read.stored === stored ? this.#read : { stored, state: this.saga.readState(stored) }
    this.#read = read
    return read.state
  }

  /** A message that has waited, as it is handled. @throws `contract.*` where it no longer fits its contract. */
  messageOf(kept: KeptMessage): SagaMessage {
    return { ...kept, data: this.saga.dataOf({ type: kept.type, version: kept.version, data: kept.body }) }
  }

  /** Makes `state` the user's state, where it is another one. @throws `contract.*` where the saga's schema does not take it, or JSON cannot hold it. */
  setState(state: unknown): void {
    const stored = this.saga.writeState(state)
    if (!isDeepStrictEqual(stored, this.instance.state)) this.emit('state-changed', { state: stored })
  }

  /** Ends it, and tells who waits for that. */
  end(outcome: SagaOutcome, reason: string | undefined): void {
    const { parent, endedAtMs, state } = this.instance
    const isAgain = endedAtMs === undefined ? undefined : true
    this.cancelTimers()
    this.emit('ended', { outcome, reason, isAgain })
    if (parent === undefined) return
    const { name, ended } = this.saga
    this.send(ended, { saga: name, instance: this.moment.instance, outcome, reason: reason ?? null, state: state ?? null, parent })
  }

  /** What came of it. */
  result(): SagaTransition {
    return { events: this.#events, outgoing: this.#outgoing, timers: [...this.#timers.values()], cancelledTimers: [...this.#cancelled], instance: this.instance }
  }
}
