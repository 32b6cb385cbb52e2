import { readFileSync } from 'node:fs'
import amqp from 'amqplib'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { certificates } from './certificates.ts'
import { rabbitmqServer, type RabbitmqServer } from './rabbitmq-server.ts'
import { until } from './until.ts'

let server: RabbitmqServer

beforeAll(async () => {
  server = await rabbitmqServer()
  await server.start()
})

afterAll(async () => {
  await server.close()
})

async function connectQuietly(url: string, options: object = {}): Promise<amqp.ChannelModel> {
  const connection = await amqp.connect(url, options)
  connection.on('error', () => undefined)
  return connection
}

test('keeps a settled quorum queue through SIGKILL, on the same port', async () => {
  const declaring = await connectQuietly(server.url)
  await (await declaring.createChannel()).assertQueue('kept', { durable: true, arguments: { 'x-queue-type': 'quorum' } })
  await server.settleTopology()
  const publishing = await connectQuietly(server.url)
  const channel = await publishing.createConfirmChannel()
  channel.on('error', () => undefined)
  channel.sendToQueue('kept', Buffer.from('x'), { persistent: true })
  await channel.waitForConfirms()
  await server.kill9()
  await server.start()
  const reading = await connectQuietly(server.url)
  const reader = await reading.createChannel()
  const message = await until(() => reader.get('kept', { noAck: true }), { what: 'the message after the crash' })
  expect(message && message.content.toString()).toBe('x')
  expect(await server.ctl('list_queues', 'name')).toContain('kept')
  await reading.close()
})

test('speaks TLS with its own user, and refuses another password', async () => {
  const files = certificates()
  await using secure = await rabbitmqServer({
    user: 'orders',
    password: 'secret',
    tls: { certFile: files.serverCertFile, keyFile: files.serverKeyFile, caFile: files.caFile },
  })
  await secure.start()
  const tls = { ca: [readFileSync(files.caFile)], cert: readFileSync(files.clientCertFile), key: readFileSync(files.clientKeyFile) }
  const client = await connectQuietly(secure.url, tls)
  await client.close()
  await expect(amqp.connect(secure.url.replace('secret', 'wrong'), tls)).rejects.toThrow(/ACCESS_REFUSED|403/)
  await expect(amqp.connect(secure.url, { ...tls, ca: [readFileSync(files.foreignCaFile)] })).rejects.toThrow()
})
