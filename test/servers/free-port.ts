import { once } from 'node:events'
import { createServer } from 'node:net'

// Below the range that Linux gives to outgoing connections (32768 and up): a server that is down for
// a moment must find its port free again, and a client that redials must not connect to itself.
const PORT_FIRST = 12_000
const PORT_COUNT = 20_000
const TRIES_MAX = 200

const given = new Set<number>()

/** A loopback port that nobody listens on, never given out twice by this process. */
export async function freePort(): Promise<number> {
  for (let tries = 0; tries < TRIES_MAX; tries++) {
    const port = PORT_FIRST + Math.floor(Math.random() * PORT_COUNT)
    if (given.has(port) || !(await isFree(port))) continue
    given.add(port)
    return port
  }
  throw new Error(`no free port between ${PORT_FIRST} and ${PORT_FIRST + PORT_COUNT} after ${TRIES_MAX} tries`)
}

async function isFree(port: number): Promise<boolean> {
  const server = createServer()
  try {
    server.listen({ host: '127.0.0.1', port, exclusive: true })
    await once(server, 'listening')
  } catch {
    return false
  }
  server.close()
  await once(server, 'close')
  return true
}
