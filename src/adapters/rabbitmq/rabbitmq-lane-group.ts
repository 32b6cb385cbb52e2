import type { DeliverySink, Subscription, TransportHost, TransportSubscription } from '../../bus/port.ts'
import { sleep, type Timer } from '../../core/clock.ts'
import { laneMoves } from '../../bus/protocol/lane-balance.ts'
import type { Lanes } from '../../bus/protocol/lane-port.ts'
import { lanes } from '../../bus/protocol/lanes.ts'
import type { RabbitChannel } from './rabbitmq-client.ts'
import type { GroupSettings } from './rabbitmq-group.ts'
import { RabbitLane } from './rabbitmq-lane.ts'
import { copyOptionsOf, messageOf } from './rabbitmq-message.ts'
import { patternOf, routingKeyOf } from './rabbitmq-names.ts'
import { connectionLost, problemText } from './rabbitmq-problem.ts'
import { LANES } from './rabbitmq-queues.ts'
import { RabbitStation, type StationWork } from './rabbitmq-station.ts'
import { replyCodeOf } from './rabbitmq-topology.ts'

/** Mean time between two looks at who owns what; each one is drawn between half and one and a half of it. */
const BALANCE_MS = 700
/** Time in which a lane that failed here is left to others. */
const COOL_DOWN_MS = 2_000
/** Longest wait for the broker to take back what the previous owner of a lane had. */
const VACATE_MAX_MS = 5_000
const VACATE_POLL_MS = 10
const RESOURCE_LOCKED = 405

/**
 * An ordered group: eight lanes, each owned by one instance at a time.
 *
 * Who holds a lane's exclusive lock queue owns the lane; the queue dies with its connection, which makes it a lease that the
 * broker keeps. Members are counted by the consumers of one queue, so that lanes are shared out fairly.
 */
export class RabbitLaneGroup implements TransportSubscription, StationWork {
  readonly name: string
  readonly confirms = false
  readonly #subscription: Subscription
  readonly #settings: GroupSettings
  readonly #lanes: Lanes
  readonly #station: RabbitStation
  /** By lane number, in the order in which they were taken. */
  readonly #owned = new Map<number, RabbitLane>()
  readonly #notBeforeMs = new Map<number, number>()
  #queues: readonly string[] = []
  #channel: RabbitChannel | undefined
  #timer: Timer | undefined
  #balancing: Promise<void> = Promise.resolve()
  #closing: Promise<void> | undefined

  constructor(subscription: Subscription, sink: DeliverySink, settings: GroupSettings) {
    const { group, inFlightMax } = subscription
    const { clock, random } = settings.host
    this.name = `the lanes of ${group}`
    this.#subscription = subscription
    this.#settings = settings
    this.#lanes = lanes({ group, adapter: 'rabbitmq', clock, random, inFlightMax, sink })
    this.#station = new RabbitStation(settings.consumeLink, settings, this)
  }

  /** Resolves when the group exists; its lanes come one after the other. */
  open(): Promise<void> {
    return this.#station.open()
  }

  async build(channel: RabbitChannel): Promise<void> {
    const { kind, group, types } = this.#subscription
    const { topology } = this.#settings
    await topology.declareOrder(channel, kind, group, 'key')
    this.#queues = await topology.declareLanes(channel, kind, group, types)
    if (kind === 'command') await this.#takeEarly(group)
    await channel.consume(topology.names.members(kind, group), (message) => {
      if (message === null) this.#station.restart('the broker ended the membership')
    }, { noAck: true })
    this.#channel = channel
    this.#arm(0)
  }

  /**
   * Commands sent before their handler first ran are in the queue that the sender declared: moves them into the lanes, in
   * order, and lets no more go there. One instance does it, the others wait.
   */
  async #takeEarly(type: string): Promise<void> {
    const { consumeLink, topology, publisher } = this.#settings
    const { names } = topology
    const queue = names.group('command', type, type)
    if (!(await consumeLink.onSpareChannel((channel) => topology.exists(channel, queue)))) return
    if (!(await this.#lock(queue))) throw connectionLost('another instance moves the commands that came early')
    try {
      await consumeLink.onSpareChannel(async (channel) => {
        await channel.unbindQueue(queue, names.commands, patternOf(type))
        for (let raw = await channel.get(queue); raw !== false; raw = await channel.get(queue)) {
          const message = messageOf(raw)
          const { id } = message
          const options = copyOptionsOf(raw, {})
          await publisher.send({ exchange: names.commands, routingKey: routingKeyOf(message), content: raw.content, options, type, id, signal: undefined, repair: undefined })
          channel.ack(raw)
        }
      }, Infinity)
    } finally {
      await this.#unlock(names.lock(queue))
    }
  }

  lost(problem: string): void {
    this.#channel = undefined
    this.#timer?.cancel()
    // The lanes' own channels tell where the connection is gone too; a lane lives as long as its lock, which is the connection's.
    this.#settings.host.logger.debug({ group: this.#subscription.group, problem }, 'the membership of a group was lost')
  }

  pause(): Promise<void> {
    this.#lanes.pause()
    return Promise.resolve()
  }

  resume(): Promise<void> {
    this.#lanes.resume()
    return Promise.resolve()
  }

  close(): Promise<void> {
    this.#closing ??= this.#close()
    return this.#closing
  }

  async #close(): Promise<void> {
    this.#lanes.pause()
    this.#timer?.cancel()
    await this.#balancing
    await Promise.all([...this.#owned.keys()].map((number) => this.#release(number)))
    await this.#station.close()
  }

  get #host(): TransportHost {
    return this.#settings.host
  }

  #arm(delayMs: number): void {
    this.#timer?.cancel()
    if (this.#closing !== undefined) return
    this.#timer = this.#host.clock.setTimer(delayMs, () => {
      this.#balancing = this.#balance()
        .catch((error: unknown) => {
          this.#host.logger.debug({ group: this.#subscription.group, problem: problemText(error) }, 'lanes could not be balanced')
        })
        .then(() => {
          if (this.#channel !== undefined) this.#arm(BALANCE_MS * (0.5 + this.#host.random.next()))
        })
    })
  }

  async #balance(): Promise<void> {
    const channel = this.#channel
    if (channel === undefined) return
    const { kind, group } = this.#subscription
    const { consumerCount: members } = await channel.checkQueue(this.#settings.topology.names.members(kind, group))
    const owned = [...this.#owned.keys()]
    const free = owned.length < Math.ceil(LANES / Math.max(1, members)) ? await this.#free(channel) : []
    const moves = laneMoves({ lanes: LANES, owned, free, members })
    for (const number of moves.release) await this.#release(number)
    for (const number of moves.acquire) if (this.#closing === undefined) await this.#acquire(number)
  }

  /** Lanes without an owner, beginning at a random one, so that members who start together do not fight for the same. */
  async #free(channel: RabbitChannel): Promise<readonly number[]> {
    const free: number[] = []
    const first = Math.floor(this.#host.random.next() * LANES)
    for (let step = 0; step < LANES; step++) {
      const number = (first + step) % LANES
      const queue = this.#queues[number]
      if (queue === undefined || this.#owned.has(number)) continue
      if ((this.#notBeforeMs.get(number) ?? 0) > this.#host.clock.monotonicMs()) continue
      const { consumerCount } = await channel.checkQueue(this.#settings.topology.names.hold(queue))
      if (consumerCount === 0) free.push(number)
    }
    return free
  }

  async #acquire(number: number): Promise<void> {
    const { consumeLink, topology } = this.#settings
    const queue = this.#queues[number]
    const { connection } = consumeLink
    if (queue === undefined || connection === undefined || !(await this.#lock(queue))) return
    try {
      await this.#vacated(queue)
      const lane = new RabbitLane(this.#plan(number, queue))
      this.#owned.set(number, lane)
      await lane.open(connection)
    } catch (error) {
      this.#owned.delete(number)
      this.#coolDown(number, problemText(error))
      await this.#unlock(topology.names.lock(queue))
    }
  }

  #plan(number: number, queue: string): ConstructorParameters<typeof RabbitLane>[0] {
    const { kind, group, types } = this.#subscription
    const { topology, host, health, publisher, commandTimeoutMs, publishLink } = this.#settings
    return {
      number,
      kind,
      group,
      queue,
      names: topology.names,
      host,
      health,
      publisher,
      commandTimeoutMs,
      lanes: this.#lanes,
      repair: () =>
        publishLink.onSpareChannel(async (channel) => {
          await topology.declareBase(channel)
          await topology.declareLanes(channel, kind, group, types)
        }),
      ended: (problem) => {
        if (!this.#owned.delete(number)) return
        this.#coolDown(number, problem)
        void this.#unlock(topology.names.lock(queue))
      },
    }
  }

  /** Where the link is gone the lock is gone with it, and there is nothing to cool. */
  #coolDown(number: number, problem: string): void {
    if (this.#settings.consumeLink.connection === undefined) return
    this.#notBeforeMs.set(number, this.#host.clock.monotonicMs() + COOL_DOWN_MS)
    this.#host.logger.warn({ group: this.#subscription.group, lane: number, problem }, 'a lane was given up; it is taken over again')
  }

  /** Finishes what runs in the lane, then lets others have it. */
  async #release(number: number): Promise<void> {
    const lane = this.#owned.get(number)
    const queue = this.#queues[number]
    if (lane === undefined || queue === undefined) return
    const { clock } = this.#host
    const late = new AbortController()
    const timer = clock.setTimer(this.#settings.commandTimeoutMs, () => late.abort(), { background: true })
    await lane.close(late.signal)
    timer.cancel()
    this.#owned.delete(number)
    await this.#unlock(this.#settings.topology.names.lock(queue))
  }

  async #lock(queue: string): Promise<boolean> {
    const { consumeLink, topology } = this.#settings
    try {
      await consumeLink.onSpareChannel((channel) => channel.assertQueue(topology.names.lock(queue), { exclusive: true, durable: false }))
      return true
    } catch (error) {
      if (replyCodeOf(error) === RESOURCE_LOCKED) return false
      throw error
    }
  }

  async #unlock(lock: string): Promise<void> {
    await this.#settings.consumeLink.onSpareChannel((channel) => channel.deleteQueue(lock)).catch(() => undefined)
  }

  /** The lock can fall before the broker has taken the previous owner's messages back: waits for that. */
  async #vacated(queue: string): Promise<void> {
    const { consumeLink, topology, host } = this.#settings
    const isVacant = async (channel: RabbitChannel): Promise<boolean> => {
      const [hold, live] = [await channel.checkQueue(topology.names.hold(queue)), await channel.checkQueue(queue)]
      return hold.consumerCount === 0 && live.consumerCount === 0
    }
    const endMs = host.clock.monotonicMs() + VACATE_MAX_MS
    await consumeLink.onSpareChannel(async (channel) => {
      while (!(await isVacant(channel))) {
        if (host.clock.monotonicMs() >= endMs) throw connectionLost('the previous owner of the lane still consumes it')
        await sleep(host.clock, VACATE_POLL_MS)
      }
    })
  }
}
