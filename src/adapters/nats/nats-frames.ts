import type { NatsConnection } from './nats-client.ts'
import type { HeaderBlock } from './nats-headers.ts'

/** What takes finished bytes in a client. */
interface ByteSender {
  readonly sendCommand: (frame: Uint8Array, ...parts: readonly Uint8Array[]) => void
}

const LINE_END: Uint8Array = Buffer.from('\r\n')

/**
 * Writes a message with its line and headers in one piece and hands it to the client behind its `publish`, which would encode each
 * piece for itself at more than the cost of everything else that sending takes. Both clients have that entry and do not
 * declare it; where a client has it no more, nothing is lost but speed.
 */
export class NatsFrames {
  readonly #protocol: ByteSender

  private constructor(protocol: ByteSender) {
    this.#protocol = protocol
  }

  /** Undefined where the client does not take bytes, or its server no headers. */
  static of(connection: NatsConnection): NatsFrames | undefined {
    const protocol: unknown = Reflect.get(connection, 'protocol')
    return connection.info?.headers === true && isByteSender(protocol) ? new NatsFrames(protocol) : undefined
  }

  /** The subjects are not checked: they must be tokens without blanks. */
  publish(subject: string, payload: Uint8Array, reply: string | undefined, headers: HeaderBlock | undefined): void {
    const to = reply === undefined ? subject : `${subject} ${reply}`
    const frame =
      headers === undefined
        ? `PUB ${to} ${payload.length}\r\n`
        : `HPUB ${to} ${headers.byteLength} ${headers.byteLength + payload.length}\r\n${headers.text}`
    this.#protocol.sendCommand(Buffer.from(frame), payload, LINE_END)
  }
}

function isByteSender(value: unknown): value is ByteSender {
  return typeof value === 'object' && value !== null && 'sendCommand' in value && typeof value.sendCommand === 'function'
}
