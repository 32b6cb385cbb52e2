import type { Clock, Timer } from '../../core/clock.ts'
import { TrunklineError, errorText } from '../../core/errors.ts'
import { Fifo } from './rabbitmq-fifo.ts'
import { PublishFrames } from './rabbitmq-frames.ts'
import type { RabbitChannel, RabbitMessage, RabbitPublishOptions } from './rabbitmq-client.ts'
import { connectionLost, problemText } from './rabbitmq-problem.ts'
import type { StationWork } from './rabbitmq-station.ts'

/** Messages that are sent and not confirmed. More would not be faster and would cost more to send again. */
const UNCONFIRMED_MAX = 1_024
/** Times that one message is sent again because nothing took it, or because its channel died with it. */
const TRIES_MAX = 3
/** How often given-up messages are looked for while any wait; a sweep costs less than a listener on every signal. */
const SWEEP_MS = 250
const GIVEN_UP = 'it was given up before the broker confirmed'

/** What is to be sent, and where. */
export interface Parcel {
  readonly exchange: string
  readonly routingKey: string
  readonly content: Buffer
  readonly options: RabbitPublishOptions
  /** For errors. */
  readonly type: string
  readonly id: string
  /** Gives the message up; what became of it is then unknown. */
  readonly signal: { readonly aborted: boolean } | undefined
  /** Makes what a returned message needs, before it is sent again. */
  readonly repair: (() => Promise<void>) | undefined
}

class Pending {
  readonly parcel: Parcel
  readonly resolve: () => void
  readonly reject: (error: unknown) => void
  tries = 0
  isReturned = false

  constructor(parcel: Parcel, resolve: () => void, reject: (error: unknown) => void) {
    this.parcel = parcel
    this.resolve = resolve
    this.reject = reject
  }
}

/**
 * Sends messages on one confirm channel and resolves each when the broker has stored it.
 *
 * While the channel is gone messages wait, and what was not confirmed is sent again on the next one, in the old
 * order and with the same id. Confirms are counted here and not by amqplib, so that nothing depends on
 * how its callbacks end.
 */
export class RabbitPublisher implements StationWork {
  readonly name = 'the publisher'
  readonly confirms = true
  readonly #clock: Clock
  readonly #prepare: (channel: RabbitChannel) => Promise<void>
  readonly #waiting = new Fifo<Pending>()
  /** Sent and unconfirmed, by tag; insertion order is tag order. */
  readonly #sent = new Map<number, Pending>()
  #channel: RabbitChannel | undefined
  #frames: PublishFrames | undefined
  #nextTag = 1
  /** After the broker closed the channel messages go one by one, until the one that it cannot bear has shown itself. */
  #carefulCount = 0
  #sweep: Timer | undefined
  #isClosed = false

  /** @param prepare declares what every message needs, on each new channel. */
  constructor(clock: Clock, prepare: (channel: RabbitChannel) => Promise<void>) {
    this.#clock = clock
    this.#prepare = prepare
  }

  /** @throws `bus.publish_refused` when the broker refuses it or nothing takes it, `bus.connection_lost` when it was given up. */
  send(parcel: Parcel): Promise<void> {
    return new Promise((resolve, reject) => {
      if (this.#isClosed) {
        reject(connectionLost('the transport is closed'))
        return
      }
      const pending = new Pending(parcel, resolve, reject)
      if (this.#channel !== undefined && this.#waiting.length === 0 && this.#hasRoom) this.#transmit(this.#channel, pending)
      else this.#waiting.push(pending)
      if (this.#sweep === undefined) this.#armSweep()
    })
  }

  async build(channel: RabbitChannel): Promise<void> {
    channel.on('ack', (fields) => this.#confirmed(channel, fields, true))
    channel.on('nack', (fields) => this.#confirmed(channel, fields, false))
    channel.on('return', (message) => this.#returned(channel, message))
    await this.#prepare(channel)
    this.#channel = channel
    this.#frames = PublishFrames.of(channel)
    this.#nextTag = 1
    this.#pump()
  }

  lost(problem: string, isRefusal: boolean): void {
    if (this.#channel === undefined) return
    this.#channel = undefined
    const unconfirmed = [...this.#sent.values()]
    this.#sent.clear()
    if (isRefusal) {
      const [alone] = unconfirmed
      if (alone !== undefined && unconfirmed.length === 1 && ++alone.tries >= TRIES_MAX) {
        unconfirmed.pop()
        alone.reject(refused(alone.parcel, problem))
      }
      this.#carefulCount = Math.max(this.#carefulCount, unconfirmed.length)
    }
    this.#waiting.prepend(unconfirmed)
  }

  /** Gives up everything that waits. */
  close(): void {
    this.#isClosed = true
    this.#sweep?.cancel()
    for (const pending of [...this.#sent.values(), ...this.#waiting.removeWhere(() => true)]) pending.reject(connectionLost('the transport was closed before the broker confirmed'))
    this.#sent.clear()
  }

  get #hasRoom(): boolean {
    return this.#sent.size < (this.#carefulCount > 0 ? 1 : UNCONFIRMED_MAX)
  }

  #pump(): void {
    while (this.#channel !== undefined && this.#hasRoom) {
      const pending = this.#waiting.shift()
      if (pending === undefined) return
      if (pending.parcel.signal?.aborted === true) pending.reject(connectionLost(GIVEN_UP))
      else if (!this.#transmit(this.#channel, pending)) return
    }
  }

  /** False where the channel takes nothing any more. */
  #transmit(channel: RabbitChannel, pending: Pending): boolean {
    const { exchange, routingKey, content, options } = pending.parcel
    try {
      if (this.#frames?.publish(exchange, routingKey, content, options) !== true) channel.publish(exchange, routingKey, content, options)
    } catch (error) {
      // amqplib refuses what it cannot encode; on a channel that is closing the message waits for the next one.
      if (error instanceof RangeError || error instanceof TypeError) {
        pending.reject(refused(pending.parcel, errorText(error)))
        return true
      }
      this.#waiting.prepend([pending])
      return false
    }
    this.#sent.set(this.#nextTag++, pending)
    return true
  }

  #confirmed(channel: RabbitChannel, fields: unknown, isStored: boolean): void {
    if (this.#channel !== channel || !isConfirm(fields)) return
    const { deliveryTag, multiple } = fields
    if (!multiple) this.#settle(deliveryTag, isStored)
    else {
      for (const tag of this.#sent.keys()) {
        if (tag > deliveryTag) break
        this.#settle(tag, isStored)
      }
    }
    if (this.#waiting.length > 0) this.#pump()
  }

  #settle(tag: number, isStored: boolean): void {
    const pending = this.#sent.get(tag)
    if (pending === undefined) return
    this.#sent.delete(tag)
    if (this.#carefulCount > 0) this.#carefulCount--
    if (pending.isReturned) this.#again(pending)
    else if (isStored) pending.resolve()
    else pending.reject(refused(pending.parcel, 'the broker did not take the message'))
  }

  /** A return comes before the confirm of the same message. */
  #returned(channel: RabbitChannel, message: unknown): void {
    if (this.#channel !== channel || !isReturn(message)) return
    const { exchange, routingKey } = message.fields
    const id = message.properties.messageId
    for (const pending of this.#sent.values()) {
      const { parcel } = pending
      if (!pending.isReturned && parcel.exchange === exchange && parcel.routingKey === routingKey && (parcel.options.messageId ?? '') === (id ?? '')) {
        pending.isReturned = true
        return
      }
    }
  }

  #again(pending: Pending): void {
    pending.isReturned = false
    const { repair } = pending.parcel
    if (repair === undefined || ++pending.tries > TRIES_MAX) {
      pending.reject(refused(pending.parcel, 'no queue takes it'))
      return
    }
    repair().then(
      () => {
        this.#waiting.push(pending)
        this.#pump()
      },
      (error: unknown) => pending.reject(error),
    )
  }

  #armSweep(): void {
    this.#sweep = this.#clock.setTimer(
      SWEEP_MS,
      () => {
        this.#sweep = undefined
        this.#removeAborted()
        if (this.#waiting.length > 0 || this.#sent.size > 0) this.#armSweep()
      },
      { background: true },
    )
  }

  #removeAborted(): void {
    for (const pending of this.#waiting.removeWhere(({ parcel }) => parcel.signal?.aborted === true)) {
      pending.reject(connectionLost(GIVEN_UP))
    }
  }
}

function refused(parcel: Parcel, problem: string): TrunklineError {
  return new TrunklineError('bus.publish_refused', { type: parcel.type, id: parcel.id, problem: problemText(problem) })
}

function isConfirm(fields: unknown): fields is { readonly deliveryTag: number; readonly multiple: boolean } {
  return typeof fields === 'object' && fields !== null && 'deliveryTag' in fields && typeof fields.deliveryTag === 'number' && 'multiple' in fields
}

function isReturn(message: unknown): message is RabbitMessage {
  return typeof message === 'object' && message !== null && 'fields' in message && 'properties' in message
}
