import type { IncomingMessage } from 'node:http'
import { TrunklineError } from '../core/errors.ts'

/** Bytes of a body in memory before the socket is told to wait. */
const BUFFER_BYTES_MAX = 65_536
/** Bytes of a refused body that are still read, so that the answer is not lost with a reset connection. */
const DISCARDED_BYTES_MAX = 1_048_576

/** The request as the web knows it, and whether its connection can be used again. */
export interface WebRequest {
  readonly request: Request
  /** True where the body was not read to its end. */
  readonly isUnread: () => boolean
}

/**
 * Makes a web request of Node's.
 *
 * @throws `gateway.request_malformed` for an address or a header that means nothing.
 */
export function webRequest(incoming: IncomingMessage, scheme: 'http' | 'https', signal: AbortSignal): WebRequest {
  const { method = 'GET', rawHeaders } = incoming
  const body = method === 'GET' || method === 'HEAD' ? undefined : new IncomingBody(incoming)
  try {
    const headers = new Headers()
    for (let at = 0; at + 1 < rawHeaders.length; at += 2) headers.append(rawHeaders[at] ?? '', rawHeaders[at + 1] ?? '')
    const init: RequestInit = { method, headers, signal }
    const request = new Request(addressOf(incoming, scheme), body === undefined ? init : { ...init, body: body.stream, duplex: 'half' })
    return { request, isUnread: () => !incoming.complete }
  } catch (cause) {
    throw new TrunklineError('gateway.request_malformed', { part: 'head', problem: 'its method, address or headers are none' }, { cause })
  }
}

/** Only path and query come from the request line: what it may say of a host is the Host header's to say. */
function addressOf({ url = '/', headers }: IncomingMessage, scheme: string): URL {
  const base = new URL(`${scheme}://${headers.host ?? 'localhost'}`)
  const asked = new URL(url.startsWith('/') ? `${base.origin}${url}` : url, base)
  return new URL(`${base.origin}${asked.pathname}${asked.search}`)
}

/** A body that is read as fast as it is wanted. */
class IncomingBody {
  readonly stream: ReadableStream<Uint8Array>
  readonly #incoming: IncomingMessage
  #isOver = false
  #discardedBytes = 0

  constructor(incoming: IncomingMessage) {
    this.#incoming = incoming
    this.stream = new ReadableStream<Uint8Array>(
      {
        start: (controller) => this.#start(controller),
        pull: () => {
          incoming.resume()
        },
        cancel: () => this.#discard(),
      },
      new ByteLengthQueuingStrategy({ highWaterMark: BUFFER_BYTES_MAX }),
    )
  }

  #start(controller: ReadableStreamDefaultController<Uint8Array>): void {
    const incoming = this.#incoming
    const end = (finish: () => void): void => {
      if (this.#isOver) return
      this.#isOver = true
      finish()
    }
    incoming.on('data', (chunk: Uint8Array) => {
      if (this.#isOver) return
      controller.enqueue(chunk)
      if ((controller.desiredSize ?? 0) <= 0) incoming.pause()
    })
    incoming.on('end', () => end(() => controller.close()))
    incoming.on('error', (error) => end(() => controller.error(error)))
    incoming.on('close', () => end(() => controller.error(new TrunklineError('gateway.request_malformed', { part: 'body', problem: 'it broke off' }))))
    incoming.pause()
  }

  #discard(): void {
    this.#isOver = true
    const incoming = this.#incoming
    incoming.on('data', (chunk: Uint8Array) => {
      this.#discardedBytes += chunk.byteLength
      if (this.#discardedBytes > DISCARDED_BYTES_MAX) incoming.pause()
    })
    incoming.resume()
  }
}
