import { createHash, randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { connect, createServer, type AddressInfo, type Server, type Socket } from 'node:net'
import { afterAll, beforeAll, beforeEach, afterEach, describe, expect, test } from 'vitest'
import { tcpProxy, type TcpProxy } from './tcp-proxy.ts'
import { until } from './until.ts'

let server: Server
let proxy: TcpProxy
const serverSockets = new Set<Socket>()

beforeAll(async () => {
  server = createServer({ allowHalfOpen: true }, (socket) => {
    serverSockets.add(socket)
    socket.on('error', () => undefined)
    socket.on('close', () => serverSockets.delete(socket))
    socket.pipe(socket)
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
})

afterAll(() => {
  server.close()
})

beforeEach(async () => {
  proxy = await tcpProxy(`tcp://127.0.0.1:${(server.address() as AddressInfo).port}`)
})

afterEach(async () => {
  await proxy.close()
})

async function dial(): Promise<Socket> {
  const socket = connect({ host: '127.0.0.1', port: proxy.port })
  socket.on('error', () => undefined)
  await once(socket, 'connect')
  return socket
}

/** Digest of the next `length` bytes of a socket. */
function digestOf(socket: Socket, length: number): { readonly received: () => number; readonly done: Promise<string> } {
  const hash = createHash('sha256')
  let received = 0
  const done = new Promise<string>((resolve) => {
    socket.on('data', (chunk) => {
      hash.update(chunk)
      received += chunk.length
      if (received === length) resolve(hash.digest('hex'))
    })
  })
  return { received: () => received, done }
}

describe('the TCP proxy', () => {
  test('carries megabytes unchanged through a pause of the link', async () => {
    const bytes = randomBytes(8 * 1024 * 1024)
    const socket = await dial()
    const echo = digestOf(socket, bytes.length)
    socket.write(bytes)
    await until(() => echo.received() > 100_000, { what: 'the first bytes' })
    proxy.halfOpen()
    const late = await dial()
    const lateEcho = digestOf(late, 4)
    late.write('late')
    proxy.heal()
    expect(await echo.done).toBe(createHash('sha256').update(bytes).digest('hex'))
    expect(await lateEcho.done).toBe(createHash('sha256').update('late').digest('hex'))
    socket.destroy()
    late.destroy()
  })

  test('hides the end of one side from the other until the link heals', async () => {
    const socket = await dial()
    const echo = digestOf(socket, 1)
    socket.write('x')
    await echo.done
    expect(serverSockets.size).toBe(1)
    proxy.halfOpen()
    socket.destroy()
    const other = connect({ host: '127.0.0.1', port: (server.address() as AddressInfo).port })
    const otherEcho = digestOf(other, 1)
    other.write('x')
    await otherEcho.done
    expect(serverSockets.size).toBe(2)
    other.destroy()
    await until(() => serverSockets.size === 1, { what: 'the end of the direct connection' })
    proxy.heal()
    await until(() => serverSockets.size === 0, { what: 'the end behind the proxy' })
  })

  test('cuts open connections and takes new ones', async () => {
    const socket = await dial()
    const echo = digestOf(socket, 1)
    socket.write('x')
    await echo.done
    proxy.cut()
    await once(socket, 'close')
    const again = await dial()
    expect(proxy.acceptedCount).toBe(2)
    again.destroy()
  })

  test('refuses new connections and keeps open ones', async () => {
    const socket = await dial()
    await until(() => proxy.connectionCount === 1)
    await proxy.refuse()
    await expect(dial()).rejects.toThrow('ECONNREFUSED')
    const echo = digestOf(socket, 1)
    socket.write('x')
    await echo.done
    await proxy.accept()
    const again = await dial()
    again.destroy()
    socket.destroy()
  })
})
