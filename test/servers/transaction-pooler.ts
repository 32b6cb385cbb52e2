import { once } from 'node:events'
import { connect, createServer, type Server, type Socket } from 'node:net'
import { freePort } from './free-port.ts'

const SSL_REQUEST = 80_877_103
const CANCEL_REQUEST = 80_877_102
/** What a pooler lets a client set for its session; it refuses all else. */
const SESSION_SETTINGS = new Set(['user', 'database', 'application_name', 'client_encoding'])
const IDLE = 'I'.charCodeAt(0)

/** Frames of PostgreSQL's protocol out of a stream of bytes: a letter, a length, a body. */
class Frames {
  #bytes = Buffer.alloc(0)

  /** Gives every frame that is whole now. `isStartup`: the first one of a client has no letter. */
  take(chunk: Buffer, isStartup: boolean): readonly Buffer[] {
    this.#bytes = Buffer.concat([this.#bytes, chunk])
    const found: Buffer[] = []
    for (let header = isStartup ? 0 : 1; this.#bytes.length >= header + 4; header = 1) {
      const length = header + this.#bytes.readUInt32BE(header)
      if (this.#bytes.length < length) break
      found.push(this.#bytes.subarray(0, length))
      this.#bytes = this.#bytes.subarray(length)
      if (isStartup) break
    }
    return found
  }
}

/** A session with the server, lent to one client for one transaction at a time. */
class Session {
  readonly socket: Socket
  readonly #frames = new Frames()
  /** Answers that the server still owes. */
  pending = 0
  client: Socket | undefined
  onIdle: () => void = () => undefined

  constructor(socket: Socket) {
    this.socket = socket
    socket.on('data', (chunk) => {
      for (const frame of this.#frames.take(chunk, false)) this.#frame(frame)
    })
    socket.on('error', () => undefined)
  }

  #frame(frame: Buffer): void {
    this.client?.write(frame)
    if (frame[0] !== 'Z'.charCodeAt(0)) return
    this.pending--
    if (frame[5] === IDLE && this.pending <= 0) this.onIdle()
  }
}

/**
 * A pooler in transaction mode, in as much of the protocol as matters: a client gets another session of the server for every
 * transaction, nothing of a session survives it, and settings at the start of a session are refused. As old poolers do, it
 * knows nothing of prepared statements, so that one that was prepared before is missing later. The server must trust its clients.
 */
export class TransactionPooler {
  readonly url: string
  readonly #target: URL
  readonly #listener: Server
  readonly #sockets = new Set<Socket>()
  readonly #idle: Session[] = []
  readonly #waiting: ((session: Session) => void)[] = []
  #lent = 0

  private constructor(serverUrl: string, port: number, listener: Server) {
    this.#target = new URL(serverUrl)
    this.url = Object.assign(new URL(serverUrl), { port: String(port) }).href
    this.#listener = listener
  }

  /** Transactions that were given a session. */
  get lentCount(): number {
    return this.#lent
  }

  /** Starts one before the database at `serverUrl`, with so many sessions. */
  static async start(serverUrl: string, sessions: number): Promise<TransactionPooler> {
    const port = await freePort()
    const listener = createServer()
    const pooler = new TransactionPooler(serverUrl, port, listener)
    listener.on('connection', (socket) => pooler.#serve(socket))
    listener.listen({ host: '127.0.0.1', port })
    await once(listener, 'listening')
    for (let made = 0; made < sessions; made++) await pooler.#dial()
    return pooler
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#listener.close()
    for (const socket of this.#sockets) socket.destroy()
    await Promise.resolve()
  }

  async #dial(): Promise<void> {
    const socket = connect({ host: this.#target.hostname, port: Number(this.#target.port) })
    socket.setNoDelay(true)
    this.#sockets.add(socket)
    await once(socket, 'connect')
    const session = new Session(socket)
    session.pending = 1
    const ready = new Promise<void>((resolve) => {
      session.onIdle = resolve
    })
    socket.write(startup({ user: this.#target.username, database: this.#target.pathname.slice(1) }))
    await ready
    this.#giveBack(session)
  }

  #giveBack(session: Session): void {
    session.client = undefined
    const next = this.#waiting.shift()
    // The one that was used last is used last again, so that a client hardly ever meets its session twice.
    if (next === undefined) this.#idle.push(session)
    else next(session)
  }

  #borrow(): Promise<Session> {
    this.#lent++
    const session = this.#idle.shift()
    return session === undefined ? new Promise((resolve) => this.#waiting.push(resolve)) : Promise.resolve(session)
  }

  #serve(client: Socket): void {
    client.setNoDelay(true)
    this.#sockets.add(client)
    client.on('error', () => undefined)
    const frames = new Frames()
    let isStarted = false
    let session: Session | undefined
    let queue = Promise.resolve()
    const forward = async (frame: Buffer): Promise<void> => {
      if (frame[0] === 'X'.charCodeAt(0)) return void client.end()
      if (session === undefined) {
        session = await this.#borrow()
        const lent = session
        lent.client = client
        lent.onIdle = () => {
          session = undefined
          this.#giveBack(lent)
        }
      }
      // A query and a sync are each answered by one "ready".
      if (frame[0] === 'Q'.charCodeAt(0) || frame[0] === 'S'.charCodeAt(0)) session.pending++
      session.socket.write(frame)
    }
    client.on('data', (chunk) => {
      for (const frame of frames.take(chunk, !isStarted)) {
        if (isStarted) queue = queue.then(() => forward(frame))
        else isStarted = welcome(client, frame)
      }
    })
    client.on('close', () => {
      this.#sockets.delete(client)
      // A session in the middle of something is of no use to anyone.
      session?.socket.destroy()
      if (session !== undefined) void this.#dial().catch(() => undefined)
    })
  }
}

/** Answers the start of a client; true once it may send statements. */
function welcome(client: Socket, frame: Buffer): boolean {
  const code = frame.readUInt32BE(4)
  if (code === SSL_REQUEST) {
    client.write('N')
    return false
  }
  if (code === CANCEL_REQUEST) {
    client.end()
    return false
  }
  const names = frame.toString('utf8', 8).split('\0').filter((_text, at) => at % 2 === 0)
  const refused = names.find((name) => name !== '' && !SESSION_SETTINGS.has(name))
  if (refused !== undefined) {
    client.end(message('E', `SFATAL\0C08P01\0Munsupported startup parameter: ${refused}\0\0`))
    return false
  }
  client.write(Buffer.concat([message('R', Buffer.from([0, 0, 0, 0])), message('S', 'client_encoding\0UTF8\0'), message('K', Buffer.alloc(8)), message('Z', 'I')]))
  return true
}

function startup(settings: Readonly<Record<string, string>>): Buffer {
  const pairs = Object.entries(settings).map(([name, value]) => `${name}\0${value}\0`).join('')
  const body = Buffer.concat([Buffer.from([0, 3, 0, 0]), Buffer.from(`${pairs}\0`)])
  return Buffer.concat([lengthOf(body), body])
}

function message(letter: string, body: string | Buffer): Buffer {
  const bytes = Buffer.from(body)
  return Buffer.concat([Buffer.from(letter), lengthOf(bytes), bytes])
}

function lengthOf(body: Buffer): Buffer {
  const length = Buffer.alloc(4)
  length.writeUInt32BE(body.length + 4)
  return length
}
