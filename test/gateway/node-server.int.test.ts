import { connect } from 'node:net'
import { request as httpRequest } from 'node:http'
import { expect, test } from 'vitest'
import { createBus, silentLogger } from '../../src/index.ts'
import { type Fetch, type HttpServer, gateway, serve } from '../../src/gateway/index.ts'
import { memory, memoryBroker } from '../../src/adapters/memory/index.ts'
import { until } from '../servers/until.ts'
import { QuotePrice } from './gateway-rig.ts'

async function served(fetch: Fetch, options: Partial<Parameters<typeof serve>[1]> = {}): Promise<HttpServer> {
  return await serve(fetch, { port: 0, ...options })
}

/** What a socket gets back for raw bytes, until the other side closes it. */
async function raw(port: number, text: string): Promise<string> {
  const socket = connect(port, '127.0.0.1')
  let got = ''
  socket.setEncoding('utf8').on('data', (part: string) => { got += part })
  socket.write(text)
  await new Promise((resolve) => socket.once('close', resolve))
  return got
}

test('a contract is asked over real HTTP, connections are kept, and the server listens on this machine alone', async () => {
  const broker = memoryBroker()
  await using pricing = createBus({ service: { name: 'pricing' }, transport: memory({ broker }), logger: silentLogger })
  pricing.answer(QuotePrice, ({ data }) => ({ cents: 100 * data.pieces, gift: false, tags: [] }))
  await using front = createBus({ service: { name: 'front' }, transport: memory({ broker }), logger: silentLogger })
  await pricing.start()
  await front.start()
  await using server = await serve(gateway({ bus: front, routes: [QuotePrice] }), { port: 0 })
  expect([server.host, server.url]).toEqual(['127.0.0.1', `http://127.0.0.1:${server.port}`])
  for (let pieces = 1; pieces <= 3; pieces++) {
    const response = await fetch(`${server.url}/pricing/quote-price?sku=a&pieces=${pieces}`)
    expect([response.status, response.headers.get('connection'), await response.json()]).toEqual([200, 'keep-alive', { cents: 100 * pieces, gift: false, tags: [] }])
  }
})

test('a body travels both ways, with cookies and status', async () => {
  await using server = await served(async (request) => {
    const headers = new Headers({ 'content-type': 'text/plain' })
    headers.append('set-cookie', 'a=1')
    headers.append('set-cookie', 'b=2')
    return new Response(`${request.method} ${new URL(request.url).pathname} ${await request.text()}`, { status: 201, headers })
  })
  const response = await fetch(`${server.url}/x`, { method: 'POST', body: 'ü'.repeat(200_000) })
  expect([response.status, response.headers.getSetCookie(), (await response.text()).length]).toEqual([201, ['a=1', 'b=2'], 200_008])
})

test('a response is made no faster than it is read, and ends when its reader leaves', async () => {
  let made = 0
  let isCancelled = false
  const endless = (): Response => new Response(new ReadableStream<Uint8Array>({
    pull(controller) {
      made += 65_536
      controller.enqueue(new Uint8Array(65_536))
    },
    cancel() { isCancelled = true },
  }, { highWaterMark: 1 }))
  await using server = await served(endless)
  const socket = connect(server.port, '127.0.0.1')
  socket.pause()
  socket.write('GET / HTTP/1.1\r\nHost: localhost\r\n\r\n')
  let before = -1
  await until(() => {
    const isStill = made > 0 && made === before
    before = made
    return isStill
  }, { what: 'the server waits for its reader', everyMs: 50 })
  // What the sockets of both sides hold, and not what an endless response could have made meanwhile.
  expect(made).toBeLessThan(32 * 1_048_576)
  socket.destroy()
  await until(() => isCancelled, { what: 'the body is told' })
})

test('a caller who leaves aborts the request', async () => {
  const aborted = Promise.withResolvers<void>()
  await using server = await served(async ({ signal }) => {
    await new Promise((resolve) => signal.addEventListener('abort', resolve))
    aborted.resolve()
    return new Response('late')
  })
  const leaving = new AbortController()
  const asked = fetch(server.url, { signal: leaving.signal }).catch((error: unknown) => error)
  await until(async () => (await server.connections()) > 0, { what: 'it is being answered' })
  leaving.abort()
  await asked
  await aborted.promise
})

test('a body that is refused does not cost the answer its way, nor later requests theirs', async () => {
  await using server = await served(async ({ body }) => {
    await body?.cancel()
    return new Response('too much', { status: 413 })
  })
  for (let round = 0; round < 5; round++) {
    const response = await fetch(server.url, { method: 'POST', body: new Uint8Array(900_000) })
    expect([response.status, await response.text()]).toEqual([413, 'too much'])
  }
})

test('a body that breaks off is an error, and not a shorter body', async () => {
  const outcome = Promise.withResolvers<string>()
  await using server = await served(async (request) => {
    outcome.resolve(await request.text().then(() => 'whole', () => 'broken'))
    return new Response('')
  })
  const asking = httpRequest({ port: server.port, host: '127.0.0.1', method: 'POST', headers: { 'content-length': '1000' } })
  asking.on('error', () => {})
  asking.write('half')
  await until(async () => (await server.connections()) > 0, { what: 'it is there' })
  asking.destroy()
  expect(await outcome.promise).toBe('broken')
})

test.each([
  ['another host', 'GET / HTTP/1.1\r\nHost: evil.example\r\nConnection: close\r\n\r\n', 421],
  ['a host that looks like ours', 'GET / HTTP/1.1\r\nHost: localhost.evil.example\r\nConnection: close\r\n\r\n', 421],
  ['a host with something else in it', 'GET / HTTP/1.1\r\nHost: evil.example/@localhost\r\nConnection: close\r\n\r\n', 421],
  ['no host', 'GET / HTTP/1.1\r\nConnection: close\r\n\r\n', 400],
  ['our host', 'GET / HTTP/1.1\r\nHost: LOCALHOST:1234\r\nConnection: close\r\n\r\n', 200],
  ['another host in its address', 'GET http://evil.example/ HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n', 200],
  ['a head that is too long', `GET / HTTP/1.1\r\nHost: localhost\r\nX: ${'x'.repeat(20_000)}\r\n\r\n`, 431],
  ['two lengths', 'POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n', 400],
])('a request with %s', async (_what, text, status) => {
  const seen: string[] = []
  await using server = await served(({ url }) => {
    seen.push(new URL(url).hostname)
    return new Response('ok')
  })
  expect((await raw(server.port, text)).split('\r\n', 1)).toEqual([expect.stringContaining(`HTTP/1.1 ${status} `)])
  expect(seen).toEqual(status === 200 ? ['localhost'] : [])
})

test('names that a server answers for are the only ones', async () => {
  await using server = await served(() => new Response('ok'), { hosts: ['api.example.com'] })
  const statuses = []
  for (const host of ['api.example.com', 'API.example.com:8080', 'localhost']) statuses.push((await raw(server.port, `GET / HTTP/1.1\r\nHost: ${host}\r\nConnection: close\r\n\r\n`)).slice(9, 12))
  expect(statuses).toEqual(['200', '200', '421'])
})

test('a handler that throws is a problem without its words', async () => {
  await using server = await served(() => { throw new RangeError('secret') })
  const response = await fetch(server.url)
  expect([response.status, response.headers.get('content-type')]).toEqual([500, 'application/problem+json'])
  expect(await response.text()).not.toContain('secret')
})

test('a head that never ends is cut', async () => {
  await using server = await served(() => new Response('ok'), { headTimeoutMs: 300, requestTimeoutMs: 300 })
  expect(await raw(server.port, 'GET / HTTP/1.1\r\nHost: localhost\r\n')).toMatch(/^HTTP\/1\.1 408 |^$/)
})

test('a server that closes answers what it has, says that it closes, and takes no more', async () => {
  const open = Promise.withResolvers<void>()
  const begun = Promise.withResolvers<void>()
  const server = await served(async () => {
    begun.resolve()
    await open.promise
    return new Response('done')
  })
  const asked = fetch(server.url)
  await begun.promise
  const closing = server.close({ graceMs: 20_000 })
  await expect(fetch(server.url)).rejects.toThrow()
  open.resolve()
  const response = await asked
  expect([response.headers.get('connection'), await response.text(), await closing, await server.close()]).toEqual(['close', 'done', true, true])
})

test('a server that waited long enough cuts what is left', async () => {
  const begun = Promise.withResolvers<void>()
  const server = await served(async () => {
    begun.resolve()
    return await new Promise<Response>(() => {})
  })
  const asked = fetch(server.url).then(() => 'answered', () => 'cut')
  await begun.promise
  expect([await server.close({ graceMs: 50 }), await asked]).toEqual([false, 'cut'])
})

test('an address that is taken is refused in words', async () => {
  await using server = await served(() => new Response(''))
  await expect(serve(() => new Response(''), { port: server.port })).rejects.toMatchObject({ code: 'core.option_invalid', details: { actual: 'EADDRINUSE' } })
  await expect(serve(() => new Response(''), { port: 0, hosst: 'x' } as never)).rejects.toMatchObject({ code: 'core.option_unknown', details: { nearest: expect.stringMatching(/^hosts?$/) } })
})
