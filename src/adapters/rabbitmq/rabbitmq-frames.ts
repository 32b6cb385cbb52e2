import type { RabbitChannel, RabbitPublishOptions } from './rabbitmq-client.ts'

// AMQP 0-9-1, sections 2.3.5 (frames), 4.2.5 (field tables) and `basic.publish`; what is written here is byte for byte
// what amqplib would write.

const FRAME_METHOD = 1
const FRAME_HEADER = 2
const FRAME_BODY = 3
const FRAME_END = 0xce
/** Type, channel and length before a frame's payload. */
const FRAME_HEAD_BYTES = 7
const FRAME_OVERHEAD_BYTES = 8
const BASIC = 60
const BASIC_PUBLISH = 40
const HAS_CONTENT_TYPE = 0x8000
const HAS_HEADERS = 0x2000
const HAS_DELIVERY_MODE = 0x1000
const HAS_MESSAGE_ID = 0x0080
const LONG_STRING = 0x53
const SHORT_BYTES_MAX = 255
const UTF8_BYTES_PER_UNIT = 3

/** Frames are written one after the other into blocks of this size. */
const BLOCK_BYTES = 65_536
/** Larger messages are amqplib's: their bodies would only be copied once more. */
const MESSAGE_BYTES_MAX = 16_384
/** All that a message takes beside its texts and its body. */
const FIXED_BYTES = 96

/** The options that are written here; a message with any other is amqplib's. */
const OPTIONS: ReadonlySet<string> = new Set(['persistent', 'mandatory', 'contentType', 'messageId', 'headers'])

/** The part of a confirm channel of amqplib's that matters here. */
interface Inside {
  readonly ch: number
  readonly connection: { readonly channels: readonly (Lane | null | undefined)[]; readonly frameMax: number }
  readonly sendMessage: unknown
  pushConfirmCallback(callback?: () => void): void
}

interface Lane {
  readonly buffer: { write(bytes: Uint8Array): unknown }
}

/**
 * Writes small messages for one confirm channel of amqplib's without its encoder, which takes more time than the rest of a
 * publish and leaves one write for each message: here all that is published within one run of microtasks is one write.
 *
 * They go through the same queue as everything else on the channel, so that order and back-pressure stay amqplib's.
 * This is not amqplib's documented surface: a channel that looks otherwise, or begins to close, publishes the usual way.
 */
export class PublishFrames {
  readonly #inside: Inside
  /** The channel replaces it when it begins to close. */
  readonly #usualSend: unknown
  #block = Buffer.alloc(0)
  /** Where the next frame goes. */
  #end = 0
  /** Up to where the block was handed to the channel. */
  #sentTo = 0

  private constructor(inside: Inside) {
    this.#inside = inside
    this.#usualSend = inside.sendMessage
  }

  /** Undefined where the channel is not as expected. */
  static of(channel: RabbitChannel): PublishFrames | undefined {
    return isInside(channel) ? new PublishFrames(channel) : undefined
  }

  /** Publishes, or does nothing and returns false, where `RabbitChannel.publish` has to do it or to say what is wrong. */
  publish(exchange: string, routingKey: string, content: Uint8Array, options: RabbitPublishOptions): boolean {
    const isWritten = this.#isUsable && this.#write(exchange, routingKey, content, options)
    // What comes next on the channel must come behind what was published before.
    if (!isWritten) this.#flush()
    return isWritten
  }

  get #isUsable(): boolean {
    const { ch, connection, sendMessage } = this.#inside
    return sendMessage === this.#usualSend && (connection.channels[ch] ?? undefined) !== undefined
  }

  #write(exchange: string, routingKey: string, content: Uint8Array, options: RabbitPublishOptions): boolean {
    const bytesMax = mostBytes(exchange, routingKey, content, options)
    if (bytesMax > MESSAGE_BYTES_MAX || content.length + FRAME_OVERHEAD_BYTES > this.#inside.connection.frameMax) return false
    if (this.#end + bytesMax > this.#block.length) {
      this.#flush()
      this.#block = Buffer.allocUnsafeSlow(BLOCK_BYTES)
      this.#end = 0
      this.#sentTo = 0
    }
    const end = encode(this.#block, this.#end, this.#inside.ch, exchange, routingKey, content, options)
    if (end < 0) return false
    if (this.#sentTo === this.#end) queueMicrotask(this.#flush)
    this.#end = end
    this.#inside.pushConfirmCallback()
    return true
  }

  /** A channel that closed meanwhile takes nothing: its messages are unconfirmed, and sent again on the next one. */
  readonly #flush = (): void => {
    if (this.#sentTo === this.#end) return
    const written = this.#block.subarray(this.#sentTo, this.#end)
    this.#sentTo = this.#end
    const { ch, connection } = this.#inside
    if (this.#isUsable) connection.channels[ch]?.buffer.write(written)
  }
}

/** At least as many bytes as the message takes; infinite for one that is not written here. */
function mostBytes(exchange: string, routingKey: string, content: Uint8Array, options: RabbitPublishOptions): number {
  for (const name in options) if (!OPTIONS.has(name)) return Infinity
  const { contentType, messageId, headers } = options
  if (contentType === undefined || messageId === undefined || headers === undefined) return Infinity
  let units = exchange.length + routingKey.length + contentType.length + messageId.length
  let bytes = FIXED_BYTES + content.length
  for (const name in headers) {
    const value = headers[name]
    if (typeof value !== 'string') return Infinity
    units += name.length + value.length
    bytes += 6
  }
  return bytes + units * UTF8_BYTES_PER_UNIT
}

/** Where the message ends; -1 where one of its short texts is too long. */
function encode(block: Buffer, from: number, channel: number, exchange: string, routingKey: string, content: Uint8Array, options: RabbitPublishOptions): number {
  const { contentType = '', messageId = '', headers = {} } = options
  let at = beginFrame(block, from, FRAME_METHOD, channel)
  at = writeTwo(block, at, BASIC)
  at = writeTwo(block, at, BASIC_PUBLISH)
  at = writeTwo(block, at, 0)
  at = writeShort(block, at, exchange)
  if (at > 0) at = writeShort(block, at, routingKey)
  if (at < 0) return -1
  block[at++] = options.mandatory === true ? 1 : 0
  at = endFrame(block, from, at)

  const properties = at
  at = beginFrame(block, at, FRAME_HEADER, channel)
  at = writeTwo(block, at, BASIC)
  at = writeTwo(block, at, 0)
  at = writeFour(block, at, 0)
  at = writeFour(block, at, content.length)
  at = writeTwo(block, at, HAS_CONTENT_TYPE | HAS_HEADERS | HAS_MESSAGE_ID | (options.persistent === undefined ? 0 : HAS_DELIVERY_MODE))
  at = writeShort(block, at, contentType)
  if (at > 0) at = writeTable(block, at, headers)
  if (at < 0) return -1
  if (options.persistent !== undefined) block[at++] = options.persistent ? 2 : 1
  at = writeShort(block, at, messageId)
  if (at < 0) return -1
  at = endFrame(block, properties, at)

  if (content.length === 0) return at
  const body = at
  at = beginFrame(block, at, FRAME_BODY, channel)
  block.set(content, at)
  return endFrame(block, body, at + content.length)
}

function writeTable(block: Buffer, from: number, table: Readonly<Record<string, unknown>>): number {
  let at = from + 4
  for (const name in table) {
    const value = table[name]
    at = writeShort(block, at, name)
    if (at < 0 || typeof value !== 'string') return -1
    block[at] = LONG_STRING
    const start = at + 5
    const end = writeText(block, start, value)
    writeFour(block, at + 1, end - start)
    at = end
  }
  writeFour(block, from, at - from - 4)
  return at
}

function beginFrame(block: Buffer, at: number, type: number, channel: number): number {
  block[at] = type
  writeTwo(block, at + 1, channel)
  return at + FRAME_HEAD_BYTES
}

function endFrame(block: Buffer, from: number, at: number): number {
  writeFour(block, from + 3, at - from - FRAME_HEAD_BYTES)
  block[at] = FRAME_END
  return at + 1
}

/** A text of at most 255 bytes behind its length; -1 where it is longer. */
function writeShort(block: Buffer, at: number, text: string): number {
  if (text.length > SHORT_BYTES_MAX) return -1
  const end = writeText(block, at + 1, text)
  const bytes = end - at - 1
  block[at] = bytes
  return bytes > SHORT_BYTES_MAX ? -1 : end
}

/** For the short ASCII texts that these are, a loop is faster than a call out of JavaScript. */
function writeText(block: Buffer, at: number, text: string): number {
  for (let index = 0; index < text.length; index++) {
    const unit = text.charCodeAt(index)
    if (unit > 0x7f) return at + block.write(text, at)
    block[at + index] = unit
  }
  return at + text.length
}

function writeTwo(block: Buffer, at: number, value: number): number {
  block[at] = value >>> 8
  block[at + 1] = value
  return at + 2
}

function writeFour(block: Buffer, at: number, value: number): number {
  block[at] = value >>> 24
  block[at + 1] = value >>> 16
  block[at + 2] = value >>> 8
  block[at + 3] = value
  return at + 4
}

function isInside(channel: unknown): channel is Inside {
  const number = memberOf(channel, 'ch')
  const connection = memberOf(channel, 'connection')
  const channels = memberOf(connection, 'channels')
  return (
    typeof number === 'number' &&
    typeof memberOf(connection, 'frameMax') === 'number' &&
    typeof memberOf(channel, 'sendMessage') === 'function' &&
    typeof memberOf(channel, 'pushConfirmCallback') === 'function' &&
    Array.isArray(channels) &&
    typeof memberOf(memberOf(channels[number], 'buffer'), 'write') === 'function'
  )
}

function memberOf(value: unknown, name: string): unknown {
  return typeof value === 'object' && value !== null ? Reflect.get(value, name) : undefined
}
