import { sleep } from '../../core/clock.ts'
import { derivedId } from '../../core/random.ts'
import type { WireMessage } from '../../core/envelope.ts'
import type { DeadLetterRecord, TransportHost } from '../../bus/port.ts'
import { encodeDeadLetterRecord } from '../../bus/protocol/dead-letter-record.ts'
import type { RabbitMessage, RabbitTable } from './rabbitmq-client.ts'
import { delayOf } from './rabbitmq-delay.ts'
import type { RabbitIntake } from './rabbitmq-intake.ts'
import { copyOptionsOf, DELAY_LEFT_HEADER, DELAY_QUEUE_HEADER, DELAY_UNTIL_HEADER } from './rabbitmq-message.ts'
import type { RabbitNames } from './rabbitmq-names.ts'
import type { RabbitPublisher } from './rabbitmq-publisher.ts'
import type { Kind } from './rabbitmq-topology.ts'

/** Headers of a dead letter beside those of its message. */
export const DEAD_HEADERS = {
  id: 'trunkline-dead-id',
  /** Sorts by the time of the death; the order of listings. */
  order: 'trunkline-dead-order',
  group: 'trunkline-dead-group',
  kind: 'trunkline-dead-kind',
  record: 'trunkline-dead-record',
  /** Where a redriven message goes. */
  queue: 'trunkline-dead-queue',
  /** Hold list that the message's key waits in; ordered groups only. */
  hold: 'trunkline-dead-hold',
} as const

/** Wait before a message goes back to its queue that could be neither moved nor acked, so that nothing turns fast. */
const REFUSED_PAUSE_MS = 1_000

/** A message that is moved, and where it came in. */
export interface Moved {
  readonly raw: RabbitMessage
  readonly message: WireMessage
  readonly intake: RabbitIntake
  /** The queue that it belongs to. */
  readonly queue: string
  /** What a returned copy needs. */
  readonly repair: () => Promise<void>
}

/**
 * Moves messages between queues: a copy is published and confirmed, then the original is acked. A death in between
 * leaves both, which at-least-once allows; nothing is ever lost.
 */
export class RabbitMover {
  readonly #publisher: RabbitPublisher
  readonly #names: RabbitNames
  readonly #host: TransportHost

  constructor(publisher: RabbitPublisher, names: RabbitNames, host: TransportHost) {
    this.#publisher = publisher
    this.#names = names
    this.#host = host
  }

  /** Moves a message to a queue. */
  toQueue(moved: Moved, queue: string, headers: RabbitTable): Promise<void> {
    return this.#move(moved, { exchange: '', routingKey: queue, headers })
  }

  /** Lets the message come back to its queue after a time. */
  later(moved: Moved, delayMs: number, headers: RabbitTable): Promise<void> {
    if (!(delayMs > 0)) return this.toQueue(moved, moved.queue, headers)
    const { level, heldMs, leftMs } = delayOf(delayMs)
    // The clock tells whole milliseconds that have passed: up to one more may be gone already, and early is never.
    const until = Math.ceil(this.#host.clock.nowMs() + heldMs) + 1
    const left = leftMs > 0 ? { [DELAY_LEFT_HEADER]: `${Math.ceil(leftMs)}` } : {}
    return this.toQueue(moved, this.#names.delay(level), { ...headers, [DELAY_UNTIL_HEADER]: `${until}`, [DELAY_QUEUE_HEADER]: moved.queue, ...left })
  }

  /** Moves a message that was delayed back to its queue, or to the unrouted ones where that was deleted. */
  back(moved: Moved, headers: RabbitTable): Promise<void> {
    return this.#move(moved, { exchange: this.#names.due, routingKey: moved.queue, headers })
  }

  /** Moves a message to the dead letters. */
  bury(moved: Moved, kind: Kind, group: string, record: DeadLetterRecord): Promise<void> {
    const { source, type, id, defect } = moved.message
    const order = this.#host.random.id(this.#host.clock.nowMs())
    return this.#move(moved, {
      exchange: '',
      routingKey: this.#names.dead,
      headers: {
        // A death before the ack stores it twice, with one id. Publishers may give one id to different messages, too:
        // those must stay apart, because only the first dead letter of an id is redriven.
        [DEAD_HEADERS.id]: defect === undefined ? derivedId(kind, group, source, type, id, moved.raw.content.toString('base64')) : order,
        [DEAD_HEADERS.order]: order,
        [DEAD_HEADERS.group]: group,
        [DEAD_HEADERS.kind]: kind,
        [DEAD_HEADERS.queue]: moved.queue,
        [DEAD_HEADERS.record]: encodeDeadLetterRecord(record),
      },
    })
  }

  async #move(moved: Moved, to: { readonly exchange: string; readonly routingKey: string; readonly headers: RabbitTable }): Promise<void> {
    const { raw, message, intake, repair } = moved
    if (intake.isLost) return
    const { exchange, routingKey } = to
    const { type, id } = message
    try {
      await this.#publisher.send({ exchange, routingKey, content: raw.content, options: copyOptionsOf(raw, to.headers), type, id, signal: intake.signal, repair })
    } catch (error) {
      // Given up with its channel, it comes again. Refused, it must come again too, and not at once.
      if (intake.isLost) return
      this.#host.logger.warn({ err: error, type, id }, 'the broker refused to move a message; it goes back to its queue')
      await sleep(this.#host.clock, REFUSED_PAUSE_MS, intake.signal)
      intake.requeue(raw)
      return
    }
    intake.ack(raw)
  }
}
