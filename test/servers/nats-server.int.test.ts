import { connect } from 'nats'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { certificates } from './certificates.ts'
import { natsServer } from './nats-server.ts'
import { tcpProxy } from './tcp-proxy.ts'
import { until } from './until.ts'
import type { ServerProcess } from './server-process.ts'

describe('a private NATS server', () => {
  let server: ServerProcess

  beforeAll(async () => {
    server = await natsServer()
    await server.start()
  })

  afterAll(async () => {
    await server.close()
  })

  test('keeps what a stream stored through SIGKILL, on the same port', async () => {
    const url = server.url
    const before = await connect({ servers: url, reconnect: false })
    await (await before.jetstreamManager()).streams.add({ name: 'KEPT', subjects: ['kept.>'] })
    await before.jetstream().publish('kept.one', 'x')
    await server.kill9()
    await before.closed()
    await server.start()
    expect(server.url).toBe(url)
    const after = await connect({ servers: url })
    const info = await (await after.jetstreamManager()).streams.info('KEPT')
    expect(info.state.messages).toBe(1)
    await after.close()
  })

  test('says nothing while it is paused and answers after that', async () => {
    const client = await connect({ servers: server.url })
    await server.pause()
    let isAnswered = false
    const answer = client.flush().then(() => {
      isAnswered = true
    })
    // A second server's start takes longer than an answer, and waits for no clock.
    const other = await natsServer({ hasJetStream: false })
    await other.start()
    await other.close()
    expect(isAnswered).toBe(false)
    server.continue()
    await answer
    await client.close()
  })

  test('refuses a client without the password', async () => {
    await using closed = await natsServer({ user: 'orders', password: 'p@ss word' })
    await closed.start()
    await expect(connect({ servers: `nats://127.0.0.1:${closed.port}`, reconnect: false })).rejects.toThrow(/authorization/i)
    const client = await connect({ servers: `127.0.0.1:${closed.port}`, user: 'orders', pass: 'p@ss word' })
    await client.close()
  })

  test('speaks TLS with certificates made here, and is refused by who trusts another authority', async () => {
    const files = certificates()
    await using secure = await natsServer({ tls: { certFile: files.serverCertFile, keyFile: files.serverKeyFile, caFile: files.caFile } })
    await secure.start()
    const own = { certFile: files.clientCertFile, keyFile: files.clientKeyFile }
    const client = await connect({ servers: `127.0.0.1:${secure.port}`, tls: { ...own, caFile: files.caFile } })
    await client.close()
    const distrustful = connect({ servers: `127.0.0.1:${secure.port}`, tls: { ...own, caFile: files.foreignCaFile }, reconnect: false })
    await expect(distrustful).rejects.toThrow()
  })
})

describe('the TCP proxy', () => {
  test('breaks and heals the link to a server', async () => {
    await using server = await natsServer({ hasJetStream: false })
    await server.start()
    await using proxy = await tcpProxy(server.url)
    const client = await connect({ servers: proxy.url, reconnectTimeWait: 10, maxReconnectAttempts: -1 })
    await client.flush()

    proxy.cut()
    await until(() => proxy.acceptedCount === 2, { what: 'the client reconnecting' })
    await client.flush()

    proxy.halfOpen()
    let isAnswered = false
    const answer = client.flush().then(() => {
      isAnswered = true
    })
    // Many answers round the proxy take far longer than one through it would.
    const direct = await connect({ servers: server.url })
    for (let rounds = 0; rounds < 50; rounds++) await direct.flush()
    await direct.close()
    expect(isAnswered).toBe(false)
    expect(proxy.connectionCount).toBe(1)
    proxy.heal()
    await answer

    await proxy.refuse()
    await expect(connect({ servers: proxy.url, reconnect: false })).rejects.toThrow()
    await client.flush()
    await proxy.accept()
    await (await connect({ servers: proxy.url })).close()
    await client.close()
  })
})
