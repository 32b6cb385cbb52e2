import type { Clock, Timer } from '../../../src/core/clock.ts'
import type { WireMessage } from '../../../src/core/envelope.ts'
import { seededRandom } from '../../../src/core/random.ts'
import type { DeadLetterRecord, Delivery } from '../../../src/bus/port.ts'
import { lanes } from '../../../src/bus/protocol/lanes.ts'
import type { FollowerEntry, HeadEntry, HoldEntry, HoldPlace, Lane, LaneBacking, Lanes } from '../../../src/bus/protocol/lane-port.ts'

/** Lets every promise that can settle do so. */
export function flush(): Promise<void> {
  return new Promise((resolve) => {
    setImmediate(resolve)
  })
}

export class VirtualClock implements Clock {
  #nowMs = 1_700_000_000_000
  #timers: { readonly atMs: number; readonly callback: () => void }[] = []

  nowMs(): number {
    return this.#nowMs
  }

  monotonicMs(): number {
    return this.#nowMs - 1_000_000
  }

  setTimer(delayMs: number, callback: () => void): Timer {
    const timer = { atMs: this.#nowMs + Math.max(0, delayMs), callback }
    this.#timers.push(timer)
    return {
      cancel: () => {
        this.#timers = this.#timers.filter((other) => other !== timer)
      },
    }
  }

  defer(callback: () => void): void {
    this.setTimer(0, callback)
  }

  get armed(): number {
    return this.#timers.length
  }

  advance(byMs: number): void {
    const untilMs = this.#nowMs + byMs
    for (;;) {
      const next = this.#timers.filter(({ atMs }) => atMs <= untilMs).toSorted((one, other) => one.atMs - other.atMs)[0]
      if (next === undefined) break
      this.#timers = this.#timers.filter((other) => other !== next)
      this.#nowMs = Math.max(this.#nowMs, next.atMs)
      next.callback()
    }
    this.#nowMs = untilMs
  }
}

export function message(key: string | undefined, id: string): WireMessage {
  return {
    id, key, source: '/shop', type: 'sales.order-placed', version: 1, time: '2026-01-01T00:00:00Z', contentType: 'application/json',
    correlationId: undefined, causationId: undefined, deadline: undefined, tenant: undefined, traceparent: undefined,
    tracestate: undefined, hops: 0, replyTo: undefined, outcome: undefined, headers: undefined, body: new Uint8Array(), defect: undefined,
  }
}

export function record(reason = 'bus.handler_failed'): DeadLetterRecord {
  return { reason, errors: [], attempts: 1, handler: 'h', service: 's', instance: 'i', at: '2026-01-01T00:00:00.000Z' }
}

interface LiveRow {
  readonly message: WireMessage
  deliveries: number
  isAcked: boolean
}

interface HoldRow {
  readonly entry: HoldEntry
}

/** What survives every owner: the lane, its hold list, and the dead letters. */
export class FakeBroker {
  readonly live: LiveRow[] = []
  readonly hold: HoldRow[] = []
  readonly deadLetters: Map<string, { readonly message: WireMessage; readonly record: DeadLetterRecord }> = new Map()
  owner: Owner | undefined
  #controls = 0

  publish(...messages: readonly WireMessage[]): void {
    for (const one of messages) this.live.push({ message: one, deliveries: 0, isAcked: false })
    this.owner?.pump()
  }

  /** What an operator's process does: the control entry first, then the dead letter goes. */
  operate(target: string, control: 'redrive' | 'remove'): void {
    this.store({ role: 'control', id: `control-${++this.#controls}`, target, control })
    this.deadLetters.delete(target)
  }

  store(entry: HoldEntry): void {
    const row = { entry }
    this.hold.push(row)
    this.owner?.tell(row)
  }

  /** `role state? id` of every entry, in order. */
  get held(): readonly string[] {
    return this.hold.map(({ entry }) => {
      if (entry.role === 'control') return `control ${entry.control}`
      return entry.role === 'head' ? `${entry.state} ${entry.message.id} ${entry.attempt}` : `follower ${entry.message.id}`
    })
  }

  get unacked(): readonly string[] {
    return this.live.filter(({ isAcked }) => !isAcked).map((row) => row.message.id)
  }
}

interface Call {
  readonly name: string
  readonly apply: () => unknown
  readonly respond: (value: unknown) => void
}

export interface OwnerOptions {
  readonly inFlightMax?: number
  readonly liveMax?: number
  /** `append`: places come with the append. `echo`: own entries come back as on a consumed queue. */
  readonly places?: 'append' | 'echo'
  /** Calls wait for `apply` and `respond` instead of being done at once. */
  readonly isManual?: boolean
  /** Must differ between owners: ids of entries come from it. */
  readonly seed?: number
}

/** One process that owns the lane over a connection of its own. */
export class Owner implements LaneBacking {
  readonly open: Delivery[] = []
  readonly lanes: Lanes
  readonly lane: Lane
  readonly calls: string[] = []
  isPaused = false
  reason: string | undefined
  problem: unknown
  refuse: ((name: string, entry?: HoldEntry) => boolean) | undefined
  readonly #broker: FakeBroker
  readonly #options: OwnerOptions
  #next = 0
  #unacked = 0
  #isPumping = false
  readonly #asked: Call[] = []
  readonly #applied: { readonly call: Call; readonly value: unknown }[] = []
  #isCut = false

  constructor(broker: FakeBroker, clock: Clock, options: OwnerOptions = {}, sink?: (delivery: Delivery) => void) {
    this.#broker = broker
    this.#options = options
    this.lanes = lanes({
      group: 'ledger', adapter: 'fake', clock, random: seededRandom(options.seed ?? 1), inFlightMax: options.inFlightMax ?? 8,
      sink: (delivery) => {
        this.open.push(delivery)
        sink?.(delivery)
      },
    })
    this.lane = this.lanes.open({ number: 3, liveMax: options.liveMax ?? 16, backing: this })
  }

  /** Takes the lane over from whoever had it. */
  start(): this {
    const before = this.#broker.owner
    if (before !== undefined) before.#isCut = true
    this.#broker.owner = this
    for (const row of this.#broker.hold) this.lane.onHeld(row.entry, this.#place(row))
    this.lane.recovered()
    this.pump()
    return this
  }

  /** The process or its link dies. */
  crash(): void {
    this.#isCut = true
    if (this.#broker.owner === this) this.#broker.owner = undefined
  }

  /** The delivery of the message that is with the sink; taken out of `open`. */
  take(id: string): Delivery {
    const index = this.open.findIndex((delivery) => delivery.message.id === id)
    const [delivery] = index < 0 ? [] : this.open.splice(index, 1)
    if (delivery === undefined) throw new Error(`${id} is not with the sink, only ${this.running.join(', ')}`)
    return delivery
  }

  get running(): readonly string[] {
    return this.open.map((delivery) => delivery.message.id)
  }

  append(entry: HeadEntry | FollowerEntry): Promise<HoldPlace | undefined> {
    return this.#call(`append ${entry.role} ${entry.message.id}`, () => {
      const row = { entry }
      this.#broker.hold.push(row)
      if (this.#options.places === 'echo') this.tell(row)
      return this.#options.places === 'echo' ? undefined : this.#place(row)
    }, entry)
  }

  storeDeadLetter(id: string, dead: WireMessage, why: DeadLetterRecord): Promise<void> {
    return this.#call(`dead ${dead.id}`, () => void (this.#broker.deadLetters.has(id) || this.#broker.deadLetters.set(id, { message: dead, record: why })))
  }

  pauseLive(): void {
    this.isPaused = true
  }

  resumeLive(): void {
    this.isPaused = false
    this.pump()
  }

  degraded(reason: string | undefined): void {
    this.reason = reason
  }

  giveUp(problem: unknown): void {
    this.problem = problem
  }

  tell(row: HoldRow): void {
    if (!this.#isCut) this.lane.onHeld(row.entry, this.#place(row))
  }

  pump(): void {
    if (this.#isPumping) return
    this.#isPumping = true
    while (!this.#isCut && !this.isPaused && this.#unacked < (this.#options.liveMax ?? 16)) {
      const row = this.#broker.live[this.#next]
      if (row === undefined) break
      this.#next++
      if (row.isAcked) continue
      this.#unacked++
      this.#deliver(row)
    }
    this.#isPumping = false
  }

  /** The broker delivers an unacked or acked message once more to the same owner. */
  repeat(id: string): void {
    for (const row of this.#broker.live) if (row.message.id === id) this.#deliver(row)
  }

  /** Manual mode: the broker does the oldest call that it has not done; the client does not know yet. */
  apply(): boolean {
    const call = this.#isCut ? undefined : this.#asked.shift()
    if (call === undefined) return false
    this.#applied.push({ call, value: call.apply() })
    return true
  }

  /** Manual mode: the client hears of a call that was done; any of them, chosen by `pick` in 0..1. */
  respond(pick = 0): boolean {
    const [done] = this.#isCut ? [] : this.#applied.splice(Math.floor(pick * this.#applied.length), 1)
    if (done === undefined) return false
    done.call.respond(done.value)
    return true
  }

  #deliver(row: LiveRow): void {
    this.lane.onLive({
      message: row.message, attempt: 0, isSuspect: row.deliveries++ > 0,
      ack: () => this.#call(`ack ${row.message.id}`, () => {
        if (!row.isAcked) this.#unacked--
        row.isAcked = true
        this.pump()
      }),
    })
  }

  #place(row: HoldRow): HoldPlace {
    const name = row.entry.role === 'control' ? 'control' : row.entry.message.id
    return {
      remove: () => this.#call(`remove ${name}`, () => {
        const index = this.#broker.hold.indexOf(row)
        if (index >= 0) this.#broker.hold.splice(index, 1)
      }, row.entry),
    }
  }

  #call<T>(name: string, apply: () => T, entry?: HoldEntry): Promise<T> {
    this.calls.push(name)
    if (this.refuse?.(name, entry) === true) return Promise.reject(new Error(`refused: ${name}`))
    return new Promise((resolve) => {
      const call: Call = { name, apply: () => apply(), respond: (value) => resolve(value as T) }
      if (this.#isCut) return
      if (this.#options.isManual === true) this.#asked.push(call)
      else call.respond(call.apply())
    })
  }
}
