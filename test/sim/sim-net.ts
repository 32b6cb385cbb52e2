import type { LightSubscription, SideAskOptions, SidePlane, TransportState } from '../../src/bus/port.ts'
import { type Contract, type ContractTypes, type DefinedContract, defined } from '../../src/contract/contract.ts'
import type { Random } from '../../src/core/random.ts'
import { TrunklineError } from '../../src/core/errors.ts'
import type { VirtualClock } from '../../src/testing/virtual-clock.ts'

/** How a host stands to the broker. */
export interface Host {
  readonly address: string
  /** `running` and `stalled` processes exist; a stalled one's messages wait for it. */
  readonly isAlive: boolean
  readonly isStalled: boolean
  /** Nothing passes, in either direction. `known` where the link itself noticed. */
  readonly cut: 'none' | 'known' | 'unknown'
  /** The broker still takes it for connected, though it is gone or cut off. */
  readonly isBelieved: boolean
  /** Does it now, or when the process goes on. */
  run(work: () => void): void
  /** A broadcast came in. */
  counted(): void
}

/** What the network does to messages. */
export interface NetSettings {
  readonly latencyMsMax: number
  /** Share of broadcasts, questions and answers that are lost. */
  readonly lossShare: number
}

type Sink = (contract: Contract, data: unknown) => void
interface Subscriber { readonly host: Host; readonly sink: Sink }
interface Answerer { readonly host: Host; readonly answer: (data: unknown) => unknown }

/** A broker with a light plane between simulated hosts: late, lossy, and able to be cut. Bytes are encoded, decoded and validated once for all readers. */
export class SimNet {
  readonly #clock: VirtualClock
  readonly #random: Random
  readonly #settings: NetSettings
  readonly #subscribers = new Map<string, Set<Subscriber>>()
  readonly #answerers = new Map<string, Set<Answerer>>()
  readonly #addressed = new Map<string, Answerer>()
  /** Deliveries by their millisecond, so that one timer carries thousands of them. */
  readonly #mail = new Map<number, (() => void)[]>()
  readonly counts = { broadcasts: 0, delivered: 0, lost: 0, asks: 0, answers: 0 }

  constructor(clock: VirtualClock, random: Random, settings: NetSettings) {
    this.#clock = clock
    this.#random = random
    this.#settings = settings
  }

  /** A host's way to it. */
  side(host: Host): SidePlane {
    return {
      problem: undefined,
      address: host.address,
      broadcast: (contract, data) => this.#broadcast(host, contract, data),
      ask: (contract, data, options) => this.#ask(host, contract, data, options),
      onBroadcast: (contracts, sink) => Promise.resolve(closing(contracts.map((contract) => added(this.#subscribers, contract.type, { host, sink })))),
      onAsk: (contract, answer) => Promise.resolve(closing([this.#offered(contract.type, { host, answer })])),
    }
  }

  /** What the link of a host says of itself. */
  linkState({ cut }: Host): TransportState {
    return cut === 'known' ? 'down' : 'up'
  }

  /** The broker has noticed that somebody is gone. */
  forget(host: Host): void {
    for (const members of this.#subscribers.values()) for (const member of members) if (member.host === host) members.delete(member)
    for (const [type, members] of this.#answerers) {
      for (const member of members) if (member.host === host) members.delete(member)
      this.#addressed.delete(`${type} ${host.address}`)
    }
  }

  async #broadcast(from: Host, contract: Contract, data: unknown): Promise<void> {
    if (from.cut === 'known') throw new TrunklineError('bus.connection_lost', { adapter: 'sim', problem: 'the link is down' })
    this.counts.broadcasts++
    const known = defined(contract)
    const read = known.decode(known.version, known.encode(data).body)
    if (from.cut !== 'none') return
    const readers: Subscriber[][] = Array.from({ length: this.#settings.latencyMsMax }, () => [])
    for (const subscriber of this.#subscribers.get(contract.type) ?? []) {
      if (this.#isLost()) continue
      readers[Math.floor(this.#random.next() * readers.length)]?.push(subscriber)
    }
    for (const [index, some] of readers.entries()) if (some.length > 0) this.#deliver(index + 1, () => some.forEach((reader) => this.#handOver(reader, contract, read)))
    await Promise.resolve()
  }

  #handOver({ host, sink }: Subscriber, contract: Contract, data: unknown): void {
    if (!host.isAlive || host.cut !== 'none') return
    this.counts.delivered++
    host.counted()
    if (host.isStalled) host.run(() => sink(contract, data))
    else sink(contract, data)
  }

  #ask(from: Host, contract: Contract, data: unknown, { timeoutMs, to }: SideAskOptions): Promise<unknown> {
    this.counts.asks++
    const { type } = contract
    return new Promise((resolve, reject) => {
      const settle = (work: () => void): void => {
        timer.cancel()
        if (from.isAlive) from.run(work)
      }
      const timer = this.#clock.setTimer(timeoutMs, () => settle(() => reject(new TrunklineError('bus.ask_timeout', { type, timeoutMs }))))
      if (from.cut !== 'none' || this.#isLost()) return
      this.#later(() => {
        const answerer = this.#chosen(type, to)
        if (answerer === undefined) this.#later(() => settle(() => reject(new TrunklineError('bus.no_responder', { type }))))
        else this.#put(from, answerer, defined(contract), data, (answer) => settle(() => resolve(answer)))
      })
    })
  }

  #put(from: Host, { host, answer }: Answerer, contract: DefinedContract<string, ContractTypes>, data: unknown, answered: (data: unknown) => void): void {
    // Whoever is gone or cut off without the broker's knowledge swallows it.
    if (!host.isAlive || host.cut !== 'none') return
    host.run(() => {
      if (!host.isAlive || host.cut !== 'none' || this.#isLost()) return
      const body = contract.encodeReply(answer(contract.decode(contract.version, contract.encode(data).body)))
      this.counts.answers++
      this.#later(() => {
        if (from.isAlive && from.cut === 'none') answered(contract.decodeReply(body))
      })
    })
  }

  #chosen(type: string, to: string | undefined): Answerer | undefined {
    const isKnown = ({ host }: Answerer): boolean => (host.isAlive && host.cut === 'none') || host.isBelieved
    if (to !== undefined) {
      const one = this.#addressed.get(`${type} ${to}`)
      return one !== undefined && isKnown(one) ? one : undefined
    }
    const all = [...this.#answerers.get(type) ?? []].filter(isKnown)
    return all[Math.floor(this.#random.next() * all.length)]
  }

  #offered(type: string, answerer: Answerer): () => void {
    const remove = added(this.#answerers, type, answerer)
    const place = `${type} ${answerer.host.address}`
    this.#addressed.set(place, answerer)
    return () => {
      remove()
      this.#addressed.delete(place)
    }
  }

  #later(work: () => void): void {
    this.#deliver(1 + Math.floor(this.#random.next() * this.#settings.latencyMsMax), work)
  }

  #deliver(inMs: number, work: () => void): void {
    const dueMs = Math.floor(this.#clock.monotonicMs()) + inMs
    const waiting = this.#mail.get(dueMs)
    if (waiting !== undefined) {
      waiting.push(work)
      return
    }
    this.#mail.set(dueMs, [work])
    this.#clock.setTimer(dueMs - this.#clock.monotonicMs(), () => {
      const due = this.#mail.get(dueMs) ?? []
      this.#mail.delete(dueMs)
      for (const one of due) one()
    })
  }

  #isLost(): boolean {
    const isLost = this.#random.next() < this.#settings.lossShare
    if (isLost) this.counts.lost++
    return isLost
  }
}

function added<T>(all: Map<string, Set<T>>, type: string, member: T): () => void {
  const members = all.get(type) ?? new Set<T>()
  all.set(type, members.add(member))
  return () => void members.delete(member)
}

function closing(removes: readonly (() => void)[]): LightSubscription {
  return { close: () => Promise.resolve(removes.forEach((remove) => remove())) }
}
