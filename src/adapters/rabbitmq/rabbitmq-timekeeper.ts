import { sleep } from '../../core/clock.ts'
import type { RabbitMessage } from './rabbitmq-client.ts'
import { answered } from './rabbitmq-deadline.ts'
import { DELAY_HELD_MAX_MS, levelMs } from './rabbitmq-delay.ts'
import { GroupChannel } from './rabbitmq-group-channel.ts'
import type { RabbitIntake } from './rabbitmq-intake.ts'
import type { RabbitLink } from './rabbitmq-link.ts'
import { countOf, DELAY_LEFT_HEADER, DELAY_QUEUE_HEADER, DELAY_UNTIL_HEADER, messageOf, stateHeadersOf, textOf } from './rabbitmq-message.ts'
import type { Moved, RabbitMover } from './rabbitmq-mover.ts'
import { RabbitStation, type StationSettings } from './rabbitmq-station.ts'
import type { RabbitTopology } from './rabbitmq-topology.ts'

/** What the timekeeper of one transport uses. */
export interface TimekeeperSettings extends StationSettings {
  readonly topology: RabbitTopology
  readonly mover: RabbitMover
  readonly consumeLink: RabbitLink
  readonly publishLink: RabbitLink
}

/**
 * Waiting messages that one instance has in sight on each level. Those behind them grow older in the broker all the same;
 * as a level's messages differ in their delays by a factor of two at most, so does what one of them can wait too long.
 */
const IN_SIGHT_MAX = 64
/** A message is moved at once when it is due; twice as long means that it could not be moved. */
const ACK_WAIT_MS = DELAY_HELD_MAX_MS * 2

/**
 * Moves delayed messages back to their queues when they are due.
 *
 * Every instance with an unordered group runs one, and the broker shares the messages out. They stay in the broker,
 * unacked, until a confirmed copy is where it belongs: an instance that dies, or a broker, costs no message and no delay,
 * because the next timekeeper reads from the message when it is due. Clocks of instances that differ shift a delay by
 * that difference, and never to more than twice its length.
 */
export class RabbitTimekeeper {
  readonly #settings: TimekeeperSettings
  readonly #channel: GroupChannel
  readonly #station: RabbitStation
  /** Longest wait in each queue. */
  readonly #levelMs = new Map<string, number>()
  readonly #moving = new Set<Promise<void>>()
  #opening: Promise<void> | undefined
  #isClosed = false

  constructor(settings: TimekeeperSettings) {
    const { host, topology } = settings
    this.#settings = settings
    this.#channel = new GroupChannel({
      name: 'the timekeeper of delayed messages',
      clock: host.clock,
      prefetch: IN_SIGHT_MAX,
      ackWaitMs: ACK_WAIT_MS,
      declare: async (channel) => {
        const queues = await topology.declareDelays(channel)
        for (const [level, queue] of queues.entries()) this.#levelMs.set(queue, levelMs(level))
        return queues
      },
      take: (queue, raw, intake) => void this.#take(queue, raw, intake),
      cancelled: (queue) => this.#station.restart(`the broker ended the consumer of ${queue}`),
      failed: (error) => host.logger.error({ err: error }, 'a delayed message could not be read; it comes again'),
    })
    this.#station = new RabbitStation(settings.consumeLink, settings, this.#channel)
  }

  /** Starts with the first call; resolves when delayed messages come. */
  open(): Promise<void> {
    this.#opening ??= this.#station.open()
    return this.#opening
  }

  /** Finishes what is being moved and leaves the rest to others. Never rejects. */
  async close(): Promise<void> {
    this.#isClosed = true
    if (this.#opening === undefined) return
    const { host, commandTimeoutMs } = this.#settings
    const moved = Promise.allSettled(this.#moving).then(() => this.#channel.settle())
    await answered(host.clock, moved, commandTimeoutMs, 'moving delayed messages').catch(() => undefined)
    await this.#station.close()
  }

  async #take(queue: string, raw: RabbitMessage, intake: RabbitIntake): Promise<void> {
    const { clock } = this.#settings.host
    const dueInMs = countOf(raw.properties.headers, DELAY_UNTIL_HEADER) - clock.nowMs()
    // The clock of whoever delayed it may be ahead of ours.
    const waitMs = Math.min(dueInMs, this.#levelMs.get(queue) ?? 0)
    if (waitMs > 0) await sleep(clock, waitMs, intake.signal)
    if (this.#isClosed || intake.isLost) return
    const move = this.#move(raw, intake)
    this.#moving.add(move)
    await move
    this.#moving.delete(move)
  }

  /** Never rejects: what cannot be moved goes back to its queue, and comes again. */
  #move(raw: RabbitMessage, intake: RabbitIntake): Promise<void> {
    const { headers } = raw.properties
    const { mover, publishLink, topology } = this.#settings
    const repair = (): Promise<void> => publishLink.onSpareChannel((channel) => topology.declareBase(channel))
    const moved: Moved = { raw, message: messageOf(raw), intake, queue: textOf(headers?.[DELAY_QUEUE_HEADER]) ?? '', repair }
    const leftMs = countOf(headers, DELAY_LEFT_HEADER)
    return leftMs > 0 ? mover.later(moved, leftMs, stateHeadersOf(raw)) : mover.back(moved, stateHeadersOf(raw))
  }
}
