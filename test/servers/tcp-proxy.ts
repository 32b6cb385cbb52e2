import { once } from 'node:events'
import { connect, createServer, type Server, type Socket } from 'node:net'
import { freePort } from './free-port.ts'

/** Two sockets that belong together. `from` is the client's. */
interface Pair {
  readonly from: Socket
  to: Socket | undefined
}

/**
 * A network that a test can break, in front of a server.
 *
 * Bytes pass unchanged in both directions until one of the methods says otherwise; each takes effect
 * before it returns or resolves.
 */
export class TcpProxy {
  /** The server's url with this proxy's address in it; give it to the client under test. */
  readonly url: string
  readonly port: number
  readonly #target: { readonly host: string; readonly port: number }
  readonly #pairs = new Set<Pair>()
  #listener: Server | undefined
  #isHalfOpen = false
  #accepted = 0

  constructor(serverUrl: string, port: number) {
    const url = new URL(serverUrl)
    this.#target = { host: url.hostname, port: Number(url.port) }
    this.url = serverUrl.replace(`${url.hostname}:${url.port}`, `127.0.0.1:${port}`)
    this.port = port
  }

  /** Connections that are open now. */
  get connectionCount(): number {
    return this.#pairs.size
  }

  /** Connections that were accepted since the start; shows a reconnect. */
  get acceptedCount(): number {
    return this.#accepted
  }

  /** Destroys every connection now, as a router that restarts does. New ones are still accepted. */
  cut(): void {
    for (const pair of this.#pairs) this.#destroy(pair)
  }

  /** New connections are refused from now on; open ones stay. */
  async refuse(): Promise<void> {
    const listener = this.#listener
    this.#listener = undefined
    // Not awaited to `close`: that waits for the open connections to end. The port is free at once.
    listener?.close()
  }

  /** New connections are accepted again. */
  async accept(): Promise<void> {
    if (this.#listener !== undefined) return
    const listener = createServer({ allowHalfOpen: false }, (socket) => this.#take(socket))
    listener.listen({ host: '127.0.0.1', port: this.port })
    await once(listener, 'listening')
    this.#listener = listener
  }

  /**
   * Every connection, old or new, stays open and carries nothing in either direction, as with a cable
   * that was pulled. Neither side learns that the other one has gone.
   */
  halfOpen(): void {
    this.#isHalfOpen = true
    for (const pair of this.#pairs) {
      pair.from.pause()
      pair.to?.pause()
    }
  }

  /** Ends `halfOpen`: what was held back arrives now, ends of connections included. */
  heal(): void {
    this.#isHalfOpen = false
    for (const pair of this.#pairs) {
      if (pair.from.destroyed || pair.to?.destroyed === true) {
        this.#destroy(pair)
        continue
      }
      if (pair.to === undefined) this.#dial(pair)
      pair.from.resume()
      pair.to?.resume()
    }
  }

  /** Ends everything. */
  async close(): Promise<void> {
    await this.refuse()
    this.#isHalfOpen = false
    this.cut()
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close()
  }

  #take(from: Socket): void {
    this.#accepted++
    const pair: Pair = { from, to: undefined }
    this.#pairs.add(pair)
    from.setNoDelay(true)
    from.pause()
    this.#watch(from, pair)
    if (this.#isHalfOpen) return
    this.#dial(pair)
    from.resume()
  }

  #dial(pair: Pair): void {
    const to = connect(this.#target)
    pair.to = to
    to.setNoDelay(true)
    this.#watch(to, pair)
    this.#forward(pair.from, to)
    this.#forward(to, pair.from)
  }

  #forward(source: Socket, sink: Socket): void {
    source.on('data', (chunk) => {
      if (sink.write(chunk)) return
      source.pause()
      sink.once('drain', () => {
        if (!this.#isHalfOpen) source.resume()
      })
    })
    source.on('end', () => {
      if (!this.#isHalfOpen) sink.end()
    })
  }

  #watch(socket: Socket, pair: Pair): void {
    socket.on('error', () => undefined)
    socket.on('close', () => {
      if (!this.#isHalfOpen) this.#destroy(pair)
    })
  }

  #destroy(pair: Pair): void {
    this.#pairs.delete(pair)
    pair.from.destroy()
    pair.to?.destroy()
  }
}

/** Starts a proxy in front of the server at `serverUrl`, which must name host and port. */
export async function tcpProxy(serverUrl: string): Promise<TcpProxy> {
  const proxy = new TcpProxy(serverUrl, await freePort())
  await proxy.accept()
  return proxy
}
