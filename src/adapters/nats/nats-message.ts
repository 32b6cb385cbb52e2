import { CONTENT_TYPE, escapeHeader, isUserHeader, readMessage, unescapeHeader, writeAttributes } from '../../contract/wire.ts'
import type { WireMessage } from '../../core/envelope.ts'
import { parseHeaders } from './nats-headers.ts'

// Pure mapping between messages and header lines: the NATS binding of CloudEvents 1.0 in binary mode.
// Attributes are `ce-…` with percent-encoded values; the user's headers keep their names, and their values
// are percent-encoded as well, so that blanks at the ends and non-ASCII text survive every client.

/** The header lines of a message. */
export function headerLines(message: WireMessage): string {
  let lines = message.contentType === CONTENT_TYPE ? `ce-datacontenttype: ${CONTENT_TYPE}\r\n` : line('ce-datacontenttype', message.contentType)
  writeAttributes(message, (name, value) => {
    lines += `ce-${name}: ${escapeHeader(value)}\r\n`
  })
  const { headers } = message
  if (headers !== undefined) for (const name of Object.keys(headers)) lines += line(name, headers[name] ?? '')
  return lines
}

function line(name: string, value: string): string {
  return `${name}: ${escapeHeader(value)}\r\n`
}

/** The id under which a stream drops repeats: CloudEvents ids are unique per source only. */
export function storageId(message: WireMessage): string {
  return escapeHeader(`${message.source}#${message.id}`)
}

/**
 * Reads a message. It never throws; what is not one of ours comes back with `defect`.
 *
 * @param text its header block, or empty.
 * @param placeId stands in for an id that is missing or bad.
 */
export function messageOf(text: string, body: Uint8Array, placeId: string): WireMessage {
  return messageFrom(parseHeaders(text), body, placeId)
}

/** As `messageOf`, for headers that were parsed already. */
export function messageFrom(headers: ReadonlyMap<string, string>, body: Uint8Array, placeId: string): WireMessage {
  const reader = new HeaderReader(headers)
  return readMessage({
    attribute: (name) => reader.attribute(name),
    contentType: reader.contentType(),
    headers: reader.userHeaders(),
    body,
    placeId,
    defect: reader.defect(),
  })
}

class HeaderReader {
  readonly #headers: ReadonlyMap<string, string>

  constructor(headers: ReadonlyMap<string, string>) {
    this.#headers = headers
  }

  attribute(name: string): string | undefined {
    const raw = this.#headers.get(`ce-${name}`)
    return raw === undefined ? undefined : unescapeHeader(raw)
  }

  contentType(): string | undefined {
    const raw = this.#headers.get('ce-datacontenttype') ?? this.#headers.get('content-type')
    return raw === undefined ? undefined : unescapeHeader(raw)
  }

  userHeaders(): Readonly<Record<string, string>> | undefined {
    let found: Record<string, string> | undefined
    for (const [name, raw] of this.#headers) {
      if (name.startsWith('ce-') || name.startsWith('nats-') || !isUserHeader(name)) continue
      found ??= Object.create(null) as Record<string, string> // a null prototype, so that no name means more than text
      found[name] = unescapeHeader(raw) ?? raw
    }
    return found
  }

  /** An escape that is no UTF-8 must not be taken for an attribute that is absent. */
  defect(): string | undefined {
    for (const [name, raw] of this.#headers) {
      if (raw.includes('%') && name.startsWith('ce-') && unescapeHeader(raw) === undefined) {
        return `the header ${name.slice(0, 64)} is not percent-encoded UTF-8`
      }
    }
    return undefined
  }
}
